//! The products of a linear layer: a 12 x 32 tile in 24 registers over packed panels, or, for few
//! tokens or few outputs, dots that need no packing.

use core::arch::x86_64::*;

use super::convert::{Load, load, load_or, store, store_some};
use super::few;
use super::matvec;
use super::transpose::transpose;
use super::unpack::{unpack_cols, unpack_rows};
#[cfg(feature = "std")]
use crate::gemm;
use crate::matrix::{Data, Matrix, Storage};
use crate::panel::{self, Factor, Micro, Source};
use crate::tile::Tile;

/// Columns of a panel: two registers.
const WIDTH: usize = 32;
pub type Panel = panel::Panel<WIDTH>;

const MICRO: Micro<WIDTH> = Micro { rows: 12, tile, pack };

/// So many tokens do not pay for unpacking q8 and q4.
const FEW_PACKED: usize = 8;
/// So many tokens do not pay for packing the weights of a backward product.
const FEW_BACKWARD: usize = 47;
/// Fewer tokens than this do not pay for packing the weights.
const FEW_TOKENS: usize = 48;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn forward(x: &[f32], w: Matrix, accumulate: bool, y: &mut Tile) {
    let few = y.rows().len() < FEW_TOKENS || y.cols().len() < 16;
    if let Storage::Dense(data) = w.storage()
        && few
        && w.cols() >= 16
    {
        return matvec::forward(x, data, w.cols(), accumulate, y);
    }
    if let Storage::Packed(w) = w.storage()
        && y.rows().len() <= FEW_PACKED
    {
        return few::forward_packed(x, w, accumulate, y);
    }
    // SAFETY: this function runs only with the features of `MICRO`.
    unsafe { MICRO.forward(x, w, accumulate, y) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn backward(d_y: &[f32], w: Matrix, accumulate: bool, d_x: &mut Tile) {
    #[cfg(feature = "std")]
    if let Storage::Dense(Data::F32(data)) = w.storage()
        && d_x.rows().len() >= gemm::TOKENS
        && d_x.cols().len() >= gemm::WIDTH
    {
        return gemm::backward(d_y, data, w.cols(), accumulate, d_x);
    }
    if let Storage::Dense(data) = w.storage()
        && d_x.rows().len() <= FEW_BACKWARD
        && w.rows() > 0
        && w.cols() > 0
    {
        return few::backward(d_y, data, w.rows(), w.cols(), accumulate, d_x);
    }
    // SAFETY: this function runs only with the features of `MICRO`.
    unsafe { MICRO.backward(d_y, w, accumulate, d_x) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn outer(a: f32, d_y: &[f32], x: &[f32], tokens: usize, d_w: &mut Tile) {
    // SAFETY: this function runs only with the features of `MICRO`.
    unsafe { MICRO.outer(a, d_y, x, tokens, d_w) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn tile(a: Factor, b: &Panel, alpha: f32, accumulate: bool, c: &mut Tile) {
    let run = match (c.rows().len(), c.cols().len().div_ceil(16)) {
        (1, 1) => tile_of::<1, 1>,
        (2, 1) => tile_of::<2, 1>,
        (3, 1) => tile_of::<3, 1>,
        (4, 1) => tile_of::<4, 1>,
        (5, 1) => tile_of::<5, 1>,
        (6, 1) => tile_of::<6, 1>,
        (7, 1) => tile_of::<7, 1>,
        (8, 1) => tile_of::<8, 1>,
        (9, 1) => tile_of::<9, 1>,
        (10, 1) => tile_of::<10, 1>,
        (11, 1) => tile_of::<11, 1>,
        (12, 1) => tile_of::<12, 1>,
        (1, 2) => tile_of::<1, 2>,
        (2, 2) => tile_of::<2, 2>,
        (3, 2) => tile_of::<3, 2>,
        (4, 2) => tile_of::<4, 2>,
        (5, 2) => tile_of::<5, 2>,
        (6, 2) => tile_of::<6, 2>,
        (7, 2) => tile_of::<7, 2>,
        (8, 2) => tile_of::<8, 2>,
        (9, 2) => tile_of::<9, 2>,
        (10, 2) => tile_of::<10, 2>,
        (11, 2) => tile_of::<11, 2>,
        (12, 2) => tile_of::<12, 2>,
        (rows, cols) => unreachable!("no tile of {rows} rows by {cols} registers"),
    };
    run(a, b, alpha, accumulate, c);
}

/// `M` rows by `V` registers, the last one maybe in part.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn tile_of<const M: usize, const V: usize>(
    a: Factor,
    b: &Panel,
    alpha: f32,
    accumulate: bool,
    c: &mut Tile,
) {
    a.assert_holds(M, b.len());
    let mut sums = [[_mm512_setzero_ps(); V]; M];
    let mut column = a.data.as_ptr();
    for b in b.chunks(16) {
        // The next line of each row: their addresses are too far apart for the CPU to foresee.
        let (lines, apart) = if a.step == 1 { (M, a.row) } else { (16, a.step) };
        for i in 0..lines {
            let ahead = column.wrapping_add(i * apart + 16 * a.step);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
        }
        for b in b {
            let mut parts = [_mm512_setzero_ps(); V];
            for (part, b) in parts.iter_mut().zip(b.as_chunks::<16>().0) {
                *part = load(b);
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `assert_holds` saw that row `i < M` of this column is inside `a.data`.
                let x = _mm512_set1_ps(unsafe { *column.add(i * a.row) });
                for (sum, part) in sums.iter_mut().zip(parts) {
                    *sum = _mm512_fmadd_ps(x, part, *sum);
                }
            }
            column = column.wrapping_add(a.step);
        }
    }
    let alpha = _mm512_set1_ps(alpha);
    let first = c.rows().start;
    for (i, sums) in sums.into_iter().enumerate() {
        for (c, sum) in c.row(first + i).chunks_mut(16).zip(sums) {
            let before = if accumulate { load_or(c, 0.0) } else { _mm512_setzero_ps() };
            store_some(c, _mm512_fmadd_ps(alpha, sum, before));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack(b: Source, k: usize, col: usize, width: usize, panel: &mut Panel) {
    match b {
        Source::Rows(w) => match w.storage() {
            Storage::Dense(Data::F32(data)) => pack_rows(data, w.cols(), k, col, width, panel),
            Storage::Dense(Data::Bf16(data)) => pack_rows(data, w.cols(), k, col, width, panel),
            Storage::Dense(Data::F16(data)) => pack_rows(data, w.cols(), k, col, width, panel),
            Storage::Dense(Data::I8(data)) => pack_rows(data, w.cols(), k, col, width, panel),
            Storage::Packed(w) => unpack_rows(w, k, col, width, panel),
        },
        Source::Cols(w) => match w.storage() {
            Storage::Dense(Data::F32(data)) => pack_cols(data, w.cols(), k, col, width, panel),
            Storage::Dense(Data::Bf16(data)) => pack_cols(data, w.cols(), k, col, width, panel),
            Storage::Dense(Data::F16(data)) => pack_cols(data, w.cols(), k, col, width, panel),
            Storage::Dense(Data::I8(data)) => pack_cols(data, w.cols(), k, col, width, panel),
            Storage::Packed(w) => unpack_cols(w, k, col, width, panel),
        },
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack_rows<W: Load>(
    w: &[W],
    stride: usize,
    k: usize,
    col: usize,
    width: usize,
    panel: &mut Panel,
) {
    for (i, to) in panel.iter_mut().enumerate() {
        let from = &w[(k + i) * stride + col..][..width];
        for (from, to) in from.chunks(16).zip(to.as_chunks_mut::<16>().0) {
            // SAFETY: this function runs only with the features that loads need.
            store(to, unsafe {
                match from.as_array::<16>() {
                    Some(from) => W::load(from),
                    None => W::load_some(from),
                }
            });
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack_cols<W: Load>(
    w: &[W],
    stride: usize,
    k: usize,
    col: usize,
    width: usize,
    panel: &mut Panel,
) {
    for j in (0..width).step_by(16) {
        let rows = (width - j).min(16);
        for (i, to) in panel.chunks_mut(16).enumerate() {
            let mut sixteens = [_mm512_setzero_ps(); 16];
            for (r, sixteen) in sixteens[..rows].iter_mut().enumerate() {
                let from = &w[(col + j + r) * stride + k + 16 * i..][..to.len()];
                // SAFETY: this function runs only with the features that loads need.
                *sixteen = unsafe {
                    match from.as_array::<16>() {
                        Some(from) => W::load(from),
                        None => W::load_some(from),
                    }
                };
            }
            for (to, column) in to.iter_mut().zip(transpose(sixteens)) {
                store(&mut to.as_chunks_mut::<16>().0[j / 16], column);
            }
        }
    }
}
