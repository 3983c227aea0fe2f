//! Products of few tokens: weights go from memory into registers once, without a panel between.
//!
//! ```text
//! backward, dense     d_x[t][k .. k+16 V] += d_y[t][n] w[n][k .. k+16 V]    128 n, then 128 more
//! forward, packed     y[t][n .. n+16] += scale[n ..] (sum over the block of quant[n ..] x[t][k])
//! ```

use core::arch::x86_64::*;

use super::convert::{Load, load_or, store_some};
use super::unpack::{line, scales, widen_q4, widen_q8};
use crate::matrix::Data;
use crate::panel::Factor;
use crate::quant::{self, BLOCK, Format, LINE, Packed, ROWS};
use crate::tile::Tile;

/// Tokens that share a pass over dense weights, at most.
const GROUP: usize = 6;

/// Rows of dense weights that all tokens use before the next ones: they stay in the L2 cache.
const DEPTH: usize = 128;

/// The part `d_x` of `(T, K)`: `d_y` is `(T, N)`, `w` is `(N, K)`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn backward(d_y: &[f32], w: Data, n: usize, k: usize, accumulate: bool, d_x: &mut Tile) {
    match w {
        Data::F32(w) => backward_stored(d_y, w, n, k, accumulate, d_x),
        Data::Bf16(w) => backward_stored(d_y, w, n, k, accumulate, d_x),
        Data::F16(w) => backward_stored(d_y, w, n, k, accumulate, d_x),
        Data::I8(w) => backward_stored(d_y, w, n, k, accumulate, d_x),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn backward_stored<W: Load>(
    d_y: &[f32],
    w: &[W],
    n: usize,
    k: usize,
    accumulate: bool,
    d_x: &mut Tile,
) {
    let (rows, cols) = (d_x.rows(), d_x.cols());
    assert!(w.len() == n * k && cols.end <= k, "matrix data and shape differ");
    let group = rows.len().div_ceil(rows.len().div_ceil(GROUP).max(1)).max(1);
    for from in (0..n).step_by(DEPTH) {
        let w = &w[from * k..(from + DEPTH).min(n) * k];
        let accumulate = accumulate || from > 0;
        for first in rows.clone().step_by(group) {
            let end = (first + group).min(rows.end);
            let d_y = Factor { data: &d_y[first * n + from..], row: n, step: 1 };
            let mut col = cols.start;
            while col < cols.end {
                let width = if cols.end - col < 64 { 16.min(cols.end - col) } else { 64 };
                let mut d_x = d_x.part(first..end, col..col + width);
                let run = match (end - first, width) {
                    (1, 64) => sums::<W, 1, 4>,
                    (2, 64) => sums::<W, 2, 4>,
                    (3, 64) => sums::<W, 3, 4>,
                    (4, 64) => sums::<W, 4, 4>,
                    (5, 64) => sums::<W, 5, 4>,
                    (_, 64) => sums::<W, 6, 4>,
                    (1, _) => sums::<W, 1, 1>,
                    (2, _) => sums::<W, 2, 1>,
                    (3, _) => sums::<W, 3, 1>,
                    (4, _) => sums::<W, 4, 1>,
                    (5, _) => sums::<W, 5, 1>,
                    (_, _) => sums::<W, 6, 1>,
                };
                run(d_y, w, k, accumulate, &mut d_x);
                col += width;
            }
        }
    }
}

/// `M` tokens by `V` registers of columns, one alone maybe in part.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sums<W: Load, const M: usize, const V: usize>(
    d_y: Factor,
    w: &[W],
    k: usize,
    accumulate: bool,
    d_x: &mut Tile,
) {
    let n = w.len() / k;
    let (first, cols) = (d_x.rows().start, d_x.cols());
    d_y.assert_holds(M, n);
    assert!(w.len() == n * k && cols.end <= k && (V == 1 || cols.len() == 16 * V));
    let mut sums = [[_mm512_setzero_ps(); V]; M];
    let mut column = d_y.data.as_ptr();
    for row in 0..n {
        let w = &w[row * k + cols.start..][..cols.len()];
        let mut parts = [_mm512_setzero_ps(); V];
        if V == 1 {
            // SAFETY: this function runs only with the features that `load_some` needs.
            parts[0] = unsafe { W::load_some(w) };
        } else {
            for (v, part) in parts.iter_mut().enumerate() {
                // SAFETY: as above; there are `16 V` weights.
                *part = unsafe { W::load(&*w.as_ptr().add(16 * v).cast()) };
            }
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `assert_holds` saw that row `i < M` of this column is inside `d_y.data`.
            let d_y = _mm512_set1_ps(unsafe { *column.add(i * d_y.row) });
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = _mm512_fmadd_ps(d_y, part, *sum);
            }
        }
        column = column.wrapping_add(1);
    }
    for (i, sums) in sums.into_iter().enumerate() {
        for (d_x, sum) in d_x.row(first + i).chunks_mut(16).zip(sums) {
            let sum = if accumulate { _mm512_add_ps(load_or(d_x, 0.0), sum) } else { sum };
            store_some(d_x, sum);
        }
    }
}

