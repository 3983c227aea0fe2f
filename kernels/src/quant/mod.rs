//! Quantised matrices: one packed layout that every instruction set reads in place.
//!
//! ```text
//! matrix (N, K)  = panels of 16 rows, the last one padded with zero rows
//! panel          | scales: f16 [K / 32][16] | zeros up to 64 bytes | quants: [K / 32][block] |
//! block of q8    8 groups of 64 bytes: group g holds, for each of the 16 rows, the 4 weights
//!                k = 4g .. 4g + 4, an i8 in -127..=127 each
//! block of q4    4 pairs of groups, 64 bytes each: byte j of pair p holds byte j of group 2p in its
//!                low half and of group 2p + 1 in its high half, each 0..=15, meaning -8..=7
//! weight         = scale[k / 32][row] * quant; K is padded with zeros to whole blocks
//! ```
//! A group is one register of 512 bits, two of 256 or four of 128: the shape that `vpdpbusd` and
//! `sdot` multiply by 4 bytes of an activation. Everything but a tensor's start keeps 64-byte
//! alignment. 8.5 and 4.5 bits a weight.

mod activations;
mod check;
mod pack;
pub(crate) mod q4;
pub(crate) mod q8;
mod random;
#[cfg(target_arch = "x86_64")]
pub(crate) mod sweep;

pub(crate) use activations::factor;
pub use activations::{ActivationBlock, Activations};
pub use check::Fault;
pub use pack::{Error, pack};
pub use random::random;

use half::f16;

/// Rows of a panel.
pub const ROWS: usize = 16;
/// Weights of a row that share a scale, and activations of a token that do.
pub const BLOCK: usize = 32;
/// Consecutive weights of a row that lie together.
pub const GROUP: usize = 4;
/// Bytes of a group of q8, or of two groups of q4.
pub(crate) const LINE: usize = ROWS * GROUP;

/// How a packed matrix stores its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Eight bits a weight and an f16 scale for 32.
    Q8,
    /// Four bits a weight and an f16 scale for 32.
    Q4,
}

impl Format {
    /// The name that files and options use.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Q8 => "q8",
            Format::Q4 => "q4",
        }
    }

    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Format::Q8, Format::Q4].into_iter().find(|format| format.name() == name)
    }

    /// Bytes of a block's quants in a panel.
    pub(crate) const fn block_bytes(self) -> usize {
        match self {
            Format::Q8 => ROWS * BLOCK,
            Format::Q4 => ROWS * BLOCK / 2,
        }
    }

    /// Bytes of one panel of a matrix with `cols` columns.
    pub const fn panel_bytes(self, cols: usize) -> usize {
        scales_bytes(cols) + cols.div_ceil(BLOCK) * self.block_bytes()
    }

    /// Bytes of a packed matrix `(rows, cols)`, `None` where that is no number.
    pub const fn bytes(self, rows: usize, cols: usize) -> Option<usize> {
        match cols.checked_mul(2 * ROWS) {
            Some(_) => rows.div_ceil(ROWS).checked_mul(self.panel_bytes(cols)),
            None => None,
        }
    }
}

/// `x` to the nearest integer, ties to even, where `|x| < 2^22`: adding `1.5 * 2^23` leaves no bits for
/// a fraction. Unlike a call of `rint`, compilers find vectors in it.
const fn nearest_integer(x: f32) -> f32 {
    const LARGE: f32 = 12_582_912.0;
    x + LARGE - LARGE
}

/// Bytes of a panel before its quants.
const fn scales_bytes(cols: usize) -> usize {
    (cols.div_ceil(BLOCK) * 2 * ROWS).next_multiple_of(64)
}

/// A packed matrix `(rows, cols)` over borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    format: Format,
    bytes: &'a [u8],
    rows: usize,
    cols: usize,
}

/// One panel: what 16 rows lie in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel<'a> {
    /// For each block of columns the 16 rows' scales, little-endian f16.
    pub scales: &'a [[u8; 2 * ROWS]],
    /// For each block of columns its lines: 8 groups of q8, 4 pairs of q4.
    pub lines: &'a [[u8; LINE]],
}

impl Panel<'_> {
    /// The scale of `row` in block `block`.
    pub fn scale(&self, block: usize, row: usize) -> f32 {
        let bytes = &self.scales[block];
        f16::from_le_bytes([bytes[2 * row], bytes[2 * row + 1]]).to_f32_const()
    }
}

impl<'a> Packed<'a> {
    /// A matrix over `bytes`; `None` if that is not the number of bytes of its shape.
    pub fn new(format: Format, bytes: &'a [u8], rows: usize, cols: usize) -> Option<Self> {
        (format.bytes(rows, cols) == Some(bytes.len())).then_some(Self {
            format,
            bytes,
            rows,
            cols,
        })
    }

    /// How its weights are stored.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// All bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// N.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// K.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Blocks of columns.
    pub(crate) const fn blocks(&self) -> usize {
        self.cols.div_ceil(BLOCK)
    }

    /// Panel `i`: rows `16 i ..`.
    pub(crate) fn panel(&self, i: usize) -> Panel<'a> {
        let size = self.format.panel_bytes(self.cols);
        let (scales, quants) = self.bytes[i * size..][..size].split_at(scales_bytes(self.cols));
        let scales = &scales.as_chunks::<{ 2 * ROWS }>().0[..self.blocks()];
        Panel { scales, lines: quants.as_chunks::<LINE>().0 }
    }

    /// Rows `from..to`; `from` is a multiple of 16.
    ///
    /// # Panics
    /// If it is not, or the range is not inside the matrix.
    pub(crate) fn rows_range(&self, from: usize, to: usize) -> Packed<'a> {
        assert!(from.is_multiple_of(ROWS), "a range of packed rows begins with a panel");
        assert!(from <= to && to <= self.rows, "range outside the matrix");
        let size = self.format.panel_bytes(self.cols);
        let bytes = &self.bytes[from / ROWS * size..to.div_ceil(ROWS) * size];
        Packed { bytes, rows: to - from, ..*self }
    }

    /// `out = ` weights `from .. from + out.len()` of row `row`, as f32.
    ///
    /// # Panics
    /// If they are not in the matrix.
    pub fn dequantize(&self, row: usize, from: usize, out: &mut [f32]) {
        assert!(row < self.rows && from + out.len() <= self.cols, "weights outside the matrix");
        let (panel, row) = (self.panel(row / ROWS), row % ROWS);
        let quant = match self.format {
            Format::Q8 => q8::quant,
            Format::Q4 => q4::quant,
        };
        for (i, out) in out.iter_mut().enumerate() {
            let k = from + i;
            *out = f32::from(quant(&panel, row, k)) * panel.scale(k / BLOCK, row);
        }
    }
}

#[cfg(test)]
mod tests;
