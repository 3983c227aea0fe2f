//! The products of a linear layer: a 6 x 16 tile in twelve registers over packed panels, or, for
//! few tokens or few outputs, dots that need no packing.

use core::arch::x86_64::*;

use super::convert::{Load, store};
use super::few;
use super::matvec;
use super::unpack::{unpack_cols, unpack_rows};
use crate::matrix::{Data, Matrix, Storage};
use crate::panel::{Factor, Micro, Panel, Source};
use crate::tile::Tile;

const MICRO: Micro = Micro { rows: 6, tile, pack };

/// So many tokens do not pay for unpacking q8 and q4.
const FEW_PACKED: usize = 4;
/// Fewer tokens than this do not pay for packing the weights.
const FEW_TOKENS: usize = 48;

#[target_feature(enable = "avx2,fma,f16c")]
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

#[target_feature(enable = "avx2,fma,f16c")]
pub fn backward(d_y: &[f32], w: Matrix, accumulate: bool, d_x: &mut Tile) {
    // SAFETY: this function runs only with the features of `MICRO`.
    unsafe { MICRO.backward(d_y, w, accumulate, d_x) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn outer(a: f32, d_y: &[f32], x: &[f32], tokens: usize, d_w: &mut Tile) {
    // SAFETY: this function runs only with the features of `MICRO`.
    unsafe { MICRO.outer(a, d_y, x, tokens, d_w) }
}

#[target_feature(enable = "avx2,fma,f16c")]
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
#[target_feature(enable = "avx2,fma,f16c")]
fn tile_of<const M: usize, const V: usize>(
    a: Factor,
    b: &Panel,
    alpha: f32,
    accumulate: bool,
    c: &mut Tile,
) {
    a.assert_holds(M, b.len());
    let mut sums = [[_mm256_setzero_ps(); V]; M];
    let mut column = a.data.as_ptr();
    for b in b {
        let mut parts = [_mm256_setzero_ps(); V];
        for (part, b) in parts.iter_mut().zip(b.as_chunks::<8>().0) {
            // SAFETY: the reference covers the 32 bytes read.
            *part = unsafe { _mm256_loadu_ps(b.as_ptr()) };
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `assert_holds` saw that row `i < M` of this column is inside `a.data`.
            let x = unsafe { _mm256_broadcast_ss(&*column.add(i * a.row)) };
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = _mm256_fmadd_ps(x, part, *sum);
            }
        }
        column = column.wrapping_add(a.step);
    }
    let alpha = _mm256_set1_ps(alpha);
    let first = c.rows().start;
    for (i, sums) in sums.into_iter().enumerate() {
        for (c, sum) in c.row(first + i).as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            // SAFETY: this function runs only with the features that `load` needs.
            let before = if accumulate { unsafe { f32::load(c) } } else { _mm256_setzero_ps() };
            store(c, _mm256_fmadd_ps(alpha, sum, before));
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
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
            Storage::Packed(w) => unpack_rows(w, k, col, width, panel),
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

#[target_feature(enable = "avx2,fma,f16c")]
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
            // SAFETY: this function runs only with the features that `load` needs.
            store(to, unsafe { W::load(from) });
        }
        for (to, from) in to_tail.iter_mut().zip(tail) {
            *to = from.to_f32();
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
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
            let mut eights = [_mm256_setzero_ps(); 8];
            for (r, eight) in eights.iter_mut().enumerate() {
                let from = row(j + r, i, 8).as_chunks::<8>().0;
                // SAFETY: this function runs only with the features that `load` needs.
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
#[target_feature(enable = "avx2,fma,f16c")]
fn transpose(r: [__m256; 8]) -> [__m256; 8] {
    let pairs = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let ((a0, a1), (a2, a3)) = (pairs(r[0], r[1]), pairs(r[2], r[3]));
    let ((a4, a5), (a6, a7)) = (pairs(r[4], r[5]), pairs(r[6], r[7]));
    let low = |a, b| _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
    let high = |a, b| _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
    let b = [low(a0, a2), high(a0, a2), low(a1, a3), high(a1, a3)];
    let d = [low(a4, a6), high(a4, a6), low(a5, a7), high(a5, a7)];
    [
        _mm256_permute2f128_ps::<0x20>(b[0], d[0]),
        _mm256_permute2f128_ps::<0x20>(b[1], d[1]),
        _mm256_permute2f128_ps::<0x20>(b[2], d[2]),
        _mm256_permute2f128_ps::<0x20>(b[3], d[3]),
        _mm256_permute2f128_ps::<0x31>(b[0], d[0]),
        _mm256_permute2f128_ps::<0x31>(b[1], d[1]),
        _mm256_permute2f128_ps::<0x31>(b[2], d[2]),
        _mm256_permute2f128_ps::<0x31>(b[3], d[3]),
    ]
}
