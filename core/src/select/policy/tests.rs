//! The policies against hand-made buffers, brute force and counts.

use super::*;
use crate::select::{Domain, Scores, Unreadable, dissimilarity};

/// A buffer in memory.
#[derive(Clone, Default)]
struct Memory {
    entries: Vec<Option<Entry>>,
    embeddings: Vec<Vec<f32>>,
}

impl Buffer for Memory {
    fn bins(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, bin: usize) -> Option<Entry> {
        self.entries[bin]
    }

    fn embedding(&mut self, bin: usize, out: &mut [f32]) -> Result<(), Unreadable> {
        if self.embeddings[bin].len() != out.len() {
            return Err(Unreadable { bin });
        }
        out.copy_from_slice(&self.embeddings[bin]);
        Ok(())
    }
}

impl Memory {
    fn new(bins: usize) -> Self {
        Memory { entries: vec![None; bins], embeddings: vec![Vec::new(); bins] }
    }

    fn put(&mut self, bin: usize, candidate: &Candidate<'_>) {
        let Candidate { scores, arrival, .. } = *candidate;
        self.entries[bin] = Some(Entry { scores, arrival, asked: false, corrected: false });
        self.embeddings[bin] = candidate.embedding.to_vec();
    }

    /// Scores the candidate, decides and stores.
    fn observe(&mut self, policy: &Policy, mut candidate: Candidate<'_>, seed: u64) -> Verdict {
        let dim = candidate.embedding.len();
        let (mut sum, mut one) = (vec![0.0; dim], vec![0.0; dim]);
        let peers =
            dissimilarity::peers(self, candidate.scores.domain, &mut sum, &mut one).unwrap();
        candidate.scores.dissimilarity = peers.dissimilarity(candidate.embedding);
        let mut scratch = vec![f32::NAN; scratch_len(self.bins(), dim)];
        let mut setting = Setting { seed, frozen: false, scratch: &mut scratch };
        let verdict = policy.decide(self, &candidate, &mut setting).unwrap();
        if let Some(bin) = verdict.bin() {
            self.put(bin, &candidate);
        }
        verdict
    }
}

fn scores(entropy: f32, domain_score: f32, dissimilarity: f32, tokens: u32) -> Scores {
    Scores { entropy, domain_score, domain: Domain(0), dissimilarity, tokens }
}

fn noise(seed: u64, n: usize) -> Vec<f32> {
    (0..n).map(|k| draw(seed, 77, k as u64, 2001) as f32 / 1000.0 - 1.0).collect()
}

/// Four entries along the axes: each has dissimilarity 1 to the others.
fn axes() -> Memory {
    let mut buffer = Memory::new(4);
    for bin in 0..4 {
        let mut embedding = [0.0; 4];
        embedding[bin] = 1.0 + bin as f32;
        let scores = scores(bin as f32, 1.0, 1.0, 10 + bin as u32);
        buffer.put(bin, &Candidate { scores, embedding: &embedding, arrival: 40 - bin as u64 });
    }
    buffer
}

fn verdict(policy: &Policy, buffer: &mut Memory, scores: Scores, embedding: &[f32]) -> Verdict {
    let mut scratch = vec![f32::NAN; scratch_len(buffer.bins(), embedding.len())];
    let mut setting = Setting { seed: 3, frozen: false, scratch: &mut scratch };
    policy.decide(buffer, &Candidate { scores, embedding, arrival: 99 }, &mut setting).unwrap()
}

#[test]
fn names_are_unique_and_found() {
    for policy in ALL {
        assert_eq!(ALL.iter().filter(|p| p.name == policy.name).count(), 1);
        assert_eq!(Policy::named(policy.name).unwrap().about, policy.about);
    }
    assert!(Policy::named("nothing").is_none());
    assert_eq!(
        ALL.map(|p| p.name),
        [
            "quality",
            "random",
            "fifo",
            "k-center",
            "entropy",
            "domain",
            "dissimilarity",
            "length",
            "fresh",
            "rehearse",
            "rehearse-any"
        ]
    );
}

