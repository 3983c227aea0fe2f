//! Random, FIFO and K-Center against reference implementations: every verdict over streams of 600
//! arrivals, as `oracle/selection.py` decided it, and the reservoir by counting what it keeps.

use homespun_core::rng::hash;
use homespun_core::select::policy::{FIFO, K_CENTER, Policy, RANDOM, Verdict, scratch_len};
use homespun_core::select::{Buffer, Candidate, Entry, Scores, Setting, Unreadable};

const ARRIVALS: usize = 600;

/// A stream of one case of the golden file, and the verdict on each of its arrivals.
struct Case {
    name: String,
    policy: &'static Policy,
    points: Vec<Vec<f32>>,
    bins: usize,
    seed: u64,
    verdicts: Vec<Option<usize>>,
}

/// Whole numbers from -3 to 3: ties in plenty.
fn grid(seed: u64, a: u64) -> Vec<f32> {
    (0..4).map(|d| (hash(&[seed, 0, a, d]) % 7) as f32 - 3.0).collect()
}

/// Noise around a place that moves every 40 arrivals.
fn drift(seed: u64, a: u64) -> Vec<f32> {
    let component = |d| {
        let x = (hash(&[seed, 1, a, d]) >> 40) as f64 / f64::from(1 << 23) - 1.0;
        (x + (hash(&[seed, 2, a / 40, d]) % 5) as f64 - 2.0) as f32
    };
    (0..16).map(component).collect()
}

fn golden() -> Vec<Case> {
    let case = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [policy, stream, bins, seed, verdicts] = fields[..] else { panic!("{line}") };
        let of = if stream == "grid" { grid } else { drift };
        let seed = seed.parse().expect("seed");
        let bin = |c: char| (c != '.').then(|| c.to_digit(32).expect("a bin") as usize);
        Case {
            name: line[..line.len() - verdicts.len()].to_owned(),
            policy: Policy::named(policy).expect("policy"),
            points: (0..ARRIVALS as u64).map(|a| of(seed, a)).collect(),
            bins: bins.parse().expect("bins"),
            seed,
            verdicts: verdicts.chars().map(bin).collect(),
        }
    };
    include_str!("golden/selection.txt").lines().map(case).collect()
}

/// A buffer that holds arrivals by their number.
struct Held<'p> {
    points: &'p [Vec<f32>],
    bins: Vec<Option<u64>>,
}

impl Buffer for Held<'_> {
    fn bins(&self) -> usize {
        self.bins.len()
    }

    fn entry(&self, bin: usize) -> Option<Entry> {
        self.bins[bin].map(|arrival| Entry {
            scores: Scores::default(),
            arrival,
            asked: false,
            corrected: false,
        })
    }

    fn embedding(&mut self, bin: usize, out: &mut [f32]) -> Result<(), Unreadable> {
        let arrival = self.bins[bin].ok_or(Unreadable { bin })?;
        out.copy_from_slice(&self.points[arrival as usize]);
        Ok(())
    }
}

/// Runs `policy` over the points; gives the bin of each arrival and what is left at the end.
fn run(
    policy: &Policy,
    points: &[Vec<f32>],
    bins: usize,
    seed: u64,
) -> (Vec<Option<usize>>, Vec<Option<u64>>) {
    let mut held = Held { points, bins: vec![None; bins] };
    let mut scratch = vec![f32::NAN; scratch_len(bins, points[0].len())];
    let verdicts = points.iter().zip(0..).map(|(embedding, arrival)| {
        let candidate = Candidate { scores: Scores::default(), embedding, arrival };
        let mut setting = Setting { seed, frozen: false, scratch: &mut scratch };
        let verdict = policy.decide(&mut held, &candidate, &mut setting).expect("a verdict");
        let free = verdict.bin().is_some_and(|bin| held.bins[bin].is_none());
        assert_eq!(free, matches!(verdict, Verdict::Store(_)), "{verdict:?} of arrival {arrival}");
        if let Some(bin) = verdict.bin() {
            held.bins[bin] = Some(arrival);
        }
        verdict.bin()
    });
    (verdicts.collect(), held.bins)
}

