//! Synthesis: the model itself writes questions that are similar to an annotated one; the response
//! is kept, and a ROUGE-1 gate discards what is too far or too near (Qin et al., DAC 2024, Fig. 1).
//!
//! ```text
//! question ─ prompt ─> model ─ "[ ... ]" ─> brackets? ─> ROUGE-1 in 0.3..=0.95? ─> new question
//! ```

use homespun_core::sampler;
use serde::{Deserialize, Serialize};

use super::evaluate::rouge1;
use crate::builtin::SYNTHESIS_PROMPT;
use crate::dialogue::{Message, Role};
use crate::engine::{Error, Sampling, Session};

/// Questions less like the original than this are another matter.
pub const LEAST: f64 = 0.3;
/// Questions more like the original than this teach nothing new.
pub const MOST: f64 = 0.95;

/// Bytes before the bracket after which a model is taken not to follow the instruction.
const PREAMBLE: usize = 160;

/// A synthesised question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// The new last user message.
    pub question: String,
    /// ROUGE-1 F1 against the original question.
    pub rouge1: f64,
}

/// Why a question was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// No `[ ... ]` in the reply, or nothing in it.
    NoBrackets,
    /// Below [`LEAST`].
    TooFar,
    /// Above [`MOST`].
    TooNear,
    /// Written before for the same sample.
    Repeated,
}

/// How many questions were rejected, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// See [`Rejection::NoBrackets`].
    pub no_brackets: u64,
    /// See [`Rejection::TooFar`].
    pub too_far: u64,
    /// See [`Rejection::TooNear`].
    pub too_near: u64,
    /// See [`Rejection::Repeated`].
    pub repeated: u64,
}

impl Rejected {
    /// Counts one.
    pub fn count(&mut self, rejection: Rejection) {
        match rejection {
            Rejection::NoBrackets => self.no_brackets += 1,
            Rejection::TooFar => self.too_far += 1,
            Rejection::TooNear => self.too_near += 1,
            Rejection::Repeated => self.repeated += 1,
        }
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        self.no_brackets + self.too_far + self.too_near + self.repeated
    }
}

/// Whether a reply that begins with `text` is worth finishing: its brackets are not closed yet, and
/// where none was opened, there is still hope.
fn may_still_pass(text: &str) -> bool {
    match text.split_once('[') {
        Some((_, inside)) => !inside.contains(']'),
        None => text.len() < PREAMBLE,
    }
}

/// What is between the first `[` and the `]` after it.
fn bracketed(reply: &str) -> Option<&str> {
    let inside = reply.split_once('[')?.1.split_once(']')?.0.trim();
    (!inside.is_empty()).then_some(inside)
}

/// The gate: the new question and its ROUGE-1, or why there is none.
///
/// # Errors
/// The reason for rejecting it.
pub fn gate<'r>(original: &str, reply: &'r str) -> Result<(&'r str, f64), Rejection> {
    let question = bracketed(reply).ok_or(Rejection::NoBrackets)?;
    let score = rouge1(original, question);
    match score {
        s if s < LEAST => Err(Rejection::TooFar),
        s if s > MOST => Err(Rejection::TooNear),
        s => Ok((question, s)),
    }
}

/// Asks the model for `sets` questions similar to `question`, one try each.
///
/// # Errors
/// If the model fails.
pub fn synthesise(
    session: &mut Session,
    arrival: u64,
    question: &str,
    sets: usize,
    seed: u64,
    rejected: &mut Rejected,
) -> Result<Vec<Variant>, Error> {
    let prompt = [Message::new(Role::User, format!("{SYNTHESIS_PROMPT}{question}"))];
    let mut variants: Vec<Variant> = Vec::with_capacity(sets);
    for set in 0..sets {
        let draw = sampler::Sampling { temperature: 0.7, top_p: 0.95, ..Default::default() };
        let sampling = Sampling {
            max_tokens: 2 * question.len().div_ceil(3) + 16,
            draw,
            seed: homespun_core::rng::hash(&[seed, arrival, set as u64]),
        };
        let (reply, _) =
            session.reply_while(&prompt, &sampling, usize::MAX, &mut may_still_pass)?;
        match gate(question, &reply) {
            Err(rejection) => rejected.count(rejection),
            Ok((text, _)) if variants.iter().any(|v| v.question == text) => {
                rejected.count(Rejection::Repeated);
            }
            Ok((text, rouge1)) => {
                variants.push(Variant { question: text.into(), rouge1 });
            }
        }
    }
    Ok(variants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_keeps_what_is_similar_and_says_why_it_rejects() {
        let original = "what tea do you like in the morning";
        let kept = gate(original, "Sure: [which tea do you like in the evening] ok").unwrap();
        assert_eq!(kept.0, "which tea do you like in the evening");
        assert!((LEAST..=MOST).contains(&kept.1));
        assert_eq!(gate(original, "which tea"), Err(Rejection::NoBrackets));
        assert_eq!(gate(original, "[  ]"), Err(Rejection::NoBrackets));
        assert_eq!(gate(original, "[which tea"), Err(Rejection::NoBrackets));
        assert_eq!(gate(original, "[How far is Rome?]"), Err(Rejection::TooFar));
        assert_eq!(gate(original, &format!("[{original}?]")), Err(Rejection::TooNear));
    }

    #[test]
    fn a_reply_is_cut_once_it_is_decided() {
        assert!(may_still_pass("Sure, here it is: "));
        assert!(may_still_pass("[which tea"));
        assert!(!may_still_pass("[which tea] and"));
        assert!(!may_still_pass(&"no bracket at all ".repeat(10)));
    }

    #[test]
    fn every_rejection_is_counted_once() {
        let mut rejected = Rejected::default();
        for rejection in
            [Rejection::NoBrackets, Rejection::TooFar, Rejection::TooNear, Rejection::Repeated]
        {
            rejected.count(rejection);
        }
        assert_eq!(rejected, Rejected { no_brackets: 1, too_far: 1, too_near: 1, repeated: 1 });
        assert_eq!(rejected.total(), 4);
    }
}