#[test]
fn every_policy_fills_free_bins_first() {
    for policy in ALL {
        let mut buffer = axes();
        buffer.entries[2] = None;
        let worst = scores(-9.0, -9.0, 0.0, u32::MAX);
        assert_eq!(verdict(policy, &mut buffer, worst, &[0.0; 4]), Verdict::Store(2));
        assert_eq!(verdict(policy, &mut Memory::new(0), worst, &[0.0; 4]), Verdict::Drop);
    }
}

#[test]
fn quality_replaces_only_what_it_beats_on_all_three() {
    let mut buffer = axes();
    let new = &[1.0, 1.0, 0.0, 0.0];
    let mut ask = |s| verdict(&QUALITY, &mut buffer, s, new);
    // Dissimilarity of the entries is 1: equal is not enough.
    assert_eq!(ask(scores(9.0, 9.0, 1.0, 1)), Verdict::Drop);
    assert_eq!(ask(scores(9.0, 1.0, 1.5, 1)), Verdict::Drop);
    assert_eq!(ask(scores(0.0, 9.0, 1.5, 1)), Verdict::Drop);
    assert_eq!(ask(scores(0.5, 9.0, 1.5, 1)), Verdict::Replace(0));
    assert!(matches!(ask(scores(9.0, 9.0, 1.5, 1)), Verdict::Replace(_)));
}

#[test]
fn quality_takes_dissimilarity_against_the_buffer_as_it_is() {
    let mut buffer = axes();
    // Entry 1 now equals entry 0: both have fallen from 1 to 2/3, whatever they had at arrival.
    buffer.embeddings[1] = buffer.embeddings[0].clone();
    let new = scores(9.0, 9.0, 0.7, 1);
    let mut hit = [false; 4];
    for arrival in 0..64 {
        let candidate = Candidate { scores: new, embedding: &[0.5; 4], arrival };
        let mut scratch = [0.0; scratch_len(4, 4)];
        let mut setting = Setting { seed: 1, frozen: false, scratch: &mut scratch };
        let verdict = QUALITY.decide(&mut buffer, &candidate, &mut setting).unwrap();
        hit[verdict.bin().unwrap()] = true;
        setting.frozen = true;
        assert_eq!(QUALITY.decide(&mut buffer, &candidate, &mut setting), Ok(Verdict::Drop));
    }
    assert_eq!(hit, [true, true, false, false]);
    // In another domain an entry is alone again, so its dissimilarity is 1.
    buffer.entries[1].as_mut().unwrap().scores.domain = Domain::GENERAL;
    assert_eq!(verdict(&QUALITY, &mut buffer, new, &[0.5; 4]), Verdict::Drop);
}

#[test]
fn quality_chooses_evenly_among_the_beaten() {
    let mut counts = [0_u32; 4];
    for arrival in 0..4000 {
        let mut buffer = axes();
        let mut scratch = [0.0; scratch_len(4, 4)];
        let mut setting = Setting { seed: 5, frozen: false, scratch: &mut scratch };
        let scores = scores(9.0, 9.0, 1.9, 1);
        let candidate = Candidate { scores, embedding: &[-1.0; 4], arrival };
        let verdict = QUALITY.decide(&mut buffer, &candidate, &mut setting).unwrap();
        counts[verdict.bin().unwrap()] += 1;
    }
    // Standard deviation of each count: 27.
    assert!(counts.iter().all(|&n| n.abs_diff(1000) < 110), "{counts:?}");
}

#[test]
fn quality_freezes_on_a_full_buffer() {
    let mut buffer = Memory::new(16);
    let mut accepted = [0_u32; 4];
    for arrival in 0..1600_u64 {
        let embedding = noise(arrival, 24);
        let rolls = noise(arrival + 10_000, 3);
        let mut scores = scores(rolls[0], rolls[1], 0.0, 5);
        scores.domain = Domain((arrival % 3) as u16);
        let candidate = Candidate { scores, embedding: &embedding, arrival };
        if buffer.observe(&QUALITY, candidate, 9) != Verdict::Drop {
            accepted[(arrival / 400) as usize] += 1;
        }
    }
    assert!(accepted[0] > 3 * accepted[1], "{accepted:?}");
    assert!(accepted[3] * 10 < accepted[0], "{accepted:?}");
}