/// The first arrival on which the two disagree.
fn first_difference(case: &Case, ours: &[Option<usize>]) -> Option<String> {
    assert_eq!(ours.len(), case.verdicts.len());
    let at = ours.iter().zip(&case.verdicts).position(|(a, b)| a != b)?;
    Some(format!("{}arrival {at}: {:?}, not {:?}", case.name, ours[at], case.verdicts[at]))
}

#[test]
fn every_verdict_is_that_of_the_reference_implementation() {
    let cases = golden();
    assert_eq!(cases.len(), 21);
    for policy in [&RANDOM, &FIFO, &K_CENTER] {
        let of_policy = cases.iter().filter(|case| case.policy.name == policy.name);
        assert!(of_policy.count() >= 3, "{}", policy.name);
    }
    for case in &cases {
        let (ours, _) = run(case.policy, &case.points, case.bins, case.seed);
        assert_eq!(first_difference(case, &ours), None);
    }
}

/// What may be wrong with the references below.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bugs {
    /// K-Center begins with the newest point.
    from_the_newest: bool,
    /// K-Center lets the last of equally far points win.
    last_of_ties: bool,
    /// Its distances are city blocks.
    city_blocks: bool,
    /// The reservoir draws among the arrivals before this one.
    one_too_few: bool,
    /// FIFO replaces the newest.
    newest_out: bool,
}

/// The three policies once more, on the points themselves and with room for bugs.
fn reference(case: &Case, bugs: Bugs) -> Vec<Option<usize>> {
    let mut bins: Vec<u64> = Vec::new();
    let mut out = Vec::new();
    for arrival in 0..ARRIVALS as u64 {
        let place = if bins.len() < case.bins {
            bins.push(arrival);
            Some(bins.len() - 1)
        } else if case.policy.name == RANDOM.name {
            let among = arrival + u64::from(!bugs.one_too_few);
            let wide = u128::from(hash(&[case.seed, arrival, 0])) * u128::from(among);
            Some((wide >> 64) as usize).filter(|&bin| bin < bins.len())
        } else if case.policy.name == FIFO.name {
            let order =
                |&bin: &usize| if bugs.newest_out { u64::MAX - bins[bin] } else { bins[bin] };
            (0..bins.len()).min_by_key(order)
        } else {
            Some(left_over(case, &bins, arrival, bugs)).filter(|&bin| bin < bins.len())
        };
        if let Some(bin) = place {
            bins[bin] = arrival;
        }
        out.push(place);
    }
    out
}

/// Which of the buffered points and the arrival greedy farthest point takes last.
fn left_over(case: &Case, bins: &[u64], arrival: u64, bugs: Bugs) -> usize {
    let all: Vec<u64> = bins.iter().copied().chain([arrival]).collect();
    let apart = |a: usize, b: usize| -> f64 {
        let (a, b) = (&case.points[all[a] as usize], &case.points[all[b] as usize]);
        let gaps = a.iter().zip(b).map(|(&x, &y)| f64::from(x) - f64::from(y));
        if bugs.city_blocks { gaps.map(f64::abs).sum() } else { gaps.map(|gap| gap * gap).sum() }
    };
    let age = |&at: &usize| if bugs.from_the_newest { u64::MAX - all[at] } else { all[at] };
    let start = (0..all.len()).min_by_key(age).expect("points");
    let mut left: Vec<usize> = (0..all.len()).filter(|&at| at != start).collect();
    let mut gap: Vec<f64> = (0..all.len()).map(|at| apart(at, start)).collect();
    while left.len() > 1 {
        let mut best = 0;
        for (i, &at) in left.iter().enumerate() {
            let more = gap[at] > gap[left[best]];
            if more || (bugs.last_of_ties && gap[at] == gap[left[best]]) {
                best = i;
            }
        }
        let taken = left.remove(best);
        for &at in &left {
            gap[at] = gap[at].min(apart(at, taken));
        }
    }
    left[0]
}

