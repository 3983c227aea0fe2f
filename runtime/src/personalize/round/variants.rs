//! The questions that a round has the model write, each beside the dialogue that it came from.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Phase, Task};
use crate::dialogue::{Dialogue, Role};
use crate::engine::Engine;
use crate::personalize::synthesise::{Variant, synthesise};
use crate::personalize::{Error, Rounds};
use crate::progress::Progress;
use crate::state::{self, State};

/// A sample that synthesis was tried for: a line of `synthesised.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Tried {
    arrival: u64,
    variants: Vec<Variant>,
}

impl Task {
    /// The variants of all living samples; new ones are synthesised for samples that were never tried.
    ///
    /// # Errors
    /// If the model or a file fails; [`Error::Stopped`] if it was told to stop, what it wrote is kept.
    pub fn synthesise(&mut self, engine: Engine, rounds: Rounds) -> Result<(), Error> {
        let Self { held, tried, report, vault, .. } = self;
        let living: HashSet<u64> = held.iter().map(|held| held.arrival).collect();
        *tried = state::read_json_lines(vault, state::SYNTHESISED)?;
        tried.retain(|one| living.contains(&one.arrival));
        let known: HashSet<u64> = tried.iter().map(|one| one.arrival).collect();
        let fresh: Vec<_> = held.iter().filter(|held| !known.contains(&held.arrival)).collect();
        let mut session = engine.session(self.current.as_ref());
        let mut progress = Progress::new("synthesise", fresh.len());
        let mut stopped = None;
        for (done, held) in fresh.iter().enumerate() {
            stopped = rounds.pace.stop.cause();
            if stopped.is_some() {
                break;
            }
            rounds.tell(Phase::Synthesise(done, fresh.len()));
            let question = held.dialogue.question().iter().rev().find(|m| m.role == Role::User);
            let variants = match question {
                Some(question) if rounds.plan.synth > 0 => synthesise(
                    &mut session,
                    held.arrival,
                    &question.content,
                    rounds.plan.synth,
                    self.seed,
                    &mut report.rejected,
                )?,
                _ => Vec::new(),
            };
            report.synth_kept += variants.len() as u64;
            progress.advance(1, 0);
            tried.push(Tried { arrival: held.arrival, variants });
        }
        state::write_json_lines(vault, state::SYNTHESISED, tried)?;
        stopped.map_or(Ok(()), |cause| Err(Error::Stopped(cause)))
    }

    /// Counts in the record what was synthesised.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub fn count(&self, state: &mut State) -> Result<(), Error> {
        state.record.synth_kept += self.report.synth_kept;
        state.record.synth_rejected += self.report.rejected.total();
        Ok(state.save()?)
    }

    /// `dialogues`, each followed by itself with every question that was written for it.
    pub(super) fn with_variants<'d>(
        &self,
        dialogues: impl Iterator<Item = (u64, &'d Dialogue)>,
    ) -> Vec<Dialogue> {
        let tried: HashMap<u64, &Tried> = self.tried.iter().map(|one| (one.arrival, one)).collect();
        let mut all = Vec::new();
        for (arrival, dialogue) in dialogues {
            all.push(dialogue.clone());
            let variants = tried.get(&arrival).map_or(&[][..], |tried| &tried.variants);
            all.extend(variants.iter().map(|variant| with_question(dialogue, &variant.question)));
        }
        all
    }
}

/// `dialogue` with another last user message before its response.
pub(super) fn with_question(dialogue: &Dialogue, question: &str) -> Dialogue {
    let mut variant = dialogue.clone();
    let before = dialogue.question().len();
    let last = variant.messages[..before].iter_mut().rev().find(|m| m.role == Role::User);
    if let Some(message) = last {
        message.content = question.into();
    }
    variant
}
