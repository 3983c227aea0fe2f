//! `y = x wᵀ` by dots: weights stream once, in groups of rows, and are widened in registers.
//!
//! ```text
//!          w rows n, n+1, eight weights at a time
//! x rows   [sum][sum]
//! t..t+4   [sum][sum]      4 tokens x 2 rows = 8 sums of eight lanes, 16 registers
//!          [sum][sum]
//!          [sum][sum]
//! ```
//! One token takes four rows and two sums a row, so that additions do not wait for each other.

use super::convert::Load;
use super::eight::{add, fma, load, splat, sum};
use crate::matrix::Data;
use crate::tile::Tile;

#[target_feature(enable = "neon")]
pub fn forward(x: &[f32], w: Data, k: usize, accumulate: bool, y: &mut Tile) {
    match w {
        Data::F32(data) => forward_stored(x, data, k, accumulate, y),
        Data::Bf16(data) => forward_stored(x, data, k, accumulate, y),
        Data::F16(data) => forward_stored(x, data, k, accumulate, y),
        Data::I8(data) => forward_stored(x, data, k, accumulate, y),
    }
}

#[target_feature(enable = "neon")]
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
                (4, 4) => {
                    let (w, w_next) = w.split_at(2 * k);
                    let (next, end) = (n + 2, cols.end);
                    dots::<W, 4, 2, 1>(x, w, k, accumulate, &mut y.part(rows.clone(), n..next));
                    dots::<W, 4, 2, 1>(x, w_next, k, accumulate, &mut y.part(rows, next..end));
                }
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
#[target_feature(enable = "neon")]
fn dots<W: Load, const T: usize, const R: usize, const U: usize>(
    x: &[f32],
    w: &[W],
    k: usize,
    accumulate: bool,
    y: &mut Tile,
) {
    assert!(x.len() == T * k && w.len() == R * k);
    let (x_start, w_start) = (x.as_ptr(), w.as_ptr());
    let mut sums = [[[splat(0.0); U]; R]; T];
    let whole = k / (8 * U) * (8 * U);
    for i in (0..whole).step_by(8 * U) {
        for u in 0..U {
            let mut eights = [splat(0.0); T];
            for (t, eight) in eights.iter_mut().enumerate() {
                // SAFETY: `i + 8 u + 8 <= k`, so these eight are inside row `t` of `x`.
                *eight = load(unsafe { &*x_start.add(t * k + i + 8 * u).cast() });
            }
            for r in 0..R {
                // SAFETY: as above, inside row `r` of `w`.
                let weight = unsafe { W::load(&*w_start.add(r * k + i + 8 * u).cast()) };
                for (sums, eight) in sums.iter_mut().zip(eights) {
                    sums[r][u] = fma(eight, weight, sums[r][u]);
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
                total = add(total, *part);
            }
            let total = sum(total) + tail(x, &w[r * k + whole..(r + 1) * k]);
            let y = &mut y.row(first + t)[r];
            *y = if accumulate { *y + total } else { total };
        }
    }
}

/// The dot of fewer than 16 elements.
#[inline]
#[target_feature(enable = "neon")]
fn tail<W: Load>(x: &[f32], w: &[W]) -> f32 {
    let mut total = 0.0;
    for (x, w) in x.iter().zip(w) {
        total += x * w.to_f32();
    }
    total
}
