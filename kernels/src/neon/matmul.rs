//! The products of a linear layer: a 6 x 16 tile in 24 registers over packed panels, or, for
//! few tokens or few outputs, dots that need no packing.

use core::arch::aarch64::*;

use super::convert::Load;
use super::eight::{Eight, fma, load, splat, store};
use super::matvec;
use crate::matrix::{Data, Matrix};
use crate::panel::{Factor, Micro, Panel, Source};
use crate::tile::Tile;

const MICRO: Micro = Micro { rows: 6, tile, pack };

/// Fewer tokens than this do not pay for packing the weights.
const FEW_TOKENS: usize = 48;

#[target_feature(enable = "neon")]
pub fn forward(x: &[f32], w: Matrix, accumulate: bool, y: &mut Tile) {
    if (y.rows().len() < FEW_TOKENS || y.cols().len() < 16) && w.cols() >= 16 {
        return matvec::forward(x, w, accumulate, y);
    }
    // SAFETY: this function runs only with the feature of `MICRO`.
    unsafe { MICRO.forward(x, w, accumulate, y) }
}

#[target_feature(enable = "neon")]
pub fn backward(d_y: &[f32], w: Matrix, accumulate: bool, d_x: &mut Tile) {
    // SAFETY: this function runs only with the feature of `MICRO`.
    unsafe { MICRO.backward(d_y, w, accumulate, d_x) }
}

#[target_feature(enable = "neon")]
pub fn outer(a: f32, d_y: &[f32], x: &[f32], tokens: usize, d_w: &mut Tile) {
    // SAFETY: this function runs only with the feature of `MICRO`.
    unsafe { MICRO.outer(a, d_y, x, tokens, d_w) }
}

#[target_feature(enable = "neon")]
fn tile(a: Factor, b: &Panel, alpha: f32, accumulate: bool, c: &mut Tile) {
    match (c.rows().len(), c.cols().len()) {
        (1, 16) => tile_of::<1, 2>(a, b, alpha, accumulate, c),
        (2, 16) => tile_of::<2, 2>(a, b, alpha, accumulate, c),
        (3, 16) => tile_of::<3, 2>(a, b, alpha, accumulate, c),
        (4, 16) => tile_of::<4, 2>(a, b, alpha, accumulate, c),
        (5, 16) => tile_of::<5, 2>(a, b, alpha, accumulate, c),
        (6, 16) => tile_of::<6, 2>(a, b, alpha, accumulate, c),
        (1, 8) => tile_of::<1, 1>(a, b, alpha, accumulate, c),
        (2, 8) => tile_of::<2, 1>(a, b, alpha, accumulate, c),
        (3, 8) => tile_of::<3, 1>(a, b, alpha, accumulate, c),
        (4, 8) => tile_of::<4, 1>(a, b, alpha, accumulate, c),
        (5, 8) => tile_of::<5, 1>(a, b, alpha, accumulate, c),
        (6, 8) => tile_of::<6, 1>(a, b, alpha, accumulate, c),
        (rows, cols) => unreachable!("no tile of {rows} x {cols}"),
    }
}

/// `M` rows by `V` registers.
#[target_feature(enable = "neon")]
fn tile_of<const M: usize, const V: usize>(
    a: Factor,
    b: &Panel,
    alpha: f32,
    accumulate: bool,
    c: &mut Tile,
) {
    a.assert_holds(M, b.len());
    let mut sums = [[splat(0.0); V]; M];
    let mut column = a.data.as_ptr();
    for b in b {
        let mut parts = [splat(0.0); V];
        for (part, b) in parts.iter_mut().zip(b.as_chunks::<8>().0) {
            *part = load(b);
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `assert_holds` saw that row `i < M` of this column is inside `a.data`.
            let x = unsafe { *column.add(i * a.row) };
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = [vfmaq_n_f32(sum[0], part[0], x), vfmaq_n_f32(sum[1], part[1], x)];
            }
        }
        column = column.wrapping_add(a.step);
    }
    let first = c.rows().start;
    for (i, sums) in sums.into_iter().enumerate() {
        for (c, sum) in c.row(first + i).as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            let before = if accumulate { load(c) } else { splat(0.0) };
            store(c, fma(splat(alpha), sum, before));
        }
    }
}

