//! The products of a linear layer: an 8 x 8 tile in sixteen registers over packed panels, or,
//! for few tokens or few outputs, dots that need no packing.

use core::arch::aarch64::*;

use super::convert::Load;
use super::eight::{Eight, fma, load, splat, store};
use super::matvec;
use super::unpack::{unpack_cols, unpack_rows};
use crate::matrix::{Data, Matrix, Storage};
use crate::panel::{Factor, Micro, Panel, Source, WIDTH};
use crate::tile::Tile;

const MICRO: Micro = Micro { rows: 8, tile, pack };

/// Fewer tokens than this do not pay for packing the weights.
const FEW_TOKENS: usize = 48;

#[target_feature(enable = "neon")]
pub fn forward(x: &[f32], w: Matrix, accumulate: bool, y: &mut Tile) {
    let few = y.rows().len() < FEW_TOKENS || y.cols().len() < 16;
    if let Storage::Dense(data) = w.storage()
        && few
        && w.cols() >= 16
    {
        return matvec::forward(x, data, w.cols(), accumulate, y);
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

/// A panel holds two halves of eight columns; each is a tile of at most eight rows.
#[target_feature(enable = "neon")]
fn tile(a: Factor, b: &Panel, alpha: f32, accumulate: bool, c: &mut Tile) {
    for half in 0..c.cols().len() / 8 {
        let cols = c.cols().start + 8 * half..c.cols().start + 8 * half + 8;
        let mut c = c.part(c.rows(), cols);
        match c.rows().len() {
            1 => write(any_rows::<1>(a, b, half), alpha, accumulate, &mut c),
            2 => write(any_rows::<2>(a, b, half), alpha, accumulate, &mut c),
            3 => write(any_rows::<3>(a, b, half), alpha, accumulate, &mut c),
            4 => write(any_rows::<4>(a, b, half), alpha, accumulate, &mut c),
            5 => write(any_rows::<5>(a, b, half), alpha, accumulate, &mut c),
            6 => write(any_rows::<6>(a, b, half), alpha, accumulate, &mut c),
            7 => write(any_rows::<7>(a, b, half), alpha, accumulate, &mut c),
            8 if a.step == 1 => write(stored_by_row(a, b, half), alpha, accumulate, &mut c),
            8 if a.row == 1 => write(stored_by_column(a, b, half), alpha, accumulate, &mut c),
            8 => write(any_rows::<8>(a, b, half), alpha, accumulate, &mut c),
            rows => unreachable!("no tile of {rows} rows"),
        }
    }
}

/// `c = alpha sums` or `c += alpha sums`.
#[inline]
#[target_feature(enable = "neon")]
fn write<const M: usize>(sums: [Eight; M], alpha: f32, accumulate: bool, c: &mut Tile) {
    let first = c.rows().start;
    for (i, sum) in sums.into_iter().enumerate() {
        for c in c.row(first + i).as_chunks_mut::<8>().0 {
            let before = if accumulate { load(c) } else { splat(0.0) };
            store(c, fma(splat(alpha), sum, before));
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_half(b: &[f32; WIDTH], half: usize) -> Eight {
    load(&b.as_chunks::<8>().0[half])
}

/// One column of `a` at a time, whatever its strides.
#[target_feature(enable = "neon")]
fn any_rows<const M: usize>(a: Factor, b: &Panel, half: usize) -> [Eight; M] {
    a.assert_holds(M, b.len());
    let mut sums = [splat(0.0); M];
    let mut column = a.data.as_ptr();
    for b in b {
        let b = load_half(b, half);
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `assert_holds` saw that row `i < M` of this column is inside `a.data`.
            let x = unsafe { *column.add(i * a.row) };
            *sum = [vfmaq_n_f32(sum[0], b[0], x), vfmaq_n_f32(sum[1], b[1], x)];
        }
        column = column.wrapping_add(a.step);
    }
    sums
}

/// Eight rows whose elements lie side by side: four columns of `a` are loaded at once.
#[target_feature(enable = "neon")]
fn stored_by_row(a: Factor, b: &Panel, half: usize) -> [Eight; 8] {
    a.assert_holds(8, b.len());
    assert!(a.step == 1);
    let mut sums = [splat(0.0); 8];
    let (fours, rest) = b.as_chunks::<4>();
    for (j, four) in fours.iter().enumerate() {
        let mut x = [vdupq_n_f32(0.0); 8];
        for (i, x) in x.iter_mut().enumerate() {
            // SAFETY: `assert_holds` saw columns `0..b.len()` of row `i`; `4 j + 3` is one.
            *x = unsafe { vld1q_f32(a.data.as_ptr().add(i * a.row + 4 * j)) };
        }
        sums = add_column::<0>(sums, x, load_half(&four[0], half));
        sums = add_column::<1>(sums, x, load_half(&four[1], half));
        sums = add_column::<2>(sums, x, load_half(&four[2], half));
        sums = add_column::<3>(sums, x, load_half(&four[3], half));
    }
    for (j, b) in rest.iter().enumerate() {
        let mut x = [vdupq_n_f32(0.0); 8];
        for (i, x) in x.iter_mut().enumerate() {
            *x = vdupq_n_f32(a.data[i * a.row + 4 * fours.len() + j]);
        }
        sums = add_column::<0>(sums, x, load_half(b, half));
    }
    sums
}

/// `sums[i] += x[i][LANE] b`.
#[inline]
#[target_feature(enable = "neon")]
fn add_column<const LANE: i32>(mut sums: [Eight; 8], x: [float32x4_t; 8], b: Eight) -> [Eight; 8] {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum = add_lane::<LANE>(*sum, x, b);
    }
    sums
}

#[inline]
#[target_feature(enable = "neon")]
fn add_lane<const LANE: i32>(sum: Eight, x: float32x4_t, b: Eight) -> Eight {
    [vfmaq_laneq_f32::<LANE>(sum[0], b[0], x), vfmaq_laneq_f32::<LANE>(sum[1], b[1], x)]
}

/// Eight rows whose columns lie side by side: a column of `a` is two registers.
#[target_feature(enable = "neon")]
fn stored_by_column(a: Factor, b: &Panel, half: usize) -> [Eight; 8] {
    a.assert_holds(8, b.len());
    assert!(a.row == 1);
    let mut sums = [splat(0.0); 8];
    let mut column = a.data.as_ptr();
    for b in b {
        // SAFETY: `assert_holds` saw the eight rows of this column.
        let (low, high) = unsafe { (vld1q_f32(column), vld1q_f32(column.add(4))) };
        let b = load_half(b, half);
        sums = [
            add_lane::<0>(sums[0], low, b),
            add_lane::<1>(sums[1], low, b),
            add_lane::<2>(sums[2], low, b),
            add_lane::<3>(sums[3], low, b),
            add_lane::<0>(sums[4], high, b),
            add_lane::<1>(sums[5], high, b),
            add_lane::<2>(sums[6], high, b),
            add_lane::<3>(sums[7], high, b),
        ];
        column = column.wrapping_add(a.step);
    }
    sums
}

#[target_feature(enable = "neon")]
fn pack(b: Source, k: usize, col: usize, width: usize, panel: &mut Panel) {
    match b {
        Source::Rows(w) => match w.storage() {
            Storage::Dense(Data::F32(data)) => {
                pack_rows(data, w.cols(), k, col, width, panel);
            }
            Storage::Dense(Data::Bf16(data)) => {
                pack_rows(data, w.cols(), k, col, width, panel);
            }
            Storage::Dense(Data::F16(data)) => {
                pack_rows(data, w.cols(), k, col, width, panel);
            }
            Storage::Dense(Data::I8(data)) => {
                pack_rows(data, w.cols(), k, col, width, panel);
            }
            Storage::Packed(w) => unpack_rows(w, k, col, panel),
        },
        Source::Cols(w) => match w.storage() {
            Storage::Dense(Data::F32(data)) => {
                pack_cols(data, w.cols(), k, col, width, panel);
            }
            Storage::Dense(Data::Bf16(data)) => {
                pack_cols(data, w.cols(), k, col, width, panel);
            }
            Storage::Dense(Data::F16(data)) => {
                pack_cols(data, w.cols(), k, col, width, panel);
            }
            Storage::Dense(Data::I8(data)) => {
                pack_cols(data, w.cols(), k, col, width, panel);
            }
            Storage::Packed(w) => unpack_cols(w, k, col, width, panel),
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
pub(super) fn transpose4(r: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let pair = |x| vreinterpretq_f64_f32(x);
    let (a, b) = (pair(vtrn1q_f32(r[0], r[1])), pair(vtrn2q_f32(r[0], r[1])));
    let (c, d) = (pair(vtrn1q_f32(r[2], r[3])), pair(vtrn2q_f32(r[2], r[3])));
    [vtrn1q_f64(a, c), vtrn1q_f64(b, d), vtrn2q_f64(a, c), vtrn2q_f64(b, d)]
        .map(|x| vreinterpretq_f32_f64(x))
}
