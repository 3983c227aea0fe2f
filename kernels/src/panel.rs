//! Blocked products: weights are packed, widened to f32, into panels that stay in the L1 cache,
//! and a micro-kernel sweeps the rows of the other factor over each panel.
//!
//! ```text
//! for k in blocks of at most 256                      b: panel [depth][W], on the stack
//!   for n in blocks of W:   pack b                    ┌────W─────┐
//!     for t in blocks of micro.rows                   │  depth   │
//!       c[t.., n..] += alpha a[t.., k..] b      a: rows × depth  → c: rows × W
//! ```
//! W is two registers or four, whichever the instruction set's tile is wide.
//! Sums over k run in order inside a block, and blocks are added in order.

use core::mem::MaybeUninit;

use crate::matrix::{Data, Matrix};
use crate::tile::Tile;

/// Columns of a panel, where registers hold at most eight.
pub(crate) const WIDTH: usize = 16;
/// The most rows of a panel: 16 KiB at a width of 16, 32 KiB at 32.
pub(crate) const DEPTH: usize = 256;
/// The most rows of a micro-kernel.
const ROWS: usize = 14;

/// `(depth, W)` elements.
pub(crate) type Panel<const W: usize = WIDTH> = [[f32; W]];

/// The unpacked factor: element `(i, k)` is `data[i * row + k * step]`.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub step: usize,
}

impl<'a> Factor<'a> {
    /// The same without the first `rows` rows and `depth` columns.
    fn from(self, rows: usize, depth: usize) -> Factor<'a> {
        Factor { data: &self.data[rows * self.row + depth * self.step..], ..self }
    }

    /// Checks that rows `0..rows` and columns `0..depth` are inside.
    ///
    /// # Panics
    /// If they are not.
    pub fn assert_holds(&self, rows: usize, depth: usize) {
        if rows > 0 && depth > 0 {
            let last = (rows - 1) * self.row + (depth - 1) * self.step;
            assert!(last < self.data.len(), "factor too short");
        }
    }
}

