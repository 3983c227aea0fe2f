//! What learns, on a thread of its own: at a request, or once enough was annotated and nobody talks.
//!
//! ```text
//! route ── ask ──> desk ──> begin ─ synthesise ─ train ─ install ──> the answer
//! worker ─ halt ─> desk     (the person's state is taken at both ends alone)
//! ```
//! A forgetting halts a round, since it may learn from what is to be forgotten; what is left of it begins
//! again.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::worker::Reply;
use crate::engine::Engine;
use crate::event::event;
use crate::live::Live;
use crate::personalize::presets::{Plan, Trigger};
use crate::personalize::round::{Begun, Care, Phase, Report};
use crate::personalize::{Error, Rounds};
use crate::sensors::Sensors;
use crate::state::rounds::Row;
use crate::status::Status;
use crate::tune::pace::{Cause, Pace, Stop};

/// How long it waits before it looks whether a round is due.
const LOOK: Duration = Duration::from_millis(500);

/// A round runs already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Where rounds are asked for, and halted.
#[derive(Default)]
pub struct Desk {
    inner: Mutex<Inner>,
    change: Condvar,
}

#[derive(Default)]
struct Inner {
    asked: Option<Reply<Row>>,
    runs: bool,
    halts: usize,
    closed: bool,
}

/// No round runs while this is held.
pub struct Halt<'d> {
    desk: &'d Desk,
    stop: &'d Stop,
}

enum Next {
    Asked(Reply<Row>),
    Idle,
    Closed,
}

impl Desk {
    /// Asks for a round.
    ///
    /// # Errors
    /// If one runs, or was asked for, already.
    pub fn ask(&self, reply: Reply<Row>) -> Result<(), Busy> {
        let mut inner = self.lock();
        if inner.runs || inner.asked.is_some() || inner.closed {
            return Err(Busy);
        }
        inner.asked = Some(reply);
        self.change.notify_all();
        Ok(())
    }

