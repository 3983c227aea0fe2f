//! RMSNorm (Zhang and Sennrich 2019, equation 4) over rows: of a token, or of a head of q and k.
//!
//! ```text
//! s = 1 / sqrt(mean(x^2) + eps)          y_i = x_i s w_i
//! d_x_i = s w_i d_y_i - x_i s^3 / D * sum_j d_y_j w_j x_j
//! ```
//! The weight is frozen: it gets no gradient.

use homespun_kernels::Data;

use crate::compute::{Compute, row};

/// Weights widened at a time.
const TILE: usize = 64;

/// `y = rmsnorm(x)`, both `(rows, D)` with `weight (D)`.
pub(crate) fn forward(compute: Compute, x: &[f32], weight: Data, eps: f32, y: &mut [f32]) {
    let width = weight.len();
    compute.rows(y, width, &|t, y| {
        compute.kernels.rmsnorm(row(x, t, width), weight, eps, y);
    });
}

/// `d_x += ` the gradient of [`forward`] at `x`, all `(rows, D)`.
pub(crate) fn backward(
    compute: Compute,
    x: &[f32],
    weight: Data,
    eps: f32,
    d_y: &[f32],
    d_x: &mut [f32],
) {
    let width = weight.len();
    compute.rows(d_x, width, &|t, d_x| {
        let (x, d_y) = (row(x, t, width), row(d_y, t, width));
        let (scale, pull) = terms(compute, x, weight, eps, d_y);
        each_weight(compute, weight, |i, w| d_x[i] += scale * w * d_y[i] - pull * x[i]);
    });
}

/// `d` holds `d_y` and becomes `d_x`, `(rows, D)`.
pub(crate) fn backward_in_place(
    compute: Compute,
    x: &[f32],
    weight: Data,
    eps: f32,
    d: &mut [f32],
) {
    let width = weight.len();
    compute.rows(d, width, &|t, d| {
        let x = row(x, t, width);
        let (scale, pull) = terms(compute, x, weight, eps, d);
        each_weight(compute, weight, |i, w| d[i] = scale * w * d[i] - pull * x[i]);
    });
}

/// `s` and `s^3 / D * sum_j d_y_j w_j x_j`.
fn terms(compute: Compute, x: &[f32], weight: Data, eps: f32, d_y: &[f32]) -> (f32, f32) {
    let mean = compute.kernels.dot(x, x) / x.len() as f32;
    let scale = 1.0 / libm::sqrtf(mean + eps);
    let mut sum = 0.0;
    each_weight(compute, weight, |i, w| sum += d_y[i] * w * x[i]);
    (scale, scale * scale * scale / x.len() as f32 * sum)
}

fn each_weight(compute: Compute, weight: Data, mut job: impl FnMut(usize, f32)) {
    let mut tile = [0.0; TILE];
    for from in (0..weight.len()).step_by(TILE) {
        let to = (from + TILE).min(weight.len());
        compute.kernels.widen(weight.slice(from, to), &mut tile[..to - from]);
        for (i, &w) in tile[..to - from].iter().enumerate() {
            job(from + i, w);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradient, compute, gradient_fails, random, weighted};

    #[test]
    fn the_gradient_is_the_central_difference() {
        let (width, rows) = (100, 3);
        let (x, w, d_y) = (random(1, rows * width), random(2, width), random(3, rows * width));
        let loss = |x: &[f32]| {
            let mut y = vec![0.0; x.len()];
            forward(compute(), x, Data::F32(&w), 1e-5, &mut y);
            weighted(&y, &d_y)
        };
        let mut d_x = vec![0.0; x.len()];
        backward(compute(), &x, Data::F32(&w), 1e-5, &d_y, &mut d_x);
        check_gradient(&x, &d_x, loss);
        let mut in_place = d_y.clone();
        backward_in_place(compute(), &x, Data::F32(&w), 1e-5, &mut in_place);
        assert_eq!(in_place, d_x);
        // Planted bug: without the pull of the mean the check must fail.
        let bug: Vec<f32> = (0..x.len()).map(|i| d_y[i] * w[i % width]).collect();
        assert!(gradient_fails(&x, &bug, loss));
    }
}
