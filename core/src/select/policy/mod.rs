//! Policies: what happens to a dialogue that asks for a bin. One file each, one line in [`ALL`].
//!
//! ```text
//! a free bin           Store(the lowest)          whatever the policy
//! no free bin          the policy's file decides: Replace(bin) | Drop
//! chance               draw(seed, arrival, k): no state, so a resumed run decides alike
//! ```

use super::dissimilarity::peers;
use super::{Buffer, Candidate, Entry, Error};
use crate::rng;

mod dissimilarity_only;
mod domain_only;
mod entropy_only;
mod fifo;
mod fresh;
mod k_center;
mod length_only;
mod quality;
mod random;
mod rehearse;

pub use dissimilarity_only::DISSIMILARITY_ONLY;
pub use domain_only::DOMAIN_ONLY;
pub use entropy_only::ENTROPY_ONLY;
pub use fifo::FIFO;
pub use fresh::FRESH;
pub use k_center::K_CENTER;
pub use length_only::LENGTH_ONLY;
pub use quality::QUALITY;
pub use random::RANDOM;
pub use rehearse::{REHEARSE, REHEARSE_ANY};

/// Every policy.
pub const ALL: [&Policy; 11] = [
    &QUALITY,
    &RANDOM,
    &FIFO,
    &K_CENTER,
    &ENTROPY_ONLY,
    &DOMAIN_ONLY,
    &DISSIMILARITY_ONLY,
    &LENGTH_ONLY,
    &FRESH,
    &REHEARSE,
    &REHEARSE_ANY,
];

/// What a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Put it into this free bin.
    Store(usize),
    /// Put it into this bin, in place of what is there.
    Replace(usize),
    /// Forget it.
    Drop,
}

impl Verdict {
    /// The bin that the dialogue goes to.
    pub fn bin(self) -> Option<usize> {
        match self {
            Verdict::Store(bin) | Verdict::Replace(bin) => Some(bin),
            Verdict::Drop => None,
        }
    }
}

/// What every policy is given besides the buffer and the candidate.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Of every draw.
    pub seed: u64,
    /// Takes the dissimilarity of buffered dialogues as it was when they arrived, instead of
    /// against the buffer as it is.
    pub frozen: bool,
    /// [`scratch_len`] floats.
    pub scratch: &'a mut [f32],
}

/// The floats of scratch memory that a decision over `bins` bins and embeddings of `dim` needs.
pub const fn scratch_len(bins: usize, dim: usize) -> usize {
    2 * dim + bins + 1
}

/// A policy: its name and its rule for a full buffer.
#[derive(Debug)]
pub struct Policy {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Decides when no bin is free and there is one at least.
    full: fn(&mut dyn Buffer, &Candidate<'_>, &mut Setting<'_>) -> Result<Verdict, Error>,
}

impl Policy {
    /// The policy of that name.
    pub fn named(name: &str) -> Option<&'static Policy> {
        ALL.into_iter().find(|policy| policy.name == name)
    }

    /// Decides where `candidate` goes. The same buffer, candidate and seed give the same verdict.
    ///
    /// # Errors
    /// If the scratch memory is too small or a buffered embedding cannot be read.
    pub fn decide(
        &self,
        buffer: &mut dyn Buffer,
        candidate: &Candidate<'_>,
        setting: &mut Setting<'_>,
    ) -> Result<Verdict, Error> {
        let needed = scratch_len(buffer.bins(), candidate.embedding.len());
        if setting.scratch.len() < needed {
            return Err(Error::Scratch { needed, available: setting.scratch.len() });
        }
        match (0..buffer.bins()).find(|&bin| buffer.entry(bin).is_none()) {
            Some(free) => Ok(Verdict::Store(free)),
            None if buffer.bins() == 0 => Ok(Verdict::Drop),
            None => (self.full)(buffer, candidate, setting),
        }
    }
}

/// A number in `0..below`, at least 1, for draw `k` at `arrival`.
fn draw(seed: u64, arrival: u64, k: u64, below: u64) -> u64 {
    let bits = rng::hash(&[seed, arrival, k]);
    ((u128::from(bits) * u128::from(below)) >> 64) as u64
}

/// One bin, each with the same chance, of those it was offered.
struct Choice {
    seed: u64,
    arrival: u64,
    offered: u64,
    bin: Option<usize>,
}

impl Choice {
    fn new(setting: &Setting<'_>, candidate: &Candidate<'_>) -> Self {
        Choice { seed: setting.seed, arrival: candidate.arrival, offered: 0, bin: None }
    }

    /// The k-th offer takes the place of the choice so far with chance 1 / k.
    fn offer(&mut self, bin: usize) {
        self.offered += 1;
        if draw(self.seed, self.arrival, self.offered, self.offered) == 0 {
            self.bin = Some(bin);
        }
    }

    fn verdict(self) -> Verdict {
        self.bin.map_or(Verdict::Drop, Verdict::Replace)
    }
}

/// Replaces one at random of the entries for which `beaten` holds.
fn replace_one_of(
    buffer: &dyn Buffer,
    candidate: &Candidate<'_>,
    setting: &Setting<'_>,
    beaten: impl Fn(&Entry) -> bool,
) -> Verdict {
    let mut choice = Choice::new(setting, candidate);
    for bin in 0..buffer.bins() {
        if buffer.entry(bin).is_some_and(|entry| beaten(&entry)) {
            choice.offer(bin);
        }
    }
    choice.verdict()
}

/// Replaces one at random of the entries for which `beaten` holds and that the candidate beats on
/// dissimilarity too. Reads the embeddings of each domain in question at most twice.
fn replace_one_less_dissimilar(
    buffer: &mut dyn Buffer,
    candidate: &Candidate<'_>,
    setting: &mut Setting<'_>,
    beaten: impl Fn(&Entry) -> bool,
) -> Result<Verdict, Error> {
    let ours = candidate.scores.dissimilarity;
    if setting.frozen {
        return Ok(replace_one_of(buffer, candidate, setting, |entry| {
            beaten(entry) && ours > entry.scores.dissimilarity
        }));
    }
    let mut choice = Choice::new(setting, candidate);
    let dim = candidate.embedding.len();
    let (sum, rest) = setting.scratch.split_at_mut(dim);
    let embedding = &mut rest[..dim];
    let beaten_domain = |buffer: &dyn Buffer, bin| {
        buffer.entry(bin).filter(|entry| beaten(entry)).map(|entry| entry.scores.domain)
    };
    for first in 0..buffer.bins() {
        // Each domain once, at its first beaten entry.
        let Some(domain) = beaten_domain(buffer, first) else { continue };
        if (0..first).any(|bin| beaten_domain(buffer, bin) == Some(domain)) {
            continue;
        }
        let peers = peers(buffer, domain, sum, embedding)?;
        for bin in first..buffer.bins() {
            if beaten_domain(buffer, bin) == Some(domain) {
                buffer.embedding(bin, embedding)?;
                if ours > peers.dissimilarity_of_member(embedding) {
                    choice.offer(bin);
                }
            }
        }
    }
    Ok(choice.verdict())
}

#[cfg(test)]
mod tests;