/// Bytes between the weights that are asked for and those in use, when they stream from memory.
const AHEAD: usize = 4096;

/// The most tokens that share a pass over packed weights.
const SHARE: usize = 8;

/// The part `y` of `(T, N)`: `x` is `(T, K)`; whole panels, but for the last one.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn forward_packed(x: &[f32], w: Packed, accumulate: bool, y: &mut Tile) {
    let (rows, cols) = (y.rows(), y.cols());
    assert!(cols.start.is_multiple_of(ROWS), "part of a panel");
    let k = w.cols();
    for n in cols.clone().step_by(ROWS) {
        let panel = w.panel(n / ROWS);
        for t in rows.clone().step_by(SHARE) {
            let end = (t + SHARE).min(rows.end);
            let x = &x[t * k..end * k];
            let mut y = y.part(t..end, n..(n + ROWS).min(cols.end));
            let run = match end - t {
                1 => panel_sums::<1, 4>,
                2 => panel_sums::<2, 4>,
                3 => panel_sums::<3, 2>,
                4 => panel_sums::<4, 2>,
                5 => panel_sums::<5, 2>,
                6 => panel_sums::<6, 2>,
                7 => panel_sums::<7, 1>,
                _ => panel_sums::<8, 1>,
            };
            run(x, k, w.format(), &panel, accumulate, &mut y);
        }
    }
}

/// `M` tokens by one panel, the sum over a block in `U` parts.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn panel_sums<const M: usize, const U: usize>(
    x: &[f32],
    k: usize,
    format: Format,
    panel: &quant::Panel,
    accumulate: bool,
    y: &mut Tile,
) {
    assert!(x.len() == M * k);
    let lines = format.block_bytes() / LINE;
    let mut sums = [_mm512_setzero_ps(); M];
    let mut padded = [[0.0; BLOCK]; M];
    for (block, lines) in panel.lines.chunks_exact(lines).enumerate() {
        let from = block * BLOCK;
        let mut rows: [&[f32; BLOCK]; M] = [&[0.0; BLOCK]; M];
        for ((row, padded), x) in rows.iter_mut().zip(&mut padded).zip(x.chunks_exact(k)) {
            let x = &x[from..];
            *row = match x.first_chunk() {
                Some(whole) => whole,
                None => {
                    padded[..x.len()].copy_from_slice(x);
                    padded
                }
            };
        }
        let mut parts = [[_mm512_setzero_ps(); U]; M];
        for (i, bytes) in lines.iter().enumerate() {
            let ahead = bytes.as_ptr().wrapping_add(AHEAD);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            match format {
                Format::Q8 => add_line(&mut parts, &widen_q8(line(bytes)), &rows, 4 * i),
                Format::Q4 => add_line(&mut parts, &widen_q4(line(bytes)), &rows, 8 * i),
            }
        }
        let scales = scales(panel, block);
        for (sum, parts) in sums.iter_mut().zip(parts) {
            let mut part = parts[0];
            for other in &parts[1..] {
                part = _mm512_add_ps(part, *other);
            }
            *sum = _mm512_fmadd_ps(scales, part, *sum);
        }
    }
    let first = y.rows().start;
    for (i, sum) in sums.into_iter().enumerate() {
        let y = y.row(first + i);
        let sum = if accumulate { _mm512_add_ps(load_or(y, 0.0), sum) } else { sum };
        store_some(y, sum);
    }
}

/// `parts[m] += quants[e] rows[m][at + e]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn add_line<const E: usize, const M: usize, const U: usize>(
    parts: &mut [[__m512; U]; M],
    quants: &[__m512; E],
    rows: &[&[f32; BLOCK]; M],
    at: usize,
) {
    for (parts, row) in parts.iter_mut().zip(rows) {
        let x = &row[at..at + E];
        for e in 0..E {
            parts[e % U] = _mm512_fmadd_ps(quants[e], _mm512_set1_ps(x[e]), parts[e % U]);
        }
    }
}
