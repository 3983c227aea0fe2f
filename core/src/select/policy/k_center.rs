//! K-Center: of the buffered embeddings and the new one, keep those that greedy farthest-point
//! selection takes first (Gonzalez 1985; Sener and Savarese 2018 for selection).
//!
//! ```text
//! points   the B bins and the candidate
//! start    the oldest; then B - 1 times: take the point farthest from its nearest taken one
//! verdict  the one point left over is dropped
//! ```
//!
//! Distances are Euclidean; ties take the lower bin, the candidate last. A point that is not
//! finite is at distance 0 from all. B²/2 embeddings are read.

use super::{Buffer, Candidate, Error, Policy, Setting, Verdict};
use crate::select::Unreadable;

/// See the module.
pub const K_CENTER: Policy = Policy {
    name: "k-center",
    about: "keep the embeddings that cover the stream, by greedy farthest point",
    full: decide,
};

/// Marks a point as taken.
const TAKEN: f32 = -1.0;

fn decide(
    buffer: &mut dyn Buffer,
    candidate: &Candidate<'_>,
    setting: &mut Setting<'_>,
) -> Result<Verdict, Error> {
    let (bins, dim) = (buffer.bins(), candidate.embedding.len());
    let (nearest, rest) = setting.scratch.split_at_mut(bins + 1);
    let (center, rest) = rest.split_at_mut(dim);
    let point = &mut rest[..dim];
    nearest.fill(f32::INFINITY);

    let age = |bin| buffer.entry(bin).map_or(u64::MAX, |entry| entry.arrival);
    let mut taken = (0..bins).min_by_key(|&bin| (age(bin), bin)).unwrap_or(0);
    for _ in 1..bins {
        nearest[taken] = TAKEN;
        read(buffer, candidate, taken, center)?;
        for (at, nearest) in nearest.iter_mut().enumerate() {
            if *nearest != TAKEN {
                read(buffer, candidate, at, point)?;
                *nearest = nearest.min(distance(center, point));
            }
        }
        taken = farthest(nearest);
    }
    nearest[taken] = TAKEN;
    let left = farthest(nearest);
    Ok(if left < bins { Verdict::Replace(left) } else { Verdict::Drop })
}

fn read(
    buffer: &mut dyn Buffer,
    candidate: &Candidate<'_>,
    at: usize,
    out: &mut [f32],
) -> Result<(), Unreadable> {
    if at < buffer.bins() {
        return buffer.embedding(at, out);
    }
    out.copy_from_slice(candidate.embedding);
    Ok(())
}

/// The first of the points that have the greatest distance.
fn farthest(nearest: &[f32]) -> usize {
    let mut best = 0;
    for (at, &distance) in nearest.iter().enumerate() {
        if distance > nearest[best] {
            best = at;
        }
    }
    best
}

/// The squared distance of `point` from `center`, which has none if it is not finite.
fn distance(center: &[f32], point: &[f32]) -> f32 {
    if !point.iter().all(|x| x.is_finite()) {
        return 0.0;
    }
    if !center.iter().all(|x| x.is_finite()) {
        return f32::INFINITY;
    }
    let difference = |(&a, &b): (&f32, &f32)| f64::from(a) - f64::from(b);
    center.iter().zip(point).map(difference).map(|d| d * d).sum::<f64>() as f32
}
