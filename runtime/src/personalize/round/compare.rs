//! Replies before and after a round, to the same questions: what the person sees of it.

use super::{Outcome, Phase, Task, Why};
use crate::adapter::Adapter;
use crate::engine::{Engine, Sampling};
use crate::personalize::buffer::Held;
use crate::personalize::evaluate::rouge1;
use crate::personalize::{Error, Rounds};
use crate::state::rounds::Shown;

/// Tokens of a reply that is compared, at most.
const TOKENS: usize = 64;

/// ROUGE-1 of so few replies moves by as much without a reason.
const NOISE: f64 = 0.02;

impl Task {
    /// Writes replies to questions of `dialogues` with the current adapter and with what was trained.
    pub(super) fn compare(
        &mut self,
        engine: Engine,
        dialogues: &[Held],
        held_out: bool,
        rounds: Rounds,
    ) -> Result<(), Error> {
        let Outcome::Adapter(trained) = &self.outcome else { return Ok(()) };
        let limit = rounds.plan.max_length;
        let fits = |one: &&Held| engine.base().prompt(one.dialogue.question(), limit).is_ok();
        let has_reply = |one: &&Held| one.dialogue.target_response().is_some();
        let shown: Vec<&Held> =
            dialogues.iter().filter(has_reply).filter(fits).take(rounds.care.shown).collect();
        let mut done = 0;
        let mut write = |adapter: Option<&Adapter>| -> Result<Vec<String>, Error> {
            let sampling = Sampling::greedy(rounds.plan.reply_tokens.min(TOKENS));
            let mut session = engine.session(adapter);
            let mut replies = Vec::new();
            for one in &shown {
                if let Some(cause) = rounds.pace.stop.cause() {
                    return Err(Error::Stopped(cause));
                }
                rounds.tell(Phase::Compare(done, 2 * shown.len()));
                done += 1;
                replies.push(session.reply(one.dialogue.question(), &sampling, limit)?.0);
            }
            Ok(replies)
        };
        let (before, after) = (write(self.current.as_ref())?, write(Some(trained))?);
        let rows = shown.iter().zip(before.into_iter().zip(after));
        self.report.replies = rows
            .map(|(one, (before, after))| Shown {
                id: one.arrival,
                held_out,
                question: one.question_text().to_owned(),
                wanted: one.dialogue.target_response().unwrap_or_default().to_owned(),
                before,
                after,
            })
            .collect();
        let replies = &self.report.replies;
        if held_out && !replies.is_empty() {
            let mean = |reply: fn(&Shown) -> &str| {
                let scores = replies.iter().map(|one| rouge1(&one.wanted, reply(one)));
                scores.sum::<f64>() / replies.len() as f64
            };
            let (before, after) = (mean(|one| &one.before), mean(|one| &one.after));
            self.report.rouge1 = Some((before, after));
            // A loss can fall where replies become worse.
            let fell = after < before - NOISE;
            if self.report.why.is_none() && rounds.care.general.is_some() && fell {
                self.report.why = Some(Why::Rouge { before, after });
            }
        }
        Ok(())
    }
}
