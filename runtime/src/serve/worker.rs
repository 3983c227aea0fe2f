//! The one thread that talks: it writes replies in turn, and observes what was talked about.
//!
//! ```text
//! reply   the session whose cache shares most with the conversation goes on from there; a client that
//!         has gone ends it; who learns waits meanwhile
//! talk    a conversation that grows is one dialogue; after a silence, or when it is pushed out by
//!         others, it is offered to the buffer
//! errand  something with the person's state, between two replies
//! ```
//! When there is another adapter every session begins anew with it.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::learner::{Desk, lock};
use super::openai::{Asked, Finish, Usage};
use super::queue::{Next, Queue};
use super::stop::Filter;
use super::talks::Talks;
use crate::dialogue::{Dialogue, Message, Role};
use crate::engine::{self, Base, Engine, Session};
use crate::event::event;
use crate::live::{Kept, Live};
use crate::personalize::Error;
use crate::personalize::annotate::Question;
use crate::pool::gate::Gate;
use crate::state::forget::What;
use crate::state::now;
use crate::state::queue::Answer;
use crate::state::rounds::Row;
use crate::status::Status;
use crate::tune::pace::Stop;

/// How long the worker waits before it looks for talks that have ended.
const LOOK: Duration = Duration::from_millis(500);

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

/// What became of a dialogue that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Its arrival number.
    pub arrival: u64,
    /// Whether it is in the buffer.
    pub kept: bool,
    /// Whether what the person says of it is written down.
    pub noted: bool,
    /// Its domain.
    pub domain: Option<String>,
}

/// What is done between two replies.
pub enum Errand {
    /// A dialogue that waits for the person's word.
    Ask(Reply<Option<Question>>),
    /// The person's word on a dialogue; whether it is still there.
    Annotate(u64, Answer, Reply<bool>),
    /// A talk so far, and the person's word on its last reply.
    Offer(Vec<Message>, Option<Answer>, Reply<Offered>),
    /// Something is to be forgotten; whether there was something of it.
    Forget(What, Reply<bool>),
    /// What is in the buffer.
    Kept(Reply<Vec<Kept>>),
    /// What became of each round.
    Rounds(Reply<Vec<Row>>),
}

/// The queue of a server.
pub type Work = Queue<Job, Errand>;

/// What the worker works with.
pub struct Worker<'s, 'e> {
    /// The base.
    pub base: &'e Base,
    /// What writes replies.
    pub engine: Engine<'e>,
    /// The person.
    pub person: &'s Mutex<Live<'e>>,
    /// Who learns.
    pub desk: &'s Desk,
    /// What tells rounds to stop.
    pub learning: &'s Stop,
    /// Where who learns waits while it talks.
    pub gate: &'s Gate,
    /// Sessions, each with a cache of its own.
    pub sessions: usize,
    /// A talk has ended after so long without a word.
    pub idle: Duration,
    /// New questions to the person in a day.
    pub requests: usize,
    /// What the server tells of itself.
    pub status: Arc<Status>,
}

/// A session and when it was used.
type Used<'a> = (Session<'a>, Instant);

