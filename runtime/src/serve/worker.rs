//! The one thread that computes: it writes replies in turn, observes what was talked about, and learns.
//!
//! ```text
//! reply   the session whose cache shares most with the conversation goes on from there; a client that
//!         has gone ends it
//! talk    a conversation that grows is one dialogue; after a silence, or when it is pushed out by
//!         others, it is offered to the buffer
//! round   after it every session begins anew with the new adapter
//! ```
//! While a round runs, replies wait for it.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::openai::{Asked, Finish, Usage};
use super::queue::{Next, Queue};
use super::status::Status;
use super::stop::Filter;
use crate::dialogue::{Dialogue, Message, Role};
use crate::engine::{Base, Engine, Session};
use crate::live::Live;
use crate::personalize::annotate::Question;
use crate::personalize::presets::Plan;
use crate::personalize::round::Report;
use crate::personalize::{Error, Rounds};
use crate::state::queue::Answer;
use crate::tune::pace::Pace;

/// How long the worker waits before it looks for talks that have ended.
const LOOK: Duration = Duration::from_millis(500);
/// Talks that are remembered at once.
const MOST_TALKS: usize = 64;

/// A reply that is asked for.
pub struct Job {
    /// What is asked for.
    pub asked: Asked,
    /// Where it goes.
    pub out: UnboundedSender<Event>,
}

/// What happens to a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The next piece.
    Text(String),
    /// It ended well.
    Ended(Finish, Usage),
    /// It did not.
    Failed(String),
}

/// What is answered to an errand: nothing where the server ends before.
pub type Reply<T> = oneshot::Sender<Result<T, String>>;

/// What is done between two replies.
pub enum Errand {
    /// A dialogue that waits for the person's word.
    Ask(Reply<Option<Question>>),
    /// The person's word on a dialogue; whether it is still there.
    Annotate(u64, Answer, Reply<bool>),
    /// A dialogue is to be forgotten; whether there was something of it.
    Forget(u64, Reply<bool>),
    /// Learn now.
    Round(Reply<Report>),
}

/// The queue of a server.
pub type Work = Queue<Job, Errand>;

/// What the worker works with.
pub struct Worker<'e> {
    /// The base.
    pub base: &'e Base,
    /// What writes replies.
    pub engine: Engine<'e>,
    /// The person.
    pub live: Live<'e>,
    /// How rounds learn, and when they stop.
    pub plan: &'e Plan,
    /// When a round stops.
    pub pace: Pace<'e>,
    /// Sessions, each with a cache of its own.
    pub sessions: usize,
    /// A talk has ended after so long without a word.
    pub idle: Duration,
    /// What the server tells of itself.
    pub status: Arc<Status>,
}

/// A conversation that may go on.
struct Talk {
    messages: Vec<Message>,
    touched: Instant,
}

