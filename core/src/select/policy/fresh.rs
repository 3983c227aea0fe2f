//! Ours: keep what can still be learned. A dialogue that the person was asked about has done its work
//! in the round that followed, so it goes first; of the others a uniform sample of all that came since.
//!
//! ```text
//! goes first   one that was asked about, the oldest
//! then         of those that were not, and the candidate: the one of the least draw
//! draw         hash(seed, arrival): the same whenever it is taken, so nothing has to be kept
//! ```
//! The B largest of independent draws are a uniform sample without replacement (the equal weights of
//! Efraimidis and Spirakis 2006, algorithm A-Res), here of what arrived since the last round. It never
//! freezes: of a stream with a round every N dialogues each round asks about min(B, N) new ones, as
//! `fifo` does, but spread over all N and not the last B, which may speak of one thing.

use super::{Policy, Verdict};
use crate::rng;

/// Tells this draw from others of the same arrival.
const DRAW: u64 = 0x6672_6573;

/// See the module.
pub const FRESH: Policy = Policy {
    name: "fresh",
    about: "replace what was asked about; keep a uniform sample of what was not",
    full: |buffer, candidate, setting| {
        let seed = setting.seed;
        let draw = |arrival| rng::hash(&[seed, arrival, DRAW]);
        let order = |bin| {
            let entry = buffer.entry(bin)?;
            let first = if entry.asked { (0, entry.arrival) } else { (1, draw(entry.arrival)) };
            Some((first, bin))
        };
        let least = (0..buffer.bins()).filter_map(order).min();
        Ok(match least {
            Some((first, bin)) if first < (1, draw(candidate.arrival)) => Verdict::Replace(bin),
            _ => Verdict::Drop,
        })
    },
};
