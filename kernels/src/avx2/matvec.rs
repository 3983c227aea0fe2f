//! `y = x wᵀ` by dots: weights stream once, in groups of rows, and are widened in registers.
//!
//! ```text
//!          w rows n .. n+4, eight weights at a time
//! x rows   [sum][sum][sum][sum]      up to 3 tokens x 4 rows = 12 sums of eight lanes
//! t..t+3   [sum][sum][sum][sum]
//! ```
//! One token alone takes two sums a row instead, so that additions do not wait for each other.

use core::arch::x86_64::*;

use super::convert::Load;
use super::vector::sum;
use crate::matrix::Data;
use crate::tile::Tile;

/// Bytes between the weights that are asked for and those in use, when they stream from memory.
const AHEAD: usize = 4096;

#[target_feature(enable = "avx2,fma,f16c")]
pub fn forward(x: &[f32], w: Data, k: usize, accumulate: bool, y: &mut Tile) {
    match w {
        Data::F32(data) => forward_stored(x, data, k, accumulate, y),
        Data::Bf16(data) => forward_stored(x, data, k, accumulate, y),
        Data::F16(data) => forward_stored(x, data, k, accumulate, y),
        Data::I8(data) => forward_stored(x, data, k, accumulate, y),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn forward_stored<W: Load>(x: &[f32], w: &[W], k: usize, accumulate: bool, y: &mut Tile) {
    let (tokens, outputs) = (y.rows(), y.cols());
    for n in outputs.clone().step_by(4) {
        let cols = n..(n + 4).min(outputs.end);
        let w = &w[n * k..cols.end * k];
        for t in tokens.clone().step_by(3) {
            let rows = t..(t + 3).min(tokens.end);
            let x = &x[t * k..rows.end * k];
            let mut y = y.part(rows.clone(), cols.clone());
            match (rows.len(), cols.len()) {
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
#[target_feature(enable = "avx2,fma,f16c")]
fn dots<W: Load, const T: usize, const R: usize, const U: usize>(
    x: &[f32],
    w: &[W],
    k: usize,
    accumulate: bool,
    y: &mut Tile,
) {
    assert!(x.len() == T * k && w.len() == R * k);
    let (x_start, w_start) = (x.as_ptr(), w.as_ptr());
    let mut sums = [[[_mm256_setzero_ps(); U]; R]; T];
    let whole = k / (8 * U) * (8 * U);
    for i in (0..whole).step_by(8 * U) {
        if T == 1 {
            for r in 0..R {
                let ahead = w_start.wrapping_add(r * k + i).wrapping_byte_add(AHEAD);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
        }
        for u in 0..U {
            let mut eights = [_mm256_setzero_ps(); T];
            for (t, eight) in eights.iter_mut().enumerate() {
                // SAFETY: `i + 8 u + 8 <= k`, so these eight are inside row `t` of `x`.
                *eight = unsafe { _mm256_loadu_ps(x_start.add(t * k + i + 8 * u)) };
            }
            for r in 0..R {
                // SAFETY: as above, inside row `r` of `w`.
                let weight = unsafe { W::load(&*w_start.add(r * k + i + 8 * u).cast()) };
                for (sums, eight) in sums.iter_mut().zip(eights) {
                    sums[r][u] = _mm256_fmadd_ps(eight, weight, sums[r][u]);
                }
            }
        }
    }
    let first = y.rows().start;
    for (t, sums) in sums.into_iter().enumerate() {
        let x = &x[t * k + whole..(t + 1) * k];
        for (r, sums) in sums.into_iter().enumerate() {
            let mut total = sums[0];
            for part in &sums[1..] {
                total = _mm256_add_ps(total, *part);
            }
            let total = sum(total) + tail(x, &w[r * k + whole..(r + 1) * k]);
            let y = &mut y.row(first + t)[r];
            *y = if accumulate { *y + total } else { total };
        }
    }
}

/// The dot of fewer than 16 elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tail<W: Load>(x: &[f32], w: &[W]) -> f32 {
    let mut total = 0.0;
    for (x, w) in x.iter().zip(w) {
        total += x * w.to_f32();
    }
    total
}