impl<'e> Worker<'_, 'e> {
    /// Works until the queue is closed and empty.
    ///
    /// # Errors
    /// If the state fails; a reply that fails is told to who asked.
    pub fn run(self, work: &Work) -> Result<(), Error> {
        let mut talks = Talks::default();
        let mut next = None;
        loop {
            let adapters = self.status.adapters.load(Ordering::Acquire);
            let adapter = {
                let person = lock(self.person);
                self.status.describe(&person);
                person.adapter()?
            };
            let mut sessions: Vec<Used<'_>> = (0..self.sessions.max(1))
                .map(|_| (self.engine.session(adapter.as_ref()), Instant::now()))
                .collect();
            loop {
                let now = next.take().unwrap_or_else(|| work.next(LOOK));
                if self.status.adapters.load(Ordering::Acquire) != adapters {
                    next = Some(now);
                    break;
                }
                match now {
                    Next::Request(job) => self.reply(job, &mut sessions, &mut talks),
                    Next::Errand(errand) => self.errand(errand, &mut talks),
                    Next::Idle => {}
                    Next::Closed => return self.observe(&mut talks, Duration::ZERO),
                }
                self.observe(&mut talks, self.idle)?;
            }
        }
    }

    /// Does an errand.
    fn errand(&self, errand: Errand, talks: &mut Talks) {
        // Who asked may have gone: then nobody hears the answer. Who hears it can ask for the status.
        let said = |error: Error| error.to_string();
        let describe = || self.status.describe(&lock(self.person));
        match errand {
            Errand::Ask(reply) => {
                let _ = reply.send(lock(self.person).question(now(), self.requests).map_err(said));
            }
            Errand::Annotate(arrival, answer, reply) => {
                let noted = lock(self.person).annotate(arrival, &answer, now());
                if noted.as_ref().is_ok_and(|noted| *noted) {
                    event("annotated", &[("dialogue", &arrival), ("answer", &kind(&answer))]);
                }
                describe();
                let _ = reply.send(noted.map_err(said));
            }
            Errand::Offer(messages, answer, reply) => {
                let offered = self.offer(messages, answer, talks);
                describe();
                let _ = reply.send(offered.map_err(said));
            }
            Errand::Forget(what, reply) => {
                let forgotten = {
                    // It may learn from what is to be forgotten.
                    let _halt = self.desk.halt(self.learning);
                    lock(self.person).forget(&what)
                };
                match &what {
                    What::Ids(ids) => ids.iter().for_each(|&id| talks.forget(Some(id))),
                    _ => talks.forget(None),
                }
                if let Ok(one) = &forgotten {
                    event("forgot", &[("dialogues", &one.samples), ("adapters", &one.adapters)]);
                    // Caches hold what was said, and adapters what was learned.
                    self.status.adapters.fetch_add(1, Ordering::Release);
                }
                describe();
                let all = what == What::All;
                let _ = reply.send(forgotten.map(|one| all || !one.is_nothing()).map_err(said));
            }
            Errand::Kept(reply) => {
                let _ = reply.send(Ok(lock(self.person).kept()));
            }
            Errand::Rounds(reply) => {
                let _ = reply.send(lock(self.person).rounds().map_err(said));
            }
        }
    }

    /// Offers a talk as far as it came, with the person's word on its last reply.
    fn offer(
        &self,
        messages: Vec<Message>,
        answer: Option<Answer>,
        talks: &mut Talks,
    ) -> Result<Offered, Error> {
        let _talking = self.gate.talk();
        let mut person = lock(self.person);
        if let Some(arrival) = talks.offered(&messages) {
            let noted = match &answer {
                Some(answer) => person.annotate(arrival, answer, now())?,
                None => false,
            };
            let domain = person.domain_of(arrival);
            return Ok(Offered { arrival, kept: domain.is_some(), noted, domain });
        }
        let dialogue = Dialogue::new(messages.clone());
        let observed = match &answer {
            Some(answer) => person.judge(&dialogue, answer, now())?,
            None => person.observe(&dialogue)?,
        };
        let (arrival, kept) = (observed.arrival, observed.is_kept());
        talks.offer(messages, arrival);
        self.status.observed(arrival, kept);
        let answer = answer.as_ref();
        event(
            "observed",
            &[("dialogue", &arrival), ("kept", &kept), ("answer", &answer.map_or("-", kind))],
        );
        let domain = Some(person.domain(&observed.scores));
        Ok(Offered { arrival, kept, noted: kept && answer.is_some(), domain })
    }

    /// Writes one reply, and remembers the talk.
    fn reply(&self, job: Job, sessions: &mut [Used<'_>], talks: &mut Talks) {
        let Job { asked, out } = job;
        // Who asked has gone: nobody would hear it.
        if out.is_closed() {
            return;
        }
        let written = {
            let _talking = self.gate.talk();
            self.write(&asked, &out, sessions)
        };
        self.status.replied();
        let (text, finish, usage) = match written {
            Ok(written) => written,
            Err(error) => {
                event("reply-failed", &[("why", &error)]);
                let _ = out.send(Event::Failed(error.to_string()));
                return;
            }
        };
        let _ = out.send(Event::Ended(finish, usage));
        let mut messages = asked.messages;
        messages.push(Message::new(Role::Assistant, text.trim()));
        talks.said(messages);
    }

    fn write(
        &self,
        asked: &Asked,
        out: &UnboundedSender<Event>,
        sessions: &mut [Used<'_>],
    ) -> Result<(String, Finish, Usage), engine::Error> {
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

    /// Offers the talks that have ended.
    fn observe(&self, talks: &mut Talks, idle: Duration) -> Result<(), Error> {
        while let Some(messages) = talks.ended(idle) {
            match self.offer(messages, None, talks) {
                // One that the model cannot score is not a reason to fall silent.
                Err(error @ Error::Engine(_)) => event("not-observed", &[("why", &error)]),
                offered => drop(offered?),
            }
            self.status.describe(&lock(self.person));
        }
        Ok(())
    }
}

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Accept => "accept",
        Answer::Skip => "skip",
        Answer::Preferred(_) => "preferred",
    }
}
