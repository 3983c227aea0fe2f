//! Means, deviations and a paired bootstrap.
//!
//! ```text
//! scores     (S, N): seed s's score on held-out dialogue i, for an arm A and what it is compared with, B
//! resample   S seeds and N dialogues, drawn with replacement; A and B take the same ones
//! gain       (mean A - mean B) / mean B over what was drawn
//! interval   the 2.5% and 97.5% quantiles of 10,000 gains (Efron and Tibshirani 1993, chapter 13)
//! together   of T streams with means a and b: gain g = (mean a - mean b) / mean b; interval g +- t e, with
//!            e the standard error of the mean of a - (1 + g) b over mean b, t Student's of T - 1 degrees
//! ```

use homespun_core::rng::Rng;

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 10_000;
/// The seed of its draws, so that a report is the same twice.
const SEED: u64 = 20_240_623;

/// Mean of `values`; NaN of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation of the sample, over n - 1; nothing below two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// A relative gain and its interval of 95%.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// Of the means.
    pub gain: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The relative gain of `ours (S, N)` over `theirs (S, N)`, seed by seed and dialogue by dialogue, with
/// a paired bootstrap over both. Nothing where there is no pair or nothing to divide by.
///
/// # Panics
/// If the shapes differ.
pub fn paired(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Option<Gain> {
    assert_eq!(ours.len(), theirs.len(), "as many seeds");
    let (seeds, dialogues) = (ours.len(), ours.first().map_or(0, Vec::len));
    if seeds == 0 || dialogues == 0 {
        return None;
    }
    for row in ours.iter().chain(theirs) {
        assert_eq!(row.len(), dialogues, "as many dialogues");
    }
    let relative = |ours: f64, theirs: f64| (ours - theirs) / theirs;
    let sum = |rows: &[Vec<f64>]| rows.iter().flatten().sum::<f64>();
    if sum(theirs) <= 0.0 {
        return None;
    }
    let gain = relative(sum(ours), sum(theirs));
    let mut rng = Rng::new(SEED);
    let mut gains = Vec::with_capacity(RESAMPLES);
    let (mut times_a, mut times_b) = (vec![0.0; dialogues], vec![0.0; dialogues]);
    for _ in 0..RESAMPLES {
        // Of each dialogue, its sum over the seeds that were drawn.
        times_a.fill(0.0);
        times_b.fill(0.0);
        for _ in 0..seeds {
            let seed = rng.below(seeds as u64) as usize;
            for i in 0..dialogues {
                times_a[i] += ours[seed][i];
                times_b[i] += theirs[seed][i];
            }
        }
        let (mut a, mut b) = (0.0, 0.0);
        for _ in 0..dialogues {
            let i = rng.below(dialogues as u64) as usize;
            a += times_a[i];
            b += times_b[i];
        }
        if b > 0.0 {
            gains.push(relative(a, b));
        }
    }
    gains.sort_by(f64::total_cmp);
    Some(Gain { gain, low: quantile(&gains, 0.025), high: quantile(&gains, 0.975) })
}

/// Scores `(S, N)` of one stream: of the arm in question and of what it is compared with.
pub type Pair = [Vec<Vec<f64>>; 2];

/// The 97.5% quantile of Student's t of 1, 2, ... 30 degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The relative gain over several streams together, each with the same weight, with the interval of
/// what a stream more would show. Nothing below two streams, or where there is nothing to divide by.
pub fn together(streams: &[Pair]) -> Option<Gain> {
    let full = |[ours, theirs]: &&Pair| {
        let dialogues = ours.first().map_or(0, Vec::len);
        let even = |rows: &[Vec<f64>]| rows.iter().all(|row| row.len() == dialogues);
        dialogues > 0 && ours.len() == theirs.len() && even(ours) && even(theirs)
    };
    let all = |rows: &[Vec<f64>]| mean(&rows.iter().map(|row| mean(row)).collect::<Vec<_>>());
    let means: Vec<[f64; 2]> =
        streams.iter().filter(full).map(|pair| pair.each_ref().map(|rows| all(rows))).collect();
    let n = means.len();
    let [a, b] = [0, 1].map(|which| means.iter().map(|of| of[which]).sum::<f64>() / n as f64);
    if n < 2 || b <= 0.0 {
        return None;
    }
    let gain = (a - b) / b;
    // What each stream has more than the gain foretells.
    let rest: Vec<f64> = means.iter().map(|[a, b]| a - (1.0 + gain) * b).collect();
    let error = deviation(&rest)? / (n as f64).sqrt() / b;
    let t = STUDENT.get(n - 2).copied().unwrap_or(2.042);
    Some(Gain { gain, low: gain - t * error, high: gain + t * error })
}

/// The quantile `q` of sorted values, between two of them in proportion; NaN of none.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = q * last as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations_match_hand_counts() {
        assert_eq!((mean(&[1.0, 2.0, 6.0]), deviation(&[1.0])), (3.0, None));
        assert_eq!(deviation(&[1.0, 3.0]), Some(2f64.sqrt()));
        assert_eq!([0.0, 0.5, 0.75, 1.0].map(|q| quantile(&[1.0, 2.0, 4.0], q)), [1., 2., 3., 4.]);
    }

    #[test]
    fn a_constant_factor_has_an_interval_of_no_width() {
        let theirs: Vec<Vec<f64>> = (0..3)
            .map(|s| (0..40).map(|i| 0.1 + (i * (s + 2) % 7) as f64 / 10.0).collect())
            .collect();
        let ours: Vec<Vec<f64>> =
            theirs.iter().map(|row| row.iter().map(|x| 1.25 * x).collect()).collect();
        let Gain { gain, low, high } = paired(&ours, &theirs).unwrap();
        for value in [gain, low, high] {
            assert!((value - 0.25).abs() < 1e-12, "{value}");
        }
        assert_eq!(paired(&[], &[]), None);
        assert_eq!(paired(&[vec![1.0]], &[vec![0.0]]), None);
    }

    #[test]
    fn the_interval_of_known_data_is_that_of_the_normal_distribution() {
        // One seed, N = 400, B always 1, A 1 or 2 by turns: the gain is a mean of 400 draws of 0 or 1,
        // 0.5 with a standard error of 0.5 / 20.
        let ours = vec![(0..400).map(|i| 1.0 + f64::from(i % 2)).collect::<Vec<_>>()];
        let theirs = vec![vec![1.0; 400]];
        let Gain { gain, low, high } = paired(&ours, &theirs).unwrap();
        assert!((gain - 0.5).abs() < 1e-12);
        for (end, expected) in [(low, 0.5 - 1.96 * 0.025), (high, 0.5 + 1.96 * 0.025)] {
            assert!((end - expected).abs() < 0.004, "{end} is not {expected}");
        }
    }

    #[test]
    fn streams_together_are_as_sure_as_they_agree() {
        let stream = |factor: f64, base: f64| -> Pair {
            let theirs: Vec<f64> = (0..60).map(|i| base + f64::from(i % 5) / 100.0).collect();
            let ours = theirs.iter().map(|x| factor * x).collect();
            [vec![ours], vec![theirs]]
        };
        // Each gains a fifth, whatever its level: no width.
        let all = [stream(1.2, 0.1), stream(1.2, 0.5), stream(1.2, 0.9)];
        let Gain { gain, low, high } = together(&all).unwrap();
        assert!([gain, low, high].iter().all(|value| (value - 0.2).abs() < 1e-12));
        // Half of them gain a fifth, half lose it: a mean of eight of +-0.2, whose standard error is
        // 0.2 / sqrt(7), and t of 7 degrees of freedom 2.365.
        let all: Vec<Pair> =
            (0..8).map(|i| stream(if i % 2 == 0 { 1.2 } else { 0.8 }, 1.0)).collect();
        let Gain { gain, low, high } = together(&all).unwrap();
        let expected = 2.365 * 0.2 / 7f64.sqrt();
        assert!(gain.abs() < 1e-12 && (high - expected).abs() < 1e-9, "{gain} {low} {high}");
        assert!((low + high).abs() < 1e-12, "{low} {high}");
        // Streams that were not run with as many seeds have no part in it; nothing has no gain.
        let [ours, theirs] = stream(1.2, 0.1);
        let uneven = [[ours[0].clone(), ours[0].clone()].into(), theirs];
        assert_eq!((together(&[]), together(&[uneven])), (None, None));
    }

    #[test]
    fn seeds_are_resampled_too_and_pairs_are_kept() {
        // Two seeds that disagree: +50% and -50% on every dialogue. Drawn alone, either is a third.
        let theirs = vec![vec![1.0; 50]; 2];
        let ours = vec![vec![1.5; 50], vec![0.5; 50]];
        let Gain { gain, low, high } = paired(&ours, &theirs).unwrap();
        assert!((gain, low, high) == (0.0, -0.5, 0.5), "{gain} {low} {high}");
        // Dialogues that are hard for both widen nothing: only the difference counts.
        let theirs: Vec<f64> = (0..100).map(|i| if i < 50 { 0.02 } else { 0.98 }).collect();
        let ours: Vec<f64> = theirs.iter().map(|x| x + 0.05).collect();
        let Gain { low, high, .. } = paired(&[ours], &[theirs]).unwrap();
        assert!(low > 0.07 && high < 0.15, "{low} {high}");
    }
}
