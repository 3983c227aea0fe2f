//! EOE, the entropy of the embedding, in two readings of
//! `EOE(E) = - sum_i p(e_i) log p(e_i) / log n` (arXiv 2311.12275).
//!
//! ```text
//! histogram   p = 100 equal bins, minimum to maximum, of the last token's state after the final
//!             norm; Shannon entropy in bits / log2(tokens + 1)
//! token-norm  p_i = |h_i| / sum_j |h_j| over the states before the final norm; in [0, 1]
//! ```
//!
//! Degenerate input scores 0: no tokens, no components, a component that is not finite, equal
//! components (one bin holds all), and for token-norm a single token or states that are all zero.

/// Bins of [`histogram`].
pub const BINS: usize = 100;

/// Which reading of EOE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entropy {
    /// [`histogram`].
    #[default]
    Histogram,
    /// [`token_norm`].
    TokenNorm,
}

impl Entropy {
    /// Every reading.
    pub const ALL: [Entropy; 2] = [Entropy::Histogram, Entropy::TokenNorm];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Entropy::Histogram => "histogram",
            Entropy::TokenNorm => "token-norm",
        }
    }

    /// The reading of that name.
    pub fn named(name: &str) -> Option<Entropy> {
        Entropy::ALL.into_iter().find(|e| e.name() == name)
    }
}

/// EOE of `state (D)`, the last of `tokens` tokens' states after the final norm.
///
/// Bin `k` holds `edge(k) <= x < edge(k + 1)`, the last bin its upper edge too, where
/// `edge(k) = minimum + k / 100 * (maximum - minimum)` in f64.
pub fn histogram(state: &[f32], tokens: usize) -> f64 {
    if tokens == 0 || state.is_empty() || !state.iter().all(|x| x.is_finite()) {
        return 0.0;
    }
    let low = f64::from(state.iter().copied().fold(f32::INFINITY, f32::min));
    let high = f64::from(state.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    if low == high {
        return 0.0;
    }
    let edge = |k: usize| low + k as f64 / BINS as f64 * (high - low);
    let mut counts = [0_u32; BINS];
    for &x in state {
        let x = f64::from(x);
        let guess = ((x - low) / (high - low) * BINS as f64) as usize;
        let mut bin = guess.min(BINS - 1);
        // The division rounds: settle by the edges themselves.
        if bin > 0 && x < edge(bin) {
            bin -= 1;
        } else if bin < BINS - 1 && x >= edge(bin + 1) {
            bin += 1;
        }
        counts[bin] += 1;
    }
    let bits: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| f64::from(count) / state.len() as f64)
        .map(|p| -p * libm::log2(p))
        .sum();
    bits / libm::log2(tokens as f64 + 1.0)
}

/// EOE of `states (T, dim)`, row after row, before the final norm; in `0..=1`.
///
/// # Panics
/// If `dim` is 0 or does not divide the length of `states`.
pub fn token_norm(states: &[f32], dim: usize) -> f64 {
    assert!(dim > 0 && states.len().is_multiple_of(dim), "states are rows of dim components");
    let tokens = states.len() / dim;
    let norms = || {
        states.chunks_exact(dim).map(|state| {
            libm::sqrt(state.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>())
        })
    };
    let sum: f64 = norms().sum();
    if tokens < 2 || !sum.is_finite() || sum == 0.0 {
        return 0.0;
    }
    let nats: f64 =
        norms().map(|norm| norm / sum).filter(|&p| p > 0.0).map(|p| -p * libm::log(p)).sum();
    (nats / libm::log(tokens as f64)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, bin by bin.
    fn oracle(state: &[f32], tokens: usize) -> f64 {
        let state: Vec<f64> = state.iter().map(|&x| f64::from(x)).collect();
        let low = state.iter().copied().fold(f64::INFINITY, f64::min);
        let high = state.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let edge = |k: usize| low + k as f64 / 100.0 * (high - low);
        let mut bits = 0.0;
        for k in 0..100 {
            let inside = |x: f64| x >= edge(k) && (x < edge(k + 1) || k == 99);
            let p = state.iter().filter(|&&x| inside(x)).count() as f64 / state.len() as f64;
            if p > 0.0 {
                bits -= p * p.log2();
            }
        }
        bits / (tokens as f64 + 1.0).log2()
    }

    fn noise(n: usize, seed: u32) -> Vec<f32> {
        let mut x = seed;
        (0..n)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 8) as f32 / 1e6 - 8.0
            })
            .collect()
    }

    #[test]
    fn histogram_of_hand_counted_states() {
        // Two bins of half each: 1 bit, over log2(3 + 1) = 2.
        assert_eq!(histogram(&[0.0, 1.0, 0.0, 1.0], 3), 0.5);
        // Four bins: 2 bits over log2(2) = 1.
        assert_eq!(histogram(&[0.0, 1.0, 2.0, 3.0], 1), 2.0);
        // The maximum falls in the last bin, beside 0.995.
        assert_eq!(histogram(&[0.0, 0.995, 1.0, 0.001], 1), 1.0);
    }

    #[test]
    fn histogram_equals_its_definition() {
        for seed in 0..40 {
            let state = noise(7 + 13 * seed as usize, seed);
            let tokens = 1 + 9 * seed as usize;
            let (ours, theirs) = (histogram(&state, tokens), oracle(&state, tokens));
            assert!((ours - theirs).abs() < 1e-12, "{ours} {theirs}");
        }
        // Components on the edges themselves.
        for parts in 1..=100 {
            let state: Vec<f32> = (0..=parts).map(|k| k as f32 / parts as f32).collect();
            assert!((histogram(&state, 4) - oracle(&state, 4)).abs() < 1e-12);
        }
    }

    #[test]
    fn histogram_falls_with_length() {
        let state = noise(64, 5);
        assert!(histogram(&state, 10) > histogram(&state, 100));
    }

    #[test]
    fn token_norm_of_hand_counted_states() {
        assert_eq!(token_norm(&[3.0, 4.0, 0.0, 5.0], 2), 1.0);
        // p = (3/4, 1/4).
        let expected = -(0.75_f64 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln()) / 2.0_f64.ln();
        assert!((token_norm(&[3.0, 0.0, 0.0, 1.0], 2) - expected).abs() < 1e-15);
        assert_eq!(token_norm(&[1.0, 0.0, 0.0, 0.0], 2), 0.0);
    }

    #[test]
    fn degenerate_states_score_zero() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(histogram(&[bad, 1.0, 2.0], 3), 0.0);
            assert_eq!(token_norm(&[1.0, bad, 2.0, 1.0], 2), 0.0);
        }
        assert_eq!(histogram(&[], 3), 0.0);
        assert_eq!(histogram(&[1.0, 2.0], 0), 0.0);
        assert_eq!(histogram(&[0.0; 8], 3), 0.0);
        assert_eq!(token_norm(&[], 2), 0.0);
        assert_eq!(token_norm(&[1.0, 2.0], 2), 0.0);
        assert_eq!(token_norm(&[0.0; 8], 2), 0.0);
    }

    #[test]
    fn extreme_states_stay_finite() {
        let state = [f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0];
        assert!(histogram(&state, usize::MAX).is_finite());
        assert!(token_norm(&state, 2).is_finite());
    }
}