    /// Stops the round that runs, and keeps others from beginning.
    pub fn halt<'d>(&'d self, stop: &'d Stop) -> Halt<'d> {
        let mut inner = self.lock();
        inner.halts += 1;
        stop.tell(true);
        while inner.runs {
            inner = self.change.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        Halt { desk: self, stop }
    }

    /// Ends the learner after the round that runs.
    pub fn close(&self) {
        self.lock().closed = true;
        self.change.notify_all();
    }

    fn next(&self) -> Next {
        let mut inner = self.lock();
        if inner.asked.is_none() && !inner.closed {
            let waited = self.change.wait_timeout(inner, LOOK);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if inner.closed {
            return Next::Closed;
        }
        match inner.asked.take() {
            Some(reply) => {
                inner.runs = true;
                Next::Asked(reply)
            }
            None => Next::Idle,
        }
    }

    /// Waits until nothing is halted, and runs from then on; `false` where it is to end.
    fn run(&self) -> bool {
        let mut inner = self.lock();
        while inner.halts > 0 && !inner.closed {
            inner.runs = false;
            self.change.notify_all();
            inner = self.change.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.runs = !inner.closed;
        inner.runs
    }

    fn rest(&self) {
        self.lock().runs = false;
        self.change.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Halt<'_> {
    fn drop(&mut self) {
        let mut inner = self.desk.lock();
        inner.halts -= 1;
        if inner.halts == 0 {
            self.stop.tell(false);
        }
        self.desk.change.notify_all();
    }
}

/// What the learner works with.
pub struct Learner<'s, 'e> {
    /// Where rounds are asked for.
    pub desk: &'s Desk,
    /// The person.
    pub person: &'s Mutex<Live<'e>>,
    /// What computes, when nobody talks.
    pub engine: Engine<'e>,
    /// How it learns, and when.
    pub plan: &'s Plan,
    /// What a round is held to.
    pub care: Care<'s>,
    /// When a round rests and stops.
    pub pace: Pace<'s>,
    /// Nobody has talked for so long before a round begins by itself; `None` waits to be asked.
    pub idle: Option<Duration>,
    /// What the server tells of itself.
    pub status: &'s Status,
}

impl Learner<'_, '_> {
    /// Learns until the desk is closed.
    pub fn run(self) {
        // After a failure it waits to be asked.
        let mut failed = false;
        loop {
            let reply = match self.desk.next() {
                Next::Closed => return,
                Next::Asked(reply) => Some(reply),
                Next::Idle if !failed && self.is_due() => None,
                Next::Idle => continue,
            };
            let row = self.round(reply.is_some());
            failed = row.is_err();
            if let Some(reply) = reply {
                // Who asked may have gone.
                let _ = reply.send(row.map_err(|error| error.to_string()));
            }
        }
    }

    /// Whether there is enough to learn from, and nobody talks.
    fn is_due(&self) -> bool {
        let Some(idle) = self.idle else { return false };
        if self.status.silence() < idle {
            return false;
        }
        let person = lock(self.person);
        let record = &person.state().record;
        let enough = match self.plan.trigger {
            Trigger::Unannotated(n) => record.new_annotations >= n as u64,
            Trigger::Dialogues(n) => record.seen - record.seen_at_round.min(record.seen) >= n,
        };
        (enough || record.in_round) && self.pace.limits.pause(&Sensors::default(), None).is_none()
    }

    /// Runs a round, anew after each halt.
    fn round(&self, asked: bool) -> Result<Row, Error> {
        loop {
            if !self.desk.run() {
                return Err(Error::Stopped(Cause::Told));
            }
            event("round-begins", &[("asked", &asked)]);
            self.status.begin_round();
            let ran = self.once();
            self.status.end_round();
            self.desk.rest();
            let (report, rounds) = match ran {
                Err(Error::Stopped(Cause::Told)) => {
                    event("round-halted", &[]);
                    continue;
                }
                Err(error) => {
                    event("round-failed", &[("why", &error)]);
                    return Err(error);
                }
                Ok(ran) => ran,
            };
            let row = report.row(rounds);
            let joules = row.joules.map_or_else(|| "no-sensor".to_owned(), |j| format!("{j:.1}"));
            event(
                "round-ended",
                &[
                    ("round", &row.round),
                    ("learned_from", &row.learned_from),
                    ("steps", &row.steps),
                    ("seconds", &format_args!("{:.1}", row.seconds)),
                    ("joules", &joules),
                    ("installed", &row.installed),
                    ("why", &row.why.as_deref().unwrap_or("-")),
                ],
            );
            return Ok(row);
        }
    }

    fn once(&self) -> Result<(Report, u64), Error> {
        let tell = |phase: Phase| self.status.progress(phase);
        let care = Care { tell: Some(&tell), ..self.care };
        let rounds = Rounds { plan: self.plan, pace: self.pace, care };
        let mut task = match lock(self.person).begin(self.plan)? {
            Begun::Nothing(report) => return Ok((*report, 0)),
            Begun::Task(task) => task,
        };
        let synthesised = task.synthesise(self.engine, rounds);
        lock(self.person).count_synthesised(&task)?;
        synthesised?;
        task.train(self.engine, rounds)?;
        let mut person = lock(self.person);
        // A forgetting that came just now waits for this to end.
        if let Some(cause) = self.pace.stop.cause() {
            return Err(Error::Stopped(cause));
        }
        let report = person.install(*task)?;
        self.status.describe(&person);
        self.status.adapters.fetch_add(1, Ordering::Release);
        Ok((report, person.state().record.rounds))
    }
}

/// The person, even after a thread that held it has failed: what it holds is on the disk.
pub(super) fn lock<'l, 'e>(person: &'l Mutex<Live<'e>>) -> MutexGuard<'l, Live<'e>> {
    person.lock().unwrap_or_else(PoisonError::into_inner)
}
