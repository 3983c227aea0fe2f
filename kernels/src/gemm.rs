//! The one file that calls the gemm crate: dense f32 products `d_x = d_y w` of many tokens, on CPUs
//! with AVX-512, where it is as fast as our own tile.
//!
//! One call makes one chunk on one thread; the workspace is the crate's, on the heap of that thread.

use gemm::{Parallelism, gemm};

use crate::tile::Tile;

/// Columns of a chunk, at least; narrower ones lose speed.
pub(crate) const WIDTH: usize = 64;
/// Below so many tokens ours, which packs nothing, is as fast.
pub(crate) const TOKENS: usize = 48;

/// Bytes that the crate takes on each thread: of a slab as large as the L2 cache it touches what one
/// chunk packs, which is this much at most.
pub(crate) const WORKSPACE: usize = 1 << 18;

/// The part `d_x` of `(T, k)`: `d_x = d_y w` or `d_x += d_y w`; `d_y` is `(T, n)`, `w` is `(n, k)`.
pub(crate) fn backward(d_y: &[f32], w: &[f32], k: usize, accumulate: bool, d_x: &mut Tile) {
    let (rows, n) = (d_x.rows(), w.len() / k);
    let d_y = &d_y[rows.start * n..rows.end * n];
    product(n, d_y, &w[d_x.cols().start..], (k, 1), accumulate, d_x);
}

/// `c = a b` or `c += a b`: `a` is `(rows, depth)`; element `(i, j)` of `b` is
/// `b[i * b_strides.0 + j * b_strides.1]`.
fn product(
    depth: usize,
    a: &[f32],
    b: &[f32],
    b_strides: (usize, usize),
    accumulate: bool,
    c: &mut Tile,
) {
    let (rows, cols) = (c.rows().len(), c.cols().len());
    if rows == 0 || cols == 0 || depth == 0 {
        return if accumulate {
        } else {
            c.clear()
        };
    }
    assert!(rows * depth <= a.len(), "factor too short");
    assert!((depth - 1) * b_strides.0 + (cols - 1) * b_strides.1 < b.len(), "factor too short");
    let [c_row, a_row, b_row, b_col] =
        [c.stride(), depth, b_strides.0, b_strides.1].map(usize::cast_signed);
    // SAFETY: the assertions above keep every element read inside `a` and `b`, and the tile lends
    // `rows` by `cols` elements at its stride; f32 needs no conjugation.
    unsafe {
        gemm(
            rows,
            cols,
            depth,
            c.as_mut_ptr(),
            1,
            c_row,
            accumulate,
            a.as_ptr(),
            1,
            a_row,
            b.as_ptr(),
            b_col,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
