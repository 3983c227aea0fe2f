//! Packing: a dense matrix to panels.

use core::fmt;

use super::{BLOCK, Format, LINE, ROWS, q4, q8, scales_bytes};
use crate::matrix::Data;

/// Why a matrix cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A weight is infinite or not a number.
    NonFinite {
        /// Its row.
        row: usize,
        /// Its column.
        col: usize,
    },
    /// A weight is larger than the largest scale can express.
    TooLarge {
        /// Its row.
        row: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::NonFinite { row, col } => {
                write!(f, "has a weight that is not finite, in row {row}, column {col}")
            }
            Error::TooLarge { row } => write!(f, "has a weight in row {row} that is too large"),
        }
    }
}

impl core::error::Error for Error {}

/// Packs some panels: `data (rows, cols)` into `out`, [`Format::bytes`] of that shape long. Rows in
/// errors are counted from the first one given.
///
/// # Errors
/// If a weight is not finite or too large.
///
/// # Panics
/// If the lengths do not fit.
pub fn pack(
    format: Format,
    data: Data,
    rows: usize,
    cols: usize,
    out: &mut [u8],
) -> Result<(), Error> {
    assert_eq!(data.len(), rows * cols, "matrix data and shape differ");
    assert_eq!(Some(out.len()), format.bytes(rows, cols), "room and shape differ");
    out.fill(0);
    let size = format.panel_bytes(cols);
    if size == 0 {
        return Ok(());
    }
    for (i, out) in out.chunks_exact_mut(size).enumerate() {
        let (scales, quants) = out.split_at_mut(scales_bytes(cols));
        let (scales, lines) = (scales.as_chunks_mut().0, quants.as_chunks_mut::<LINE>().0);
        for row in 0..ROWS.min(rows - i * ROWS) {
            let first = i * ROWS + row;
            pack_row(format, data.slice(first * cols, (first + 1) * cols), row, scales, lines)
                .map_err(|error| error.after(first))?;
        }
    }
    Ok(())
}

impl Error {
    /// The same, in row `row`.
    const fn after(self, row: usize) -> Self {
        match self {
            Error::NonFinite { col, .. } => Error::NonFinite { row, col },
            Error::TooLarge { .. } => Error::TooLarge { row },
        }
    }
}

/// Packs one row into its panel.
fn pack_row(
    format: Format,
    data: Data,
    row: usize,
    scales: &mut [[u8; 2 * ROWS]],
    lines: &mut [[u8; LINE]],
) -> Result<(), Error> {
    let mut weights = [0.0; BLOCK];
    let mut quants = [0; BLOCK];
    for (block, scales) in scales.iter_mut().enumerate().take(data.len().div_ceil(BLOCK)) {
        let from = block * BLOCK;
        let to = (from + BLOCK).min(data.len());
        let weights = &mut weights[..to - from];
        for (w, k) in weights.iter_mut().zip(from..) {
            *w = data.get(k);
        }
        if let Some(i) = weights.iter().position(|w| !w.is_finite()) {
            return Err(Error::NonFinite { row, col: from + i });
        }
        let scale = match format {
            Format::Q8 => q8::block(weights, &mut quants),
            Format::Q4 => q4::block(weights, &mut quants),
        };
        if scale.is_infinite() {
            return Err(Error::TooLarge { row });
        }
        scales[2 * row..2 * row + 2].copy_from_slice(&scale.to_le_bytes());
        match format {
            Format::Q8 => q8::store(&quants, row, block, lines),
            Format::Q4 => q4::store(&quants, row, block, lines),
        }
    }
    Ok(())
}