impl Worker<'_> {
    /// Works until the queue is closed and empty.
    ///
    /// # Errors
    /// If the state fails; a reply that fails is told to who asked.
    pub fn run(mut self, work: &Work) -> Result<(), Error> {
        let mut talks: Vec<Talk> = Vec::new();
        loop {
            let adapter = self.live.adapter()?;
            let engine = self.engine;
            let mut sessions: Vec<(Session<'_>, Instant)> = (0..self.sessions.max(1))
                .map(|_| (engine.session(adapter.as_ref()), Instant::now()))
                .collect();
            self.status.describe(&self.live);
            loop {
                match work.next(LOOK) {
                    Next::Request(job) => {
                        self.reply(job, &mut sessions, &mut talks);
                        self.status.replies.fetch_add(1, Ordering::Relaxed);
                    }
                    Next::Errand(errand) => {
                        if self.errand(errand) {
                            break;
                        }
                    }
                    Next::Idle => {}
                    Next::Closed => {
                        self.observe(&mut talks, |_| true)?;
                        return Ok(());
                    }
                }
                let idle = self.idle;
                self.observe(&mut talks, |talk| talk.touched.elapsed() >= idle)?;
            }
        }
    }

    /// Does an errand; whether the adapter is another now.
    fn errand(&mut self, errand: Errand) -> bool {
        // Who asked may have gone: then nobody hears the answer.
        let said = |error: Error| error.to_string();
        match errand {
            Errand::Ask(reply) => {
                let _ = reply.send(self.live.question().map_err(said));
            }
            Errand::Annotate(arrival, answer, reply) => {
                let _ = reply.send(self.live.annotate(arrival, &answer).map_err(said));
            }
            Errand::Forget(arrival, reply) => {
                let forgotten = self.live.forget(arrival);
                let changed = forgotten.as_ref().is_ok_and(|forgotten| forgotten.adapters > 0);
                let _ = reply.send(forgotten.map(|one| !one.is_nothing()).map_err(said));
                self.status.describe(&self.live);
                return changed;
            }
            Errand::Round(reply) => {
                self.status.phase("round");
                let report = self.live.round(Rounds { plan: self.plan, pace: self.pace });
                self.status.phase("talk");
                let changed = report.as_ref().is_ok_and(|report| report.installed);
                let _ = reply.send(report.map_err(said));
                self.status.describe(&self.live);
                return changed;
            }
        }
        self.status.describe(&self.live);
        false
    }

    /// Writes one reply, and remembers the talk.
    fn reply(&mut self, job: Job, sessions: &mut [(Session<'_>, Instant)], talks: &mut Vec<Talk>) {
        let Job { asked, out } = job;
        // Who asked has gone: nobody would hear it.
        if out.is_closed() {
            return;
        }
        let written = self.write(&asked, &out, sessions);
        let (text, finish, usage) = match written {
            Ok(written) => written,
            Err(error) => {
                let _ = out.send(Event::Failed(error.to_string()));
                return;
            }
        };
        let _ = out.send(Event::Ended(finish, usage));
        let mut messages = asked.messages;
        messages.push(Message::new(Role::Assistant, text.trim()));
        // What it goes on from is one dialogue with it.
        talks.retain(|talk| !messages.starts_with(&talk.messages));
        talks.push(Talk { messages, touched: Instant::now() });
    }

    fn write(
        &mut self,
        asked: &Asked,
        out: &UnboundedSender<Event>,
        sessions: &mut [(Session<'_>, Instant)],
    ) -> Result<(String, Finish, Usage), crate::engine::Error> {
        let ids = self.base.prompt(&asked.messages, self.engine.room(asked.sampling.max_tokens))?;
        let best = (0..sessions.len()).max_by_key(|&i| {
            let (session, used) = &sessions[i];
            (session.shared(&ids), core::cmp::Reverse(*used))
        });
        let (session, used) = &mut sessions[best.unwrap_or(0)];
        *used = Instant::now();
        self.status.prompt_tokens.fetch_add(ids.len() as u64, Ordering::Relaxed);
        self.status.reused_tokens.fetch_add(session.shared(&ids) as u64, Ordering::Relaxed);
        let mut stream = self.base.tokenizer().stream();
        let mut filter = Filter::new(asked.stop.clone());
        let (mut text, mut count, mut stopped) = (String::new(), 0, false);
        let send = |piece: &str, text: &mut String| {
            text.push_str(piece);
            piece.is_empty() || out.send(Event::Text(piece.to_owned())).is_ok()
        };
        let new = session.generate(&ids, &asked.sampling, &mut |token| {
            count += 1;
            let (sure, ends) = filter.push(&stream.push(token)?);
            stopped = ends;
            Ok(send(&sure, &mut text) && !ends)
        })?;
        if !stopped {
            let (sure, ends) = filter.push(&stream.finish()?);
            send(&sure, &mut text);
            if !ends {
                send(&filter.finish(), &mut text);
            }
        }
        self.status.reply_tokens.fetch_add(count as u64, Ordering::Relaxed);
        // It wrote as many as it might, and did not end by itself.
        let whole = !stopped && new.len() >= asked.sampling.max_tokens;
        let finish = if whole { Finish::Length } else { Finish::Stop };
        let usage = Usage {
            prompt_tokens: ids.len(),
            completion_tokens: count,
            total_tokens: ids.len() + count,
        };
        Ok((text, finish, usage))
    }

    /// Offers the talks that have ended, and the oldest where there are too many.
    fn observe(
        &mut self,
        talks: &mut Vec<Talk>,
        ended: impl Fn(&Talk) -> bool,
    ) -> Result<(), Error> {
        let mut at = 0;
        while at < talks.len() {
            if ended(&talks[at]) || talks.len() > MOST_TALKS {
                let talk = talks.remove(at);
                let observed = match self.live.observe(&Dialogue::new(talk.messages)) {
                    // One that the model cannot score is not a reason to fall silent.
                    Err(error @ Error::Engine(_)) => {
                        eprintln!("observed error={error}");
                        continue;
                    }
                    observed => observed?,
                };
                eprintln!("observed dialogue={} kept={}", observed.arrival, observed.is_kept());
                self.status.observed.fetch_add(1, Ordering::Relaxed);
                self.status.describe(&self.live);
            } else {
                at += 1;
            }
        }
        Ok(())
    }
}
