//! `y = x wᵀ` by dots: weights stream once, in groups of rows, and are widened in registers.
//!
//! ```text
//!          w rows n .. n+4, sixteen weights at a time
//! x rows   [sum][sum][sum][sum]      up to 4 tokens x 4 rows = 16 sums of sixteen lanes
//! t..t+4   [sum][sum][sum][sum]
//! ```
//! One token alone takes two sums a row instead, so that additions do not wait for each other.

use core::arch::x86_64::*;

use super::convert::Load;
use super::vector::sum;
use crate::matrix::Data;
use crate::tile::Tile;

/// Bytes between the weights that are asked for and those in use, when they stream from memory.
const AHEAD: usize = 4096;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn forward(x: &[f32], w: Data, k: usize, accumulate: bool, y: &mut Tile) {
    match w {
        Data::F32(data) => forward_stored(x, data, k, accumulate, y),
        Data::Bf16(data) => forward_stored(x, data, k, accumulate, y),
        Data::F16(data) => forward_stored(x, data, k, accumulate, y),
        Data::I8(data) => forward_stored(x, data, k, accumulate, y),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn forward_stored<W: Load>(x: &[f32], w: &[W], k: usize, accumulate: bool, y: &mut Tile) {
    let (tokens, outputs) = (y.rows(), y.cols());
    for n in outputs.clone().step_by(4) {
        let cols = n..(n + 4).min(outputs.end);
        let w = &w[n * k..cols.end * k];
        for t in tokens.clone().step_by(4) {
            let rows = t..(t + 4).min(tokens.end);
            let x = &x[t * k..rows.end * k];
            let mut y = y.part(rows.clone(), cols.clone());
            match (rows.len(), cols.len()) {
                (4, 4) => dots::<W, 4, 4, 1>(x, w, k, accumulate, &mut y),
                (3, 4) => dots::<W, 3, 4, 1>(x, w, k, accumulate, &mut y),
                (2, 4) => dots::<W, 2, 4, 1>(x, w, k, accumulate, &mut y),
                (1, 4) => dots::<W, 1, 4, 2>(x, w, k, accumulate, &mut y),
                _ => {
                    for row in rows {
                        for col in cols.clone() {
                            let (x, w) = (&x[(row - t) * k..][..k], &w[(col - n) * k..][..k]);
                            let mut y = y.part(row..row + 1, col..col + 1);
                            dots::<W, 1, 1, 2>(x, w, k, accumulate, &mut y);
                        }
                    }
                }
            }
        }
    }
}

/// `T` tokens by `R` rows, each sum in `U` parts.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn dots<W: Load, const T: usize, const R: usize, const U: usize>(
    x: &[f32],
    w: &[W],
    k: usize,
    accumulate: bool,
    y: &mut Tile,
) {
    assert!(x.len() == T * k && w.len() == R * k);
    let (x_start, w_start) = (x.as_ptr(), w.as_ptr());
    let mut sums = [[[_mm512_setzero_ps(); U]; R]; T];
    let whole = k / (16 * U) * (16 * U);
    for i in (0..whole).step_by(16 * U) {
        if T == 1 {
            for r in 0..R {
                let ahead = w_start.wrapping_add(r * k + i).wrapping_byte_add(AHEAD);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
        }
        for u in 0..U {
            let mut x = [_mm512_setzero_ps(); T];
            for (t, x) in x.iter_mut().enumerate() {
                // SAFETY: `i + 16 u + 16 <= k`, so these sixteen are inside row `t` of `x`.
                *x = unsafe { _mm512_loadu_ps(x_start.add(t * k + i + 16 * u)) };
            }
            for r in 0..R {
                // SAFETY: as above, inside row `r` of `w`.
                let weight = unsafe { W::load(&*w_start.add(r * k + i + 16 * u).cast()) };
                for (sums, x) in sums.iter_mut().zip(x) {
                    sums[r][u] = _mm512_fmadd_ps(x, weight, sums[r][u]);
                }
            }
        }
    }
    for from in (whole..k).step_by(16) {
        let to = (from + 16).min(k);
        for r in 0..R {
            // SAFETY: this function runs only with the features that `load_some` needs.
            let weight = unsafe { W::load_some(&w[r * k + from..r * k + to]) };
            for (t, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let x = unsafe { f32::load_some(&x[t * k + from..t * k + to]) };
                sums[r][0] = _mm512_fmadd_ps(x, weight, sums[r][0]);
            }
        }
    }
    let first = y.rows().start;
    for (t, sums) in sums.into_iter().enumerate() {
        let y = y.row(first + t);
        for (y, parts) in y.iter_mut().zip(sums) {
            let mut total = parts[0];
            for part in &parts[1..] {
                total = _mm512_add_ps(total, *part);
            }
            let total = sum(total);
            *y = if accumulate { *y + total } else { total };
        }
    }
}