#[test]
fn random_keeps_every_arrival_with_the_same_chance() {
    const BINS: usize = 8;
    const STREAM: usize = 40;
    let mut kept = [0_u32; STREAM];
    for seed in 0..2000 {
        let mut buffer = Memory::new(BINS);
        for arrival in 0..STREAM as u64 {
            let candidate = Candidate { scores: Scores::default(), embedding: &[1.0], arrival };
            buffer.observe(&RANDOM, candidate, seed);
        }
        for entry in buffer.entries.iter().flatten() {
            kept[entry.arrival as usize] += 1;
        }
    }
    // 400 expected for each. Chi-square with 39 degrees of freedom (scaled by 1 - 8/40):
    // 72.1 is exceeded with chance 0.001.
    let chi: f64 = kept.iter().map(|&n| (f64::from(n) - 400.0).powi(2) / 400.0).sum();
    assert!(chi / 0.8 < 72.1, "{chi} {kept:?}");
}

#[test]
fn fifo_keeps_the_newest() {
    let mut buffer = Memory::new(5);
    for arrival in 0..23 {
        let candidate = Candidate { scores: Scores::default(), embedding: &[1.0], arrival };
        assert_ne!(buffer.observe(&FIFO, candidate, 0), Verdict::Drop);
    }
    let mut arrivals: Vec<u64> = buffer.entries.iter().flatten().map(|e| e.arrival).collect();
    arrivals.sort_unstable();
    assert_eq!(arrivals, [18, 19, 20, 21, 22]);
}

/// Greedy farthest point over all points, written for reading; gives the one left over.
fn left_over(points: &[Vec<f32>], start: usize) -> usize {
    let distance = |a: usize, b: usize| -> f64 {
        let d = |k: usize| f64::from(points[a][k]) - f64::from(points[b][k]);
        (0..points[a].len()).map(|k| d(k) * d(k)).sum()
    };
    let mut taken = vec![start];
    while taken.len() + 1 < points.len() {
        let gap = |p: usize| taken.iter().map(|&t| distance(p, t)).fold(f64::INFINITY, f64::min);
        let free = (0..points.len()).filter(|p| !taken.contains(p));
        taken.push(free.max_by(|&a, &b| gap(a).total_cmp(&gap(b)).then(b.cmp(&a))).unwrap());
    }
    (0..points.len()).find(|p| !taken.contains(p)).unwrap()
}

#[test]
fn k_center_equals_brute_force() {
    let mut replaced = 0;
    for seed in 0..60 {
        let bins = 1 + seed as usize % 9;
        let mut buffer = Memory::new(bins);
        let points: Vec<Vec<f32>> = (0..=bins).map(|i| noise(seed * 50 + i as u64, 3)).collect();
        for (bin, embedding) in points[..bins].iter().enumerate() {
            let arrival = (bin as u64 + seed) % bins as u64;
            buffer.put(bin, &Candidate { scores: Scores::default(), embedding, arrival });
        }
        let oldest = (0..bins).find(|&b| buffer.entries[b].unwrap().arrival == 0).unwrap();
        let expected = left_over(&points, oldest);
        let found = verdict(&K_CENTER, &mut buffer, Scores::default(), &points[bins]);
        assert_eq!(found.bin().unwrap_or(bins), expected, "{seed}");
        replaced += u32::from(expected < bins);
    }
    assert!((20..60).contains(&replaced), "both verdicts occur: {replaced}");
}

#[test]
fn k_center_drops_copies_and_survives_broken_points() {
    let mut buffer = axes();
    let copy = buffer.embeddings[2].clone();
    assert_eq!(verdict(&K_CENTER, &mut buffer, Scores::default(), &copy), Verdict::Drop);
    let broken = [f32::NAN; 4];
    assert_eq!(verdict(&K_CENTER, &mut buffer, Scores::default(), &broken), Verdict::Drop);
    buffer.embeddings[1] = broken.to_vec();
    let new = [9.0, 9.0, 9.0, 9.0];
    assert_eq!(verdict(&K_CENTER, &mut buffer, Scores::default(), &new), Verdict::Replace(1));
}

