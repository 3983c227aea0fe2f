//! Ours: ask about what is new, and rehearse what was corrected. An adapter that goes on learning
//! forgets; a reply that the person put right is worth keeping for the next round, one that was good
//! as it was is not.
//!
//! ```text
//! at most 3/5 of the bins hold dialogues that the person was asked about; above that goes
//!     1  one that was accepted or put off
//!     2  one that was corrected                          each time the one of the least draw
//! else, of those not asked about and the candidate, the one of the least draw
//! draw   hash(seed, arrival): the same whenever it is taken, so nothing has to be kept
//! ```
//! Each half is a sample by independent draws (the equal weights of Efraimidis and Spirakis 2006,
//! algorithm A-Res). Like `fresh` it never freezes; once its bins are full, a round asks about 2/5 of
//! them.

use super::{Buffer, Candidate, Entry, Policy, Setting, Verdict};
use crate::rng;

/// Tells this draw from others of the same arrival.
const DRAW: u64 = 0x7265_6865;

/// See the module.
pub const REHEARSE: Policy = Policy {
    name: "rehearse",
    about: "ask about a uniform sample of what is new, rehearse what was corrected in 3/5 of the bins",
    full: |buffer, candidate, setting| {
        Ok(decide(buffer, candidate, setting, |entry| u64::from(entry.corrected)))
    },
};

/// Its ablation: rehearses what was accepted as well as what was corrected.
pub const REHEARSE_ANY: Policy = Policy {
    name: "rehearse-any",
    about: "the same, but rehearse whatever was asked about",
    full: |buffer, candidate, setting| Ok(decide(buffer, candidate, setting, |_| 0)),
};

/// Replaces the least of what was asked about, by `worth` and then by draw, where there is too much of
/// it; else the least drawn of the rest.
fn decide(
    buffer: &dyn Buffer,
    candidate: &Candidate<'_>,
    setting: &Setting<'_>,
    worth: fn(&Entry) -> u64,
) -> Verdict {
    let (seed, bins) = (setting.seed, buffer.bins());
    let draw = |arrival| rng::hash(&[seed, arrival, DRAW]);
    let of = |asked| {
        let entries = (0..bins).filter_map(|bin| Some((bin, buffer.entry(bin)?)));
        entries.filter(move |(_, entry)| entry.asked == asked)
    };
    if 5 * of(true).count() > 3 * bins {
        let order = |(bin, entry): &(usize, Entry)| (worth(entry), draw(entry.arrival), *bin);
        return of(true).min_by_key(order).map_or(Verdict::Drop, |(bin, _)| Verdict::Replace(bin));
    }
    let least = of(false).map(|(bin, entry)| (draw(entry.arrival), bin)).min();
    match least {
        Some((least, bin)) if least < draw(candidate.arrival) => Verdict::Replace(bin),
        _ => Verdict::Drop,
    }
}
