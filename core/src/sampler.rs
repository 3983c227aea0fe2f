//! The next token from logits: greedy, or drawn, with the warpers of transformers in their order.
//!
//! ```text
//! repetition penalty   l > 0: l / penalty, else l * penalty, once for each token of the history
//! temperature          l / temperature; 0 = the largest logit, the first of equals
//! top-k                those below the k-th largest are out (its equals stay)
//! top-p                the fewest most likely that together reach p stay
//! draw                 from the softmax of what stayed
//! ```

use core::cmp::Ordering;

use crate::rng::Rng;

/// Tokens that top-p sorts first; most often the rest is never needed.
const FIRST: usize = 128;

/// How to choose a token; the default is greedy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: usize,
    /// 1 keeps all (Holtzman et al. 2020).
    pub top_p: f32,
    /// 1 changes nothing (Keskar et al. 2019, equation 3).
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 }
    }
}

/// Which setting is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It must be at least 0 and finite.
    Temperature,
    /// It must be above 0 and at most 1.
    TopP,
    /// It must be above 0 and finite.
    RepetitionPenalty,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.write_str(match self {
            Error::Temperature => "the temperature must be finite and not below 0",
            Error::TopP => "top-p must be above 0 and at most 1",
            Error::RepetitionPenalty => "the repetition penalty must be finite and above 0",
        })
    }
}

impl core::error::Error for Error {}

/// Chooses tokens; the same settings, seed and logits give the same tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: Rng,
}