#[test]
fn the_golden_verdicts_catch_planted_bugs() {
    let cases = golden();
    let differing = |bugs: Bugs| {
        let differs = |case: &&Case| first_difference(case, &reference(case, bugs)).is_some();
        cases.iter().filter(differs).map(|case| case.name.as_str()).collect::<Vec<_>>()
    };
    let none = Bugs::default();
    assert_eq!(differing(none), [""; 0], "the references themselves");
    for (bugs, expected) in [
        (Bugs { from_the_newest: true, ..none }, 10),
        (Bugs { last_of_ties: true, ..none }, 4),
        (Bugs { city_blocks: true, ..none }, 8),
        (Bugs { one_too_few: true, ..none }, 4),
        (Bugs { newest_out: true, ..none }, 2),
    ] {
        let found = differing(bugs);
        assert!(found.len() >= expected, "{bugs:?} shows in {found:?} alone");
    }
}

/// Arrivals, bins and seeds of the counts below.
const STREAM: u64 = 500;
const KEPT: u64 = 16;
const SEEDS: u64 = 24_000;

/// How unevenly reservoirs keep what arrives, over all seeds: chi-square of the 500 counts, with 499
/// degrees of freedom, and by how many standard deviations the first 16 are kept too often.
///
/// Each reservoir keeps exactly 16: a count varies 1 - 16/500 times as much as a free one, and how
/// many of the first 16 stay is hypergeometric.
fn unevenness(keep: impl Fn(u64) -> Vec<Option<u64>>) -> (f64, f64) {
    let mut counts = vec![0_u32; STREAM as usize];
    for seed in 0..SEEDS {
        keep(seed).into_iter().flatten().for_each(|arrival| counts[arrival as usize] += 1);
    }
    let chance = KEPT as f64 / STREAM as f64;
    let expected = SEEDS as f64 * chance;
    let squares: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    let first: u32 = counts[..KEPT as usize].iter().sum();
    let rest = (STREAM - KEPT) as f64 / (STREAM - 1) as f64;
    let variance = SEEDS as f64 * KEPT as f64 * chance * (1.0 - chance) * rest;
    let excess = f64::from(first) - expected * KEPT as f64;
    (squares / (1.0 - chance), excess / variance.sqrt())
}

#[test]
fn the_reservoir_keeps_every_arrival_with_the_same_chance() {
    // Beyond each of these bounds is chance 0.001; a chi-square that is too even is wrong as well.
    let even = |(chi, first): (f64, f64)| (407.0..602.4).contains(&chi) && first.abs() < 3.29;
    let points = vec![vec![0.0]; STREAM as usize];
    let ours = unevenness(|seed| run(&RANDOM, &points, KEPT as usize, seed).1);
    assert!(even(ours), "{ours:?}");
    // Algorithm R with its draw below `among(arrival)`.
    let reservoir = |among: fn(u64) -> u64| {
        unevenness(move |seed| {
            let mut bins: Vec<Option<u64>> = (0..KEPT).map(Some).collect();
            for arrival in KEPT..STREAM {
                let wide = u128::from(hash(&[seed, arrival, 0])) * u128::from(among(arrival));
                if let Some(bin) = bins.get_mut((wide >> 64) as usize) {
                    *bin = Some(arrival);
                }
            }
            bins
        })
    };
    assert_eq!(reservoir(|arrival| arrival + 1), ours, "the reference keeps the same");
    let (too_few, fixed) = (reservoir(|arrival| arrival), reservoir(|_| STREAM));
    eprintln!(
        "chi-square, excess of the first: {ours:.1?}; a draw among one arrival too few {too_few:.1?}, with a fixed chance {fixed:.1?}"
    );
    assert!(!even(too_few) && !even(fixed), "a planted bug is not seen: {too_few:?} {fixed:?}");
}
