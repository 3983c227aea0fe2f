//! Rotary position embedding (Su et al. 2021), halves rotated as transformers does.
//!
//! ```text
//! head   | x1 (half) | x2 (half) |      angle = position * frequency (half)
//! y1 = x1 cos - x2 sin                  d_x: the same rotation by -angle
//! y2 = x2 cos + x1 sin
//! ```
//! Frequencies `theta^(-2i / head_dim)` and angles are f32, as there, so that far positions agree.

use core::f32::consts::PI;

use crate::compute::{Compute, row};
use crate::config::{Config, RopeScaling};

/// Writes the frequencies `(head_dim / 2)`.
pub(crate) fn frequencies(config: &Config, out: &mut [f32]) {
    for (i, frequency) in out.iter_mut().enumerate() {
        let exponent = (2 * i) as f32 / config.head_dim as f32;
        let base = libm::pow(f64::from(config.rope_theta), f64::from(exponent)) as f32;
        *frequency = scaled(1.0 / base, config.rope_scaling);
    }
}

/// A frequency under `rope_scaling`: "llama3" leaves short waves, divides long ones by `factor`, and
/// blends between.
fn scaled(frequency: f32, scaling: RopeScaling) -> f32 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let context = original_max_position_embeddings as f32;
            let wave = 2.0 * PI / frequency;
            if wave > context / low_freq_factor {
                frequency / factor
            } else if wave < context / high_freq_factor {
                frequency
            } else {
                let blend =
                    (context / wave - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - blend) * frequency / factor + blend * frequency
            }
        }
    }
}

/// Writes `cos` and `sin (T, head_dim / 2)`; row `t` is at `position(t)`.
pub(crate) fn table(
    frequencies: &[f32],
    position: impl Fn(usize) -> usize,
    cos: &mut [f32],
    sin: &mut [f32],
) {
    let half = frequencies.len();
    for (t, (cos, sin)) in cos.chunks_exact_mut(half).zip(sin.chunks_exact_mut(half)).enumerate() {
        let position = position(t) as f32;
        for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(frequencies) {
            (*sin, *cos) = libm::sincosf(position * frequency);
        }
    }
}

/// Rotates every head of `x (T, heads * head_dim)` in place.
pub(crate) fn forward(compute: Compute, cos: &[f32], sin: &[f32], head_dim: usize, x: &mut [f32]) {
    rotate(compute, cos, sin, 1.0, head_dim, x);
}

/// Turns `d_y` into `d_x` in place: the rotation back.
pub(crate) fn backward(compute: Compute, cos: &[f32], sin: &[f32], head_dim: usize, d: &mut [f32]) {
    rotate(compute, cos, sin, -1.0, head_dim, d);
}

fn rotate(compute: Compute, cos: &[f32], sin: &[f32], sign: f32, head_dim: usize, x: &mut [f32]) {
    let half = head_dim / 2;
    let width = x.len() / (cos.len() / half);
    compute.rows(x, width, &|t, x| {
        let (cos, sin) = (row(cos, t, half), row(sin, t, half));
        for head in x.chunks_exact_mut(head_dim) {
            let (x1, x2) = head.split_at_mut(half);
            for (((x1, x2), cos), sin) in x1.iter_mut().zip(x2).zip(cos).zip(sin) {
                let (a, b, s) = (*x1, *x2, sign * sin);
                *x1 = a * cos - b * s;
                *x2 = b * cos + a * s;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradient, compute, gradient_fails, random, tiny, weighted};

    #[test]
    fn the_gradient_is_the_central_difference() {
        let (head_dim, heads, tokens) = (10, 2, 3);
        let x = random(1, tokens * heads * head_dim);
        let d_y = random(2, x.len());
        let mut frequency = [0.0; 5];
        frequencies(&crate::config::Config { head_dim, ..tiny() }, &mut frequency);
        let (mut cos, mut sin) = (vec![0.0; tokens * 5], vec![0.0; tokens * 5]);
        table(&frequency, |t| 7 * t + 1, &mut cos, &mut sin);
        let loss = |x: &[f32]| {
            let mut y = x.to_vec();
            forward(compute(), &cos, &sin, head_dim, &mut y);
            weighted(&y, &d_y)
        };
        let mut d_x = d_y.clone();
        backward(compute(), &cos, &sin, head_dim, &mut d_x);
        check_gradient(&x, &d_x, loss);
        // Planted bug: rotated on instead of back.
        let mut bug = d_y.clone();
        forward(compute(), &cos, &sin, head_dim, &mut bug);
        assert!(gradient_fails(&x, &bug, loss));
    }

    #[test]
    fn llama3_scaling_gives_the_frequencies_of_transformers() {
        // transformers 5, `_compute_llama3_parameters`: theta 500000, head_dim 128, factor 8.
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let config = crate::config::Config {
            head_dim: 128,
            rope_theta: 500_000.0,
            rope_scaling: scaling,
            ..tiny()
        };
        let mut frequency = [0.0; 64];
        frequencies(&config, &mut frequency);
        for (i, expected) in LLAMA3 {
            let off = (frequency[i] - expected).abs() / expected;
            assert!(off < 2e-7, "{i}: {} instead of {expected}", frequency[i]);
        }
    }

    const LLAMA3: [(usize, f32); 8] = [
        (0, 1.0),
        (1, 0.814_617_2),
        (20, 0.016_560_44),
        (28, 0.003_211_446),
        (30, 0.001_371_893_7),
        (34, 0.000_178_507_79),
        (36, 7.784_655_5e-5),
        (63, 3.068_926e-7),
    ];
}
