//! A conversation that is learned from.
//!
//! ```text
//! dialogue   from the first word to /new, /exit or a long silence; then it is offered to the buffer
//! /good      so far it is offered now, with its last reply accepted
//! /better    so far it is offered now, with what the reply should have been; the talk goes on from that
//! /forget    nothing is kept of it, nor of what was offered of it before
//! ```
//! What was offered is not offered again unless more was said. Lines on standard error have numbers, and
//! no text.

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::dialogue::{Dialogue, Message, Role};
use crate::live::Live;
use crate::personalize::presets::Plan;
use crate::personalize::round::Care;
use crate::personalize::{Error, Rounds};
use crate::state::forget::What;
use crate::state::now;
use crate::state::queue::Answer;
use crate::status::Status;
use crate::status::socket::{self, Telling};
use crate::tune::pace::{Every, Pace, Stop};
use crate::tune::rest::Limits;

pub(super) struct Talk<'e> {
    live: Live<'e>,
    opening: Vec<Message>,
    messages: Vec<Message>,
    /// Messages of this dialogue that were offered, and as which arrivals.
    offered: usize,
    arrivals: Vec<u64>,
    plan: &'e Plan,
    care: Care<'e>,
    status: Arc<Status>,
    _telling: Option<Telling>,
}

impl<'e> Talk<'e> {
    pub(super) fn new(
        live: Live<'e>,
        opening: Vec<Message>,
        plan: &'e Plan,
        care: Care<'e>,
    ) -> Self {
        let messages = opening.clone();
        let (offered, arrivals) = (opening.len(), Vec::new());
        let status = Arc::new(Status::default());
        status.describe(&live);
        let told = Arc::clone(&status);
        // Without it nobody can look on, which is no reason not to talk.
        let _telling = socket::tell(live.state().root(), move || told.json(0)).ok();
        Self { live, opening, messages, offered, arrivals, plan, care, status, _telling }
    }

    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(super) fn adapter(&self) -> Result<Option<Adapter>, Error> {
        self.live.adapter()
    }

    pub(super) fn ask(&mut self, text: &str) {
        self.messages.push(Message::new(Role::User, text));
    }

    pub(super) fn replied(&mut self, reply: String) {
        self.messages.push(Message::new(Role::Assistant, reply));
    }

    /// Whether something was said that was not offered yet.
    pub(super) fn is_open(&self) -> bool {
        self.messages.len() > self.offered
    }

    /// Ends the dialogue: offers it, and begins the next.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if self.is_open() {
            self.offer(None)?;
        }
        self.begin();
        Ok(())
    }

    pub(super) fn good(&mut self) -> Result<(), Error> {
        self.judge(Answer::Accept)
    }

    pub(super) fn better(&mut self, text: &str) -> Result<(), Error> {
        if text.is_empty() {
            eprintln!("/better: what would have been better?");
            return Ok(());
        }
        self.judge(Answer::Preferred(text.to_owned()))
    }

    /// Forgets this dialogue, and what was learned of it; whether there is another adapter now.
    pub(super) fn forget(&mut self) -> Result<bool, Error> {
        let mut adapters = 0;
        for arrival in core::mem::take(&mut self.arrivals) {
            adapters += self.live.forget(&What::Ids(vec![arrival]))?.adapters;
        }
        self.begin();
        let learned = if adapters > 0 { ", nor what was learned of it" } else { "" };
        eprintln!("nothing of this dialogue is kept{learned}");
        Ok(adapters > 0)
    }

    /// Learns; whether there is a new adapter.
    pub(super) fn learn(&mut self) -> Result<bool, Error> {
        let stop = Stop::never();
        let limits = Limits::NONE;
        let pace = Pace { every: Every::default(), any_isa: false, limits, stop: &stop };
        let status = Arc::clone(&self.status);
        let tell = |phase| status.progress(phase);
        let care = Care { tell: Some(&tell), ..self.care };
        self.status.begin_round();
        let report = self.live.round(Rounds { plan: self.plan, pace, care });
        self.status.end_round();
        self.status.describe(&self.live);
        let report = report?;
        let what = match report.why {
            None if report.installed => "a new adapter".to_owned(),
            None => "no new adapter".to_owned(),
            Some(why) => format!("no new adapter: {why}"),
        };
        eprintln!(
            "learned from {} dialogues, loss {:.3} -> {:.3}, {what}",
            report.learned_from, report.loss_before, report.loss_after,
        );
        Ok(report.installed)
    }

    /// Offers the dialogue so far with the person's word on its last reply.
    fn judge(&mut self, answer: Answer) -> Result<(), Error> {
        if self.messages.last().is_none_or(|message| message.role != Role::Assistant) {
            eprintln!("there is no reply to judge yet");
            return Ok(());
        }
        self.offer(Some(&answer))?;
        if let (Answer::Preferred(text), Some(last)) = (answer, self.messages.last_mut()) {
            last.content = text;
        }
        Ok(())
    }

    fn offer(&mut self, answer: Option<&Answer>) -> Result<(), Error> {
        let dialogue = Dialogue::new(self.messages.clone());
        let is_offered = self.messages.len() == self.offered;
        let offered = is_offered.then(|| self.arrivals.last().copied()).flatten();
        let (arrival, kept) = match offered {
            // It was offered as it is: what the person says of it changes.
            Some(arrival) => (arrival, true),
            None => {
                let observed = match answer {
                    Some(answer) => self.live.judge(&dialogue, answer, now())?,
                    None => self.live.observe(&dialogue)?,
                };
                self.arrivals.push(observed.arrival);
                self.offered = self.messages.len();
                self.status.observed(observed.arrival, observed.is_kept());
                (observed.arrival, observed.is_kept())
            }
        };
        let noted = match (answer, offered) {
            (Some(answer), Some(_)) => self.live.annotate(arrival, answer, now())?,
            (answer, _) => kept && answer.is_some(),
        };
        self.status.describe(&self.live);
        let what = match (kept, answer, noted) {
            (true, Some(_), true) => "kept, with what you said of it",
            (true, None, _) => "kept",
            _ => "not kept, the buffer has better ones",
        };
        eprintln!("dialogue {arrival}: {what}; {} wait for your word", self.live.waiting());
        Ok(())
    }

    fn begin(&mut self) {
        self.messages.clone_from(&self.opening);
        self.offered = self.opening.len();
        self.arrivals.clear();
    }
}