/// The factor to pack: a stored matrix, read along its rows or its columns.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// Element `(k, j)` is `w[k][j]`: a panel copies pieces of rows.
    Rows(Matrix<'a>),
    /// Element `(k, j)` is `w[j][k]`: a panel transposes.
    Cols(Matrix<'a>),
}

/// What an instruction set brings: a micro-kernel and the way to fill a panel.
pub(crate) struct Micro<const W: usize = WIDTH> {
    /// The rows of a full tile.
    pub rows: usize,
    /// `c = alpha a b` or `c += alpha a b`, for a tile of at most `rows` by a multiple of 8, at
    /// most `W`.
    pub tile: unsafe fn(a: Factor, b: &Panel<W>, alpha: f32, accumulate: bool, c: &mut Tile),
    /// `panel[i][j] = b[k + i][col + j]` for `j < width`; other columns hold anything.
    pub pack: unsafe fn(b: Source, k: usize, col: usize, width: usize, panel: &mut Panel<W>),
}

#[repr(C, align(64))]
struct Buffer<const W: usize>([[f32; W]; DEPTH]);

impl<const W: usize> Micro<W> {
    /// Blocks of equal depth, a multiple of half the width, none above [`DEPTH`].
    fn block(depth: usize) -> usize {
        depth.div_ceil(depth.div_ceil(DEPTH).max(1)).next_multiple_of(W / 2)
    }

    /// The part `y` of `(T, N)`: `y = x wᵀ`; `x` is `(T, K)`, `w` is `(N, K)`.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this kernel.
    pub unsafe fn forward(&self, x: &[f32], w: Matrix, accumulate: bool, y: &mut Tile) {
        let k = w.cols();
        let a = Factor { data: x, row: k, step: 1 };
        // SAFETY: the caller's promise.
        unsafe { self.product(a, Source::Cols(w), k, 1.0, accumulate, y) }
    }

    /// The part `d_x` of `(T, K)`: `d_x = d_y w`; `d_y` is `(T, N)`, `w` is `(N, K)`.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this kernel.
    pub unsafe fn backward(&self, d_y: &[f32], w: Matrix, accumulate: bool, d_x: &mut Tile) {
        let n = w.rows();
        let a = Factor { data: d_y, row: n, step: 1 };
        // SAFETY: the caller's promise.
        unsafe { self.product(a, Source::Rows(w), n, 1.0, accumulate, d_x) }
    }

    /// The part `d_w` of `(N, K)`: `d_w += a d_yᵀ x`; `d_y` is `(T, N)`, `x` is `(T, K)`;
    /// `tokens` is not zero.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this kernel.
    pub unsafe fn outer(&self, a: f32, d_y: &[f32], x: &[f32], tokens: usize, d_w: &mut Tile) {
        let (n, k) = (d_y.len() / tokens, x.len() / tokens);
        if k >= n || k >= WIDTH {
            let d_y = Factor { data: d_y, row: 1, step: n };
            let x = Source::Rows(Matrix::new(Data::F32(x), tokens, k));
            // SAFETY: the caller's promise.
            return unsafe { self.product(d_y, x, tokens, a, true, d_w) };
        }
        // Few columns would leave panels half empty: make the transpose, strip by strip.
        let x = Factor { data: x, row: 1, step: k };
        let d_y = Source::Rows(Matrix::new(Data::F32(d_y), tokens, n));
        let (rows, cols) = (d_w.rows(), d_w.cols());
        let mut strip = [[0.0; W]; WIDTH];
        let strip = strip.as_flattened_mut();
        for from in rows.clone().step_by(W) {
            let to = (from + W).min(rows.end);
            let mut c = Tile::new(&mut strip[..cols.len() * (to - from)], cols.clone(), from..to);
            // SAFETY: the caller's promise.
            unsafe { self.product(x, d_y, tokens, a, false, &mut c) };
            for row in from..to {
                for (i, d_w) in d_w.row(row).iter_mut().enumerate() {
                    *d_w += c.row(cols.start + i)[row - from];
                }
            }
        }
    }

    /// `c = alpha a b` or `c += alpha a b` over `depth`.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this kernel.
    unsafe fn product(
        &self,
        a: Factor,
        b: Source,
        depth: usize,
        alpha: f32,
        accumulate: bool,
        c: &mut Tile,
    ) {
        if depth == 0 {
            return if accumulate {
            } else {
                c.clear()
            };
        }
        let (rows, cols) = (c.rows(), c.cols());
        let block = Self::block(depth);
        assert!(block <= DEPTH);
        let mut room = MaybeUninit::<Buffer<W>>::uninit();
        let start = room.as_mut_ptr().cast::<[f32; W]>();
        // SAFETY: `block` rows are inside the buffer, zero bytes are numbers, and only this slice
        // reaches them from here on. The rest of the buffer stays untouched.
        let buffer = unsafe {
            start.write_bytes(0, block);
            core::slice::from_raw_parts_mut(start, block)
        };
        for k in (0..depth).step_by(block) {
            let panel = &mut buffer[..block.min(depth - k)];
            let accumulate = accumulate || k > 0;
            for col in cols.clone().step_by(W) {
                let end = (col + W).min(cols.end);
                // SAFETY: the caller's promise.
                unsafe { (self.pack)(b, k, col, end - col, panel) };
                for row in rows.clone().step_by(self.rows) {
                    let mut c = c.part(row..(row + self.rows).min(rows.end), col..end);
                    // SAFETY: the caller's promise.
                    unsafe { self.tile(a.from(row, k), panel, alpha, accumulate, &mut c) };
                }
            }
        }
    }

    /// One tile of any width: a narrow one goes through a buffer.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this kernel.
    unsafe fn tile(&self, a: Factor, b: &Panel<W>, alpha: f32, accumulate: bool, c: &mut Tile) {
        let width = c.cols().len();
        if width.is_multiple_of(8) {
            // SAFETY: the caller's promise.
            return unsafe { (self.tile)(a, b, alpha, accumulate, c) };
        }
        let rows = c.rows();
        let wide = width.next_multiple_of(8);
        let mut buffer = [[0.0; W]; ROWS];
        let buffer = buffer.as_flattened_mut();
        let mut edge = Tile::new(&mut buffer[..rows.len() * wide], rows.clone(), 0..wide);
        // SAFETY: the caller's promise.
        unsafe { (self.tile)(a, b, alpha, false, &mut edge) };
        for row in rows {
            for (c, edge) in c.row(row).iter_mut().zip(edge.row(row)) {
                *c = if accumulate { *c + *edge } else { *edge };
            }
        }
    }
}