#[test]
fn single_metric_policies_look_at_their_metric_alone() {
    let new = &[-1.0, 0.0, 0.0, 0.0];
    let mut buffer = axes();
    let mut ask = |policy, s| verdict(policy, &mut buffer, s, new);
    assert_eq!(ask(&ENTROPY_ONLY, scores(0.5, 0.0, 0.0, 99)), Verdict::Replace(0));
    assert_eq!(ask(&ENTROPY_ONLY, scores(0.0, 9.0, 2.0, 0)), Verdict::Drop);
    assert_ne!(ask(&DOMAIN_ONLY, scores(0.0, 1.1, 0.0, 99)), Verdict::Drop);
    assert_eq!(ask(&DOMAIN_ONLY, scores(9.0, 1.0, 2.0, 0)), Verdict::Drop);
    assert_ne!(ask(&DISSIMILARITY_ONLY, scores(0.0, 0.0, 1.1, 99)), Verdict::Drop);
    assert_eq!(ask(&DISSIMILARITY_ONLY, scores(9.0, 9.0, 1.0, 0)), Verdict::Drop);
    assert_eq!(ask(&LENGTH_ONLY, scores(0.0, 0.0, 0.0, 12)), Verdict::Replace(3));
    assert_eq!(ask(&LENGTH_ONLY, scores(9.0, 9.0, 2.0, 13)), Verdict::Drop);
}

#[test]
fn broken_embeddings_and_small_scratch_are_no_panic() {
    for policy in ALL {
        let mut buffer = axes();
        buffer.embeddings[0] = vec![f32::NAN; 4];
        buffer.embeddings[3] = vec![0.0; 4];
        for bad in [f32::NAN, f32::INFINITY, 0.0] {
            verdict(policy, &mut buffer, scores(9.0, 9.0, 0.0, 1), &[bad; 4]);
        }
        let candidate = Candidate { scores: Scores::default(), embedding: &[1.0; 4], arrival: 4 };
        let mut setting = Setting { seed: 0, frozen: false, scratch: &mut [0.0; 12] };
        let refused = policy.decide(&mut buffer, &candidate, &mut setting);
        assert_eq!(refused, Err(Error::Scratch { needed: 13, available: 12 }));
    }
    let mut buffer = axes();
    buffer.embeddings[1].pop();
    let candidate =
        Candidate { scores: scores(9.0, 9.0, 2.0, 1), embedding: &[1.0; 4], arrival: 4 };
    let mut scratch = [0.0; scratch_len(4, 4)];
    let mut setting = Setting { seed: 0, frozen: false, scratch: &mut scratch };
    let refused = QUALITY.decide(&mut buffer, &candidate, &mut setting);
    assert_eq!(refused, Err(Error::Unreadable(Unreadable { bin: 1 })));
}

/// Offers dialogues `from..to`, and gives the arrivals that are kept.
fn offer(buffer: &mut Memory, policy: &Policy, from: u64, to: u64, seed: u64) -> Vec<u64> {
    for arrival in from..to {
        let candidate = Candidate { scores: scores(1.0, 1.0, 1.0, 9), embedding: &[1.0], arrival };
        buffer.observe(policy, candidate, seed);
    }
    let mut kept: Vec<u64> = buffer.entries.iter().flatten().map(|entry| entry.arrival).collect();
    kept.sort_unstable();
    kept
}

#[test]
fn fresh_lets_what_was_asked_about_go_first_and_the_oldest_of_it() {
    let mut buffer = Memory::new(4);
    assert_eq!(offer(&mut buffer, &FRESH, 0, 4, 5), [0, 1, 2, 3]);
    for bin in [1, 3] {
        buffer.entries[bin].as_mut().unwrap().asked = true;
    }
    assert_eq!(offer(&mut buffer, &FRESH, 4, 5, 5), [0, 2, 3, 4]);
    assert_eq!(offer(&mut buffer, &FRESH, 5, 6, 5), [0, 2, 4, 5]);
    // Now there is none left that was: chance decides between five.
    let kept = offer(&mut buffer, &FRESH, 6, 7, 5);
    assert_eq!(kept.iter().filter(|arrival| ![0, 2, 4, 5, 6].contains(arrival)).count(), 0);
}

