//! AdamW (Loshchilov and Hutter 2019, algorithm 2), in the order of torch.optim.AdamW, and clipping.
//!
//! ```text
//! p *= 1 - lr decay        m += (1 - b1) (g - m)        v = b2 v + (1 - b2) g^2
//! p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//! ```

use core::iter;
use core::ops::Range;

/// The constants of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the denominator.
    pub eps: f32,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f32,
}

impl Default for AdamW {
    /// torch's betas and eps; no weight decay.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// The moments of the gradients so far, zero at first, and the number of steps taken.
#[derive(Debug)]
pub struct Moments<'a> {
    /// m, one for each gradient.
    pub first: &'a mut [f32],
    /// v, one for each gradient.
    pub second: &'a mut [f32],
    /// Steps taken.
    pub steps: &'a mut u64,
}

impl AdamW {
    /// One step with learning rate `lr` along `gradients`, one for each parameter.
    ///
    /// # Panics
    /// If the four slices differ in length.
    pub fn step(&self, lr: f64, gradients: &[f32], moments: &mut Moments, parameters: &mut [f32]) {
        let all = iter::once(0..parameters.len());
        self.step_parts(lr, gradients, moments, parameters, all);
    }

    /// One step of the `trained` ranges of `parameters`, whose gradients lie one after the other. What
    /// is not trained neither moves nor decays.
    ///
    /// # Panics
    /// If the gradients and the moments are not as many as the parameters in the ranges, or a range is
    /// not in the parameters.
    pub fn step_parts(
        &self,
        lr: f64,
        gradients: &[f32],
        moments: &mut Moments,
        parameters: &mut [f32],
        trained: impl Iterator<Item = Range<usize>>,
    ) {
        let n = gradients.len();
        assert!(moments.first.len() == n && moments.second.len() == n, "gradients and moments");
        *moments.steps += 1;
        let t = *moments.steps as f64;
        let (beta1, beta2) = (widened(self.beta1), widened(self.beta2));
        let step = (lr / (1.0 - libm::pow(beta1, t))) as f32;
        let correction = libm::sqrt(1.0 - libm::pow(beta2, t)) as f32;
        let shrink = (1.0 - lr * widened(self.weight_decay)) as f32;
        let (mix1, keep2, mix2) = ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
        let mut at = 0;
        for range in trained {
            let parameters = &mut parameters[range];
            let here = at..at + parameters.len();
            at = here.end;
            let moments =
                moments.first[here.clone()].iter_mut().zip(&mut moments.second[here.clone()]);
            for ((p, g), (m, v)) in parameters.iter_mut().zip(&gradients[here]).zip(moments) {
                *p *= shrink;
                *m += mix1 * (g - *m);
                *v = keep2 * *v + mix2 * g * g;
                *p -= step * *m / (libm::sqrtf(*v) / correction + self.eps);
            }
        }
        assert_eq!(at, n, "gradients and trained parameters");
    }
}

/// The f64 whose shortest decimal is that of `x`: 0.9 for 0.9f32, so that constants are those of a
/// program that had f64 ones. Exact to nine decimals.
fn widened(x: f32) -> f64 {
    libm::round(f64::from(x) * 1e9) / 1e9
}

/// The Euclidean norm, summed in f64.
pub fn norm(gradients: &[f32]) -> f64 {
    libm::sqrt(gradients.iter().map(|&g| f64::from(g) * f64::from(g)).sum())
}

/// Scales `gradients` so that their norm is at most `max_norm`, as torch's `clip_grad_norm_` does, and
/// returns the norm before. A norm that is not finite leaves them as they are: the caller must not
/// take that step.
pub fn clip(gradients: &mut [f32], max_norm: f64) -> f64 {
    let norm = norm(gradients);
    let factor = max_norm / (norm + 1e-6);
    if norm.is_finite() && factor < 1.0 {
        gradients.iter_mut().for_each(|g| *g *= factor as f32);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch 2.15: `AdamW([1, -2, 0.5], lr=0.1, weight_decay=0.01)`, step `t` with the gradients
    /// `[0.3 t, -0.01, (-1)^t]`.
    const TORCH: [[f32; 3]; 4] = [
        [0.89900005, -1.8980001, 0.5995],
        [0.801_582_8, -1.7961023, 0.59363735],
        [0.70498115, -1.6943063, 0.626_623_1],
        [0.608_235_2, -1.592612, 0.620_733_3],
    ];

    fn run(optimiser: AdamW) -> Vec<[f32; 3]> {
        let mut parameters = [1.0, -2.0, 0.5];
        let (mut first, mut second, mut steps) = ([0.0; 3], [0.0; 3], 0);
        (1..=4)
            .map(|t| {
                let gradients = [0.3 * t as f32, -0.01, if t % 2 == 0 { 1.0 } else { -1.0 }];
                let mut moments =
                    Moments { first: &mut first, second: &mut second, steps: &mut steps };
                optimiser.step(0.1, &gradients, &mut moments, &mut parameters);
                parameters
            })
            .collect()
    }

    fn deviation(found: &[[f32; 3]]) -> f32 {
        let pairs = found.iter().flatten().zip(TORCH.iter().flatten());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn four_steps_are_those_of_torch() {
        let right = AdamW { weight_decay: 0.01, ..AdamW::default() };
        assert!(deviation(&run(right)) < 3e-7, "{:?}", run(right));
        // Planted bugs: no decay, another beta.
        assert!(deviation(&run(AdamW::default())) > 1e-4);
        assert!(deviation(&run(AdamW { beta2: 0.99, ..right })) > 1e-4);
    }

    #[test]
    fn only_the_trained_ranges_move_and_as_if_they_were_alone() {
        let optimiser = AdamW { weight_decay: 0.1, ..AdamW::default() };
        let gradients = [0.5, -0.25, 2.0];
        let run = |mut parameters: Vec<f32>, trained: &[Range<usize>]| {
            let (mut first, mut second, mut steps) = ([0.0; 3], [0.0; 3], 0);
            for _ in 0..3 {
                let mut moments =
                    Moments { first: &mut first, second: &mut second, steps: &mut steps };
                let trained = trained.iter().cloned();
                optimiser.step_parts(0.1, &gradients, &mut moments, &mut parameters, trained);
            }
            (parameters, first, second, steps)
        };
        let (alone, first, second, steps) =
            run(vec![1.0, 2.0, 3.0], core::slice::from_ref(&(0..3)));
        let spread = run(vec![7.0, 1.0, 2.0, 8.0, 9.0, 3.0], &[1..3, 5..6]);
        let moved = vec![7.0, alone[0], alone[1], 8.0, 9.0, alone[2]];
        assert_eq!(spread, (moved, first, second, steps));
    }

    #[test]
    fn clipping_scales_only_what_is_too_long() {
        let mut gradients = [3.0, 4.0];
        assert_eq!(clip(&mut gradients, 10.0), 5.0);
        assert_eq!(gradients, [3.0, 4.0]);
        assert_eq!(clip(&mut gradients, 1.0), 5.0);
        assert!((norm(&gradients) - 1.0).abs() < 1e-6);
        let mut bad = [1.0, f32::NAN];
        assert!(clip(&mut bad, 1.0).is_nan());
        assert_eq!(bad[0], 1.0);
    }
}