#[target_feature(enable = "neon")]
fn pack(b: Source, k: usize, col: usize, width: usize, panel: &mut Panel) {
    match b {
        Source::Rows(w) => match w.data() {
            Data::F32(data) => pack_rows(data, w.cols(), k, col, width, panel),
            Data::Bf16(data) => pack_rows(data, w.cols(), k, col, width, panel),
            Data::F16(data) => pack_rows(data, w.cols(), k, col, width, panel),
        },
        Source::Cols(w) => match w.data() {
            Data::F32(data) => pack_cols(data, w.cols(), k, col, width, panel),
            Data::Bf16(data) => pack_cols(data, w.cols(), k, col, width, panel),
            Data::F16(data) => pack_cols(data, w.cols(), k, col, width, panel),
        },
    }
}

#[target_feature(enable = "neon")]
fn pack_rows<W: Load>(
    w: &[W],
    stride: usize,
    k: usize,
    col: usize,
    width: usize,
    panel: &mut Panel,
) {
    for (i, to) in panel.iter_mut().enumerate() {
        let (eights, tail) = w[(k + i) * stride + col..][..width].as_chunks::<8>();
        let (to, to_tail) = to.split_at_mut(8 * eights.len());
        for (from, to) in eights.iter().zip(to.as_chunks_mut::<8>().0) {
            // SAFETY: this function runs only with the feature that `load` needs.
            store(to, unsafe { W::load(from) });
        }
        for (to, from) in to_tail.iter_mut().zip(tail) {
            *to = from.to_f32();
        }
    }
}

#[target_feature(enable = "neon")]
fn pack_cols<W: Load>(
    w: &[W],
    stride: usize,
    k: usize,
    col: usize,
    width: usize,
    panel: &mut Panel,
) {
    let row = |j: usize, from: usize, len: usize| &w[(col + j) * stride + k + from..][..len];
    let depth = panel.len();
    let whole = depth / 8 * 8;
    for j in (0..width / 8 * 8).step_by(8) {
        for i in (0..whole).step_by(8) {
            let mut eights = [splat(0.0); 8];
            for (r, eight) in eights.iter_mut().enumerate() {
                let from = row(j + r, i, 8).as_chunks::<8>().0;
                // SAFETY: this function runs only with the feature that `load` needs.
                *eight = unsafe { W::load(&from[0]) };
            }
            for (to, column) in panel[i..i + 8].iter_mut().zip(transpose(eights)) {
                store(&mut to[j..].as_chunks_mut::<8>().0[0], column);
            }
        }
        for r in j..j + 8 {
            for (to, from) in panel[whole..].iter_mut().zip(row(r, whole, depth - whole)) {
                to[r] = from.to_f32();
            }
        }
    }
    for r in width / 8 * 8..width {
        for (to, from) in panel.iter_mut().zip(row(r, 0, depth)) {
            to[r] = from.to_f32();
        }
    }
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "neon")]
fn transpose(r: [Eight; 8]) -> [Eight; 8] {
    let low = transpose4([r[0][0], r[1][0], r[2][0], r[3][0]]);
    let high = transpose4([r[4][0], r[5][0], r[6][0], r[7][0]]);
    let low_right = transpose4([r[0][1], r[1][1], r[2][1], r[3][1]]);
    let high_right = transpose4([r[4][1], r[5][1], r[6][1], r[7][1]]);
    let mut columns = [splat(0.0); 8];
    for i in 0..4 {
        columns[i] = [low[i], high[i]];
        columns[i + 4] = [low_right[i], high_right[i]];
    }
    columns
}

#[inline]
#[target_feature(enable = "neon")]
fn transpose4(r: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let pair = |x| vreinterpretq_f64_f32(x);
    let (a, b) = (pair(vtrn1q_f32(r[0], r[1])), pair(vtrn2q_f32(r[0], r[1])));
    let (c, d) = (pair(vtrn1q_f32(r[2], r[3])), pair(vtrn2q_f32(r[2], r[3])));
    [vtrn1q_f64(a, c), vtrn1q_f64(b, d), vtrn2q_f64(a, c), vtrn2q_f64(b, d)]
        .map(|x| vreinterpretq_f32_f64(x))
}