#[test]
fn ours_keep_a_uniform_sample_of_what_came_since_the_round() {
    const BINS: usize = 8;
    const SINCE: u64 = 40;
    const SEEDS: u64 = 4000;
    // How far the counts are from uniform: chi-squared of SINCE - 1 degrees of freedom, with a
    // variance that is smaller by (1 - kept / SINCE) as each seed keeps so many of them.
    let excess = |policy: &Policy, kept: usize| {
        let mut counts = [0u32; SINCE as usize];
        for seed in 0..SEEDS {
            let mut buffer = Memory::new(BINS);
            offer(&mut buffer, policy, 0, 20, seed);
            buffer.entries.iter_mut().flatten().for_each(|entry| entry.asked = true);
            for arrival in offer(&mut buffer, policy, 20, 20 + SINCE, seed) {
                if let Some(since) = arrival.checked_sub(20) {
                    counts[since as usize] += 1;
                }
            }
        }
        let mean = (SEEDS * kept as u64) as f64 / SINCE as f64;
        let sum: f64 = counts.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum();
        sum / (1.0 - kept as f64 / SINCE as f64)
    };
    // 39 degrees of freedom: above 86 once in 20,000.
    for (policy, kept) in [(&FRESH, BINS), (&REHEARSE, BINS / 2), (&REHEARSE_ANY, BINS / 2)] {
        let uniform = excess(policy, kept);
        assert!(uniform < 86.0, "{}: {uniform}", policy.name);
    }
    // The planted bug: whatever came last.
    assert!(excess(&FIFO, BINS) > 1000.0);
}

#[test]
fn rehearse_keeps_what_was_corrected_and_room_for_what_is_new() {
    let filled = |seed| {
        let mut buffer = Memory::new(10);
        offer(&mut buffer, &REHEARSE, 0, 10, seed);
        buffer.entries.iter_mut().flatten().for_each(|entry| {
            entry.asked = true;
            entry.corrected = entry.arrival % 2 == 0;
        });
        buffer
    };
    let mut kept = [0; 10];
    for seed in 0..200 {
        let mut buffer = filled(seed);
        // Four of the five that were accepted go, whichever the chance says.
        let four = offer(&mut buffer, &REHEARSE, 10, 14, seed);
        assert_eq!(four.iter().filter(|&&arrival| arrival < 10 && arrival % 2 == 1).count(), 1);
        assert!([0, 2, 4, 6, 8].iter().all(|corrected| four.contains(corrected)), "{four:?}");
        assert!((10..14).all(|new| four.contains(&new)), "{four:?}");
        // From then on the new ones alone make room for each other.
        let later = offer(&mut buffer, &REHEARSE, 14, 60, seed);
        let of_old = |all: &[u64]| all.iter().copied().filter(|&a| a < 10).collect::<Vec<_>>();
        assert_eq!(of_old(&later), of_old(&four));
        // Asked about the four as well, all accepted: those go first, and it is even between the rest.
        buffer.entries.iter_mut().flatten().for_each(|entry| entry.asked = true);
        let last = offer(&mut buffer, &REHEARSE, 60, 64, seed);
        assert!(of_old(&last).len() >= 5 && last.contains(&63), "{last:?}");

        // The ablation keeps six of ten, whatever was said.
        let mut any = filled(seed);
        for old in of_old(&offer(&mut any, &REHEARSE_ANY, 10, 14, seed)) {
            kept[old as usize] += 1;
        }
    }
    assert!(kept.iter().all(|&times| (85..156).contains(&times)), "{kept:?}");
}

#[test]
fn rehearse_takes_the_least_of_the_corrected_where_nothing_else_was_asked_about() {
    let mut buffer = Memory::new(5);
    offer(&mut buffer, &REHEARSE, 0, 5, 9);
    buffer.entries.iter_mut().flatten().for_each(|entry| {
        (entry.asked, entry.corrected) = (true, true);
    });
    assert_eq!(offer(&mut buffer, &REHEARSE, 5, 7, 9).iter().filter(|&&a| a < 5).count(), 3);
    let mut one = Memory::new(1);
    offer(&mut one, &REHEARSE, 0, 1, 9);
    one.entries[0].as_mut().unwrap().asked = true;
    assert_eq!(offer(&mut one, &REHEARSE, 1, 2, 9), [1], "a single bin does not freeze");
}
