//! What a round is held to, and what it says of itself.

use core::fmt;
use core::time::Duration;

use crate::personalize::general::General;
use crate::personalize::synthesise::Rejected;
use crate::state::now;
use crate::state::rounds::{Epoch, Row, Shown};

/// How much worse the loss on general dialogues may get: a twentieth of it, or of one nat a token where
/// it is below that (a twentieth of the perplexity, nearly).
const WORSE: f64 = 0.05;

/// How a round is kept from doing harm, and what it tells meanwhile.
#[derive(Clone, Copy, Default)]
pub struct Care<'a> {
    /// General dialogues, some of which are rehearsed; the loss on the others may not rise by more than
    /// a twentieth. `None` installs whatever fits the person better.
    pub general: Option<&'a General>,
    /// How long it may train; then the best epoch so far counts.
    pub budget: Option<Duration>,
    /// Of how many dialogues it compares the replies before and after.
    pub shown: usize,
    /// Hears how far it is.
    pub tell: Option<&'a (dyn Fn(Phase) + Sync)>,
}

/// How far a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It writes questions: so many dialogues are done, of so many.
    Synthesise(usize, usize),
    /// It trains: so many steps are done, of so many.
    Train(usize, usize),
    /// It compares replies: so many are written, of so many.
    Compare(usize, usize),
}

/// Why there is no new adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// The buffer has no annotated dialogue.
    NothingAnnotated,
    /// No annotation since the round before.
    NothingNew,
    /// What is annotated has no token to learn.
    NoTarget,
    /// The loss, before and after, did not fall: on what was held out, or on what it learned from.
    NotBetter {
        /// Whether it was held out.
        held_out: bool,
        /// Before.
        before: f64,
        /// After.
        after: f64,
    },
    /// ROUGE-1 of the replies to held-out questions fell.
    Rouge {
        /// Before.
        before: f64,
        /// After.
        after: f64,
    },
    /// The loss on general dialogues rose too much.
    General {
        /// Before.
        before: f64,
        /// After.
        after: f64,
    },
    /// Replies fit their own questions no better than others, so what was learned has nothing to do with
    /// what is asked.
    Unrelated {
        /// Loss after their own questions.
        own: f64,
        /// And after others.
        other: f64,
    },
    /// A step was not finite.
    NonFinite {
        /// The step, from 1.
        step: usize,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Why::NothingAnnotated => f.write_str("no annotations, so nothing to learn from"),
            Why::NothingNew => f.write_str("no new annotations, so nothing to learn from"),
            Why::NoTarget => {
                f.write_str("no annotated dialogue has a token to learn, so nothing to learn from")
            }
            Why::NotBetter { held_out, before, after } => {
                let what = if held_out { "held-out annotations" } else { "what it learned from" };
                write!(f, "the loss on {what} did not fall: {before:.3} -> {after:.3}")
            }
            Why::Rouge { before, after } => {
                write!(f, "ROUGE-1 of held-out replies fell: {before:.3} -> {after:.3}")
            }
            Why::General { before, after } => write!(
                f,
                "the loss on general dialogues rose by more than {:.0}%: {before:.3} -> {after:.3}",
                100.0 * WORSE
            ),
            Why::Unrelated { own, other } => write!(
                f,
                "replies fit their own questions no better than others: loss {own:.3}, {other:.3}"
            ),
            Why::NonFinite { step } => write!(
                f,
                "step {step}: the loss, its gradient or the adapter was not finite; a lower --lr \
                 may help"
            ),
        }
    }
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Requests made.
    pub asked: u64,
    /// Annotated dialogues that it learned from.
    pub learned_from: usize,
    /// Synthesised questions that the gate kept, in this round.
    pub synth_kept: u64,
    /// And those it rejected.
    pub rejected: Rejected,
    /// Training steps.
    pub steps: usize,
    /// Loss on what was held out (on all of it, where nothing was) before the round.
    pub loss_before: f64,
    /// And with the adapter that was installed.
    pub loss_after: f64,
    /// Whether there is a new adapter.
    pub installed: bool,
    /// The share of what was learned that was taken; the rest would have cost too much in general.
    pub share: f64,
    /// Why there is none, where that is known.
    pub why: Option<Why>,
    /// The generation of the adapter, installed or kept aside.
    pub generation: Option<u64>,
    /// Loss on general dialogues before and after.
    pub general: Option<(f64, f64)>,
    /// Mean ROUGE-1 of the replies that were compared, before and after, if they were held out.
    pub rouge1: Option<(f64, f64)>,
    /// Losses after each epoch, where they were taken.
    pub curve: Vec<Epoch>,
    /// Replies before and after.
    pub replies: Vec<Shown>,
    /// How long it took, since it began or went on.
    pub seconds: f64,
    /// Energy of the machine meanwhile, where a sensor tells.
    pub joules: Option<f64>,
}

impl Report {
    /// As it is written down, now, as the round of that number.
    pub fn row(&self, round: u64) -> Row {
        Row {
            round,
            at: now(),
            generation: self.generation,
            learned_from: self.learned_from,
            synthesised: self.synth_kept,
            steps: self.steps,
            share: self.share,
            seconds: self.seconds,
            joules: self.joules,
            loss_before: self.loss_before,
            loss_after: self.loss_after,
            general_before: self.general.map(|(before, _)| before),
            general_after: self.general.map(|(_, after)| after),
            rouge1_before: self.rouge1.map(|(before, _)| before),
            rouge1_after: self.rouge1.map(|(_, after)| after),
            installed: self.installed,
            why: self.why.map(|why| why.to_string()),
            curve: self.curve.clone(),
            replies: self.replies.clone(),
        }
    }
}

/// The highest loss on general dialogues that is well, where it was `before`.
pub(super) fn limit(before: f64) -> f64 {
    before + WORSE * before.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twentieth_of_the_loss_or_of_a_nat_is_the_limit() {
        assert!((limit(3.0) - 3.15).abs() < 1e-12);
        assert!((limit(0.07) - 0.12).abs() < 1e-12);
        assert!(limit(f64::NAN).is_nan());
    }
}
