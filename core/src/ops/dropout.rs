//! Dropout (Srivastava et al. 2014) of an adapter's input, without a stored mask.
//!
//! ```text
//! row key    = hash(seed, step, dialogue, position)
//! bits(i)    = 16 bits number i of the stream mix(hash(row key, layer, target) + GOLDEN * word)
//! keep(i)    = bits(i) >= threshold           y_i = keep(i) * x_i / (1 - threshold / 2^16)
//! ```
//! A component's fate depends on what it is, not on the batch's packing or on threads, so backward
//! computes the same mask again. The rate is rounded to a multiple of 2^-16.

use crate::compute::{Compute, row};
use crate::lora::Target;
use crate::rng::{hash, mix, next};

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The part of a mask's counter that changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    /// The run's seed.
    pub seed: u64,
    /// The optimiser step.
    pub step: u64,
}

impl Dropout {
    /// The key of one token's row.
    pub(crate) fn row_key(self, dialogue: u64, position: usize) -> u64 {
        hash(&[self.seed, self.step, dialogue, position as u64])
    }
}

/// The masks of one adapter's input `(T, K)`.
#[derive(Clone, Copy)]
pub(crate) struct Mask<'a> {
    rows: &'a [u64],
    module: u64,
    threshold: u16,
    gain: f32,
}

impl<'a> Mask<'a> {
    /// The masks of `target` in `layer` for rows with the keys `rows (T)`; `rate` in `0..1`.
    pub(crate) fn new(rows: &'a [u64], layer: usize, target: Target, rate: f32) -> Self {
        let threshold = (rate * 65536.0 + 0.5) as u16;
        let gain = 1.0 / (1.0 - f32::from(threshold) / 65536.0);
        Self { rows, module: (layer * Target::ALL.len() + target as usize) as u64, threshold, gain }
    }

    /// `y = dropout(x)`, both `(T, K)`.
    pub(crate) fn forward(&self, compute: Compute, x: &[f32], width: usize, y: &mut [f32]) {
        compute.rows(y, width, &|t, y| {
            self.each(t, row(x, t, width), y, |x, _| x);
        });
    }

    /// `d_x += ` the gradient: `d_y` under the same mask, both `(T, K)`.
    pub(crate) fn backward(&self, compute: Compute, d_y: &[f32], width: usize, d_x: &mut [f32]) {
        compute.rows(d_x, width, &|t, d_x| {
            self.each(t, row(d_y, t, width), d_x, |d_y, d_x| d_x + d_y);
        });
    }

    /// `y_i = job(dropout(x_i), y_i)` in row `t`, four components a hash.
    fn each(&self, t: usize, x: &[f32], y: &mut [f32], job: impl Fn(f32, f32) -> f32) {
        let key = next(self.rows[t], self.module);
        let part = |word: usize, x: &[f32], y: &mut [f32]| {
            let bits = mix(key.wrapping_add(GOLDEN.wrapping_mul(word as u64 + 1)));
            for (i, (x, y)) in x.iter().zip(y).enumerate() {
                let kept = (bits >> (16 * i)) as u16 >= self.threshold;
                *y = job(x * if kept { self.gain } else { 0.0 }, *y);
            }
        };
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<4>(), y.as_chunks_mut::<4>());
        for (word, (x, y)) in x.iter().zip(y.iter_mut()).enumerate() {
            part(word, x, y);
        }
        part(x.len(), x_rest, y_rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradient, compute, gradient_fails, random, weighted};

    fn keys(step: u64) -> Vec<u64> {
        (0..50).map(|p| Dropout { seed: 1, step }.row_key(9, p)).collect()
    }

    fn mask(step: u64, layer: usize, target: Target) -> Vec<f32> {
        let keys = keys(step);
        let mut y = vec![0.0; 50 * 99];
        Mask::new(&keys, layer, target, 0.25).forward(compute(), &[1.0; 50 * 99], 99, &mut y);
        y
    }

    #[test]
    fn the_rate_and_the_gain_are_those_asked_for() {
        let y = mask(0, 0, Target::Q);
        let kept = y.iter().filter(|&&y| y != 0.0).count() as f32 / y.len() as f32;
        assert!((kept - 0.75).abs() < 0.02, "{kept}");
        assert!(y.iter().all(|&y| y == 0.0 || (y - 4.0 / 3.0).abs() < 1e-6));
    }

    #[test]
    fn step_layer_and_target_each_change_about_three_eighths_of_the_mask() {
        let base = mask(0, 0, Target::Q);
        for other in [mask(1, 0, Target::Q), mask(0, 1, Target::Q), mask(0, 0, Target::K)] {
            let differ = base.iter().zip(&other).filter(|(a, b)| a != b).count() as f32;
            assert!((differ / base.len() as f32 - 0.375).abs() < 0.03);
        }
    }

    #[test]
    fn a_rate_of_zero_keeps_all() {
        let keys = keys(0);
        let x = random(1, 50 * 3);
        let mut y = vec![0.0; x.len()];
        Mask::new(&keys, 0, Target::Q, 0.0).forward(compute(), &x, 3, &mut y);
        assert_eq!(x, y);
    }

    #[test]
    fn the_gradient_is_the_central_difference() {
        let keys = keys(0);
        let (x, d_y) = (random(1, 3 * 9), random(2, 3 * 9));
        let mask = Mask::new(&keys[..3], 2, Target::Down, 0.3);
        let loss = |x: &[f32]| {
            let mut y = vec![0.0; x.len()];
            mask.forward(compute(), x, 9, &mut y);
            weighted(&y, &d_y)
        };
        let mut d_x = vec![0.0; x.len()];
        mask.backward(compute(), &d_y, 9, &mut d_x);
        check_gradient(&x, &d_x, loss);
        // Planted bug: another layer's mask.
        let mut bug = vec![0.0; x.len()];
        Mask::new(&keys[..3], 3, Target::Down, 0.3).backward(compute(), &d_y, 9, &mut bug);
        assert!(gradient_fails(&x, &bug, loss));
    }
}