impl Sampler {
    /// A sampler whose draws come from `seed`.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn try_new(sampling: Sampling, seed: u64) -> Result<Self, Error> {
        let Sampling { temperature, top_p, repetition_penalty, .. } = sampling;
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(Error::Temperature);
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::TopP);
        }
        if !(repetition_penalty.is_finite() && repetition_penalty > 0.0) {
            return Err(Error::RepetitionPenalty);
        }
        Ok(Self { sampling, rng: Rng::new(seed) })
    }

    /// The next token after `history`, given its `logits (V)`, finite, which are used up; `order (V)` is
    /// scratch.
    ///
    /// # Panics
    /// If `logits` is empty or `order` is not as long.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32], order: &mut [u32]) -> u32 {
        assert!(!logits.is_empty() && logits.len() == order.len(), "logits and order are (V)");
        let Sampling { temperature, top_k, top_p, repetition_penalty } = self.sampling;
        if repetition_penalty != 1.0 {
            penalise(logits, history, repetition_penalty, order);
        }
        if temperature == 0.0 {
            return largest(logits);
        }
        let max = logits[largest(logits) as usize];
        logits.iter_mut().for_each(|l| *l = libm::expf((*l - max) / temperature));
        let mut kept = logits.len();
        for (i, order) in order.iter_mut().enumerate() {
            *order = i as u32;
        }
        let down =
            |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if (1..kept).contains(&top_k) {
            let (above, kth, _) = order.select_nth_unstable_by(top_k - 1, down);
            let (least, above) = (logits[*kth as usize], above.len());
            kept = above + 1;
            let mut rest = kept..order.len();
            while let Some(i) = rest.find(|&i| logits[order[i] as usize] == least) {
                order.swap(i, kept);
                kept += 1;
            }
        }
        let order = &mut order[..kept];
        let mut total: f64 = order.iter().map(|&i| f64::from(logits[i as usize])).sum();
        if top_p < 1.0 {
            (kept, total) = nucleus(order, f64::from(top_p) * total, logits, down);
        }
        let mut left = f64::from(self.rng.next_f32()) * total;
        let mut last = order[0];
        for &i in order[..kept].iter().filter(|&&i| logits[i as usize] > 0.0) {
            last = i;
            left -= f64::from(logits[i as usize]);
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

/// Brings the fewest largest that together reach `goal` to the front of `order`, falling; returns their
/// number and sum. A large vocabulary is sorted only as far as needed.
fn nucleus(
    order: &mut [u32],
    goal: f64,
    weights: &[f32],
    down: impl Fn(&u32, &u32) -> Ordering,
) -> (usize, f64) {
    let mut sorted = order.len().min(FIRST);
    loop {
        if sorted < order.len() {
            order.select_nth_unstable_by(sorted - 1, &down);
        }
        order[..sorted].sort_unstable_by(&down);
        let (mut sum, mut few) = (0.0, 0);
        while few < sorted && (few == 0 || sum < goal) {
            sum += f64::from(weights[order[few] as usize]);
            few += 1;
        }
        if sum >= goal || sorted == order.len() {
            return (few, sum);
        }
        sorted = order.len().min(8 * sorted);
    }
}

fn penalise(logits: &mut [f32], history: &[u32], penalty: f32, seen: &mut [u32]) {
    seen.fill(0);
    for &token in history {
        let Some(seen) = seen.get_mut(token as usize).filter(|seen| **seen == 0) else { continue };
        *seen = 1;
        let logit = &mut logits[token as usize];
        *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
    }
}

/// The place of the largest, the first of equals.
fn largest(logits: &[f32]) -> u32 {
    let best = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (i, &l)| if l > best.1 { (i, l) } else { best });
    best.0 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 6] = [1.0, 3.0, -1.0, 3.0, 2.0, 0.0];

    /// How often each token comes in 6,000 draws.
    fn counts(sampling: Sampling, history: &[u32]) -> [usize; 6] {
        let mut sampler = Sampler::try_new(sampling, 7).unwrap();
        let mut counts = [0; 6];
        for _ in 0..6000 {
            let token = sampler.sample(&mut LOGITS.clone(), history, &mut [0; 6]);
            counts[token as usize] += 1;
        }
        counts
    }

    fn sampled() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::default() }
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(counts(Sampling::default(), &[])[1], 6000);
    }

    #[test]
    fn draws_follow_the_softmax_at_the_temperature() {
        for temperature in [0.5, 1.0, 2.0] {
            let found = counts(Sampling { temperature, ..sampled() }, &[]);
            let weight = |l: f32| f64::from(l / temperature).exp();
            let sum: f64 = LOGITS.iter().map(|&l| weight(l)).sum();
            for (count, &logit) in found.iter().zip(&LOGITS) {
                let expected = 6000.0 * weight(logit) / sum;
                assert!((*count as f64 - expected).abs() < 5.0 * expected.sqrt() + 5.0);
            }
        }
    }

    #[test]
    fn the_least_temperature_draws_the_largest() {
        for temperature in [1e-40, f32::MIN_POSITIVE, 1e-6] {
            let found = counts(Sampling { temperature, ..sampled() }, &[]);
            assert_eq!(found[1] + found[3], 6000, "{temperature}");
            assert!(found[1] > 2500 && found[3] > 2500, "{temperature}: {found:?}");
        }
    }

    #[test]
    fn top_k_keeps_k_and_the_equals_of_the_last() {
        let kept = |top_k| counts(Sampling { top_k, ..sampled() }, &[]).map(|c| c > 0);
        assert_eq!(kept(1), [false, true, false, true, false, false]);
        assert_eq!(kept(3), [false, true, false, true, true, false]);
        assert_eq!(kept(100), [true; 6]);
    }

    #[test]
    fn top_p_keeps_the_fewest_that_reach_it() {
        // Probabilities: 0.373, 0.373, 0.137, 0.051, 0.019, 0.007 (of 20.09, 20.09, 7.39, ...).
        let kept = |top_p| counts(Sampling { top_p, ..sampled() }, &[]).map(|c| c > 0);
        assert_eq!(kept(0.01), [false, true, false, false, false, false]);
        assert_eq!(kept(0.6), [false, true, false, true, false, false]);
        assert_eq!(kept(0.85), [false, true, false, true, true, false]);
        assert_eq!(kept(1.0), [true; 6]);
    }

    #[test]
    fn top_p_of_a_large_vocabulary_is_that_of_a_full_sort() {
        let weights: Vec<f32> = (0..5000).map(|i| ((i * 7919 % 5000) as f32).powi(2)).collect();
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let mut sorted: Vec<u32> = (0..5000).collect();
        let down = |a: &u32, b: &u32| weights[*b as usize].total_cmp(&weights[*a as usize]);
        sorted.sort_unstable_by(down);
        for top_p in [0.01, 0.3, 0.9, 0.999_999] {
            let mut order: Vec<u32> = (0..5000).collect();
            let (few, sum) = nucleus(&mut order, top_p * total, &weights, down);
            let (mut expected, mut reached) = (0, 0.0);
            while expected < 5000 && reached < top_p * total {
                reached += f64::from(weights[sorted[expected] as usize]);
                expected += 1;
            }
            assert_eq!((few, sum), (expected, reached));
            assert_eq!(order[..few], sorted[..few]);
        }
    }

    #[test]
    fn the_repetition_penalty_counts_a_token_once_and_moves_both_signs_down() {
        let mut logits = LOGITS;
        penalise(&mut logits, &[1, 1, 2, 99], 2.0, &mut [7; 6]);
        assert_eq!(logits, [1.0, 1.5, -2.0, 3.0, 2.0, 0.0]);
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        assert_eq!(counts(sampling, &[1, 3])[4], 6000);
    }

    #[test]
    fn a_seed_gives_the_same_tokens_again() {
        let draw = |seed| -> Vec<u32> {
            let mut sampler = Sampler::try_new(sampled(), seed).unwrap();
            (0..20).map(|_| sampler.sample(&mut LOGITS.clone(), &[], &mut [0; 6])).collect()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let error = |sampling| Sampler::try_new(sampling, 0).err();
        let default = Sampling::default();
        for temperature in [-1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(error(Sampling { temperature, ..default }), Some(Error::Temperature));
        }
        for top_p in [0.0, 1.1, f32::NAN] {
            assert_eq!(error(Sampling { top_p, ..default }), Some(Error::TopP));
        }
        for repetition_penalty in [0.0, -1.0, f32::NAN] {
            let found = error(Sampling { repetition_penalty, ..default });
            assert_eq!(found, Some(Error::RepetitionPenalty));
        }
    }
}
