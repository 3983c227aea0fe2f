//! What a running process tells of itself: to a person as JSON, to Prometheus as text.

pub mod socket;

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use crate::live::Live;
use crate::personalize::buffer::Buffer;
use crate::personalize::round::Phase;
use crate::sensors::Sensors;
use crate::state::State;

/// Counters, and where the worker stands.
#[derive(Debug)]
pub struct Status {
    started: Instant,
    /// Replies that were written, or failed.
    replies: AtomicU64,
    /// Tokens of conversations.
    pub prompt_tokens: AtomicU64,
    /// Of those, tokens that a cache had already.
    pub reused_tokens: AtomicU64,
    /// Tokens of replies.
    pub reply_tokens: AtomicU64,
    /// Requests that were refused for want of room.
    pub refused: AtomicU64,
    /// Counts changes of the adapter.
    pub adapters: AtomicU64,
    observed: AtomicU64,
    now: Mutex<Now>,
}

#[derive(Clone, Debug)]
struct Now {
    /// When somebody talked last.
    talked: Instant,
    round: Option<Round>,
    last: Option<(u64, bool)>,
    person: Person,
}

/// A round that runs.
#[derive(Clone, Copy, Debug)]
struct Round {
    phase: Option<Phase>,
    /// When its training began or went on, and at which step.
    trains: Option<(Instant, usize)>,
}

#[derive(Clone, Debug, Default)]
struct Person {
    seen: u64,
    bins: usize,
    used: usize,
    waiting: usize,
    rounds: u64,
    generation: u64,
    adapter: u64,
    learnable: u64,
}

impl Default for Status {
    fn default() -> Self {
        let now = Instant::now();
        Status {
            started: now,
            replies: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            reused_tokens: AtomicU64::new(0),
            reply_tokens: AtomicU64::new(0),
            observed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            adapters: AtomicU64::new(0),
            now: Mutex::new(Now {
                talked: now,
                round: None,
                last: None,
                person: Person::default(),
            }),
        }
    }
}

impl Status {
    /// Takes down how the person's state stands.
    pub fn describe(&self, live: &Live<'_>) {
        self.describe_state(live.state(), live.buffer());
    }

    /// The same of a state that nobody talks with.
    pub fn describe_state(&self, state: &State, buffer: &Buffer) {
        let record = &state.record;
        self.lock().person = Person {
            seen: record.seen,
            bins: buffer.bins(),
            used: buffer.entries().count(),
            waiting: buffer.unannotated(),
            rounds: record.rounds,
            generation: record.generation,
            adapter: state.current(),
            learnable: record.new_annotations,
        };
    }

    /// A reply was written.
    pub fn replied(&self) {
        self.replies.fetch_add(1, Ordering::Relaxed);
        self.lock().talked = Instant::now();
    }

    /// A dialogue was offered.
    pub fn observed(&self, arrival: u64, kept: bool) {
        self.observed.fetch_add(1, Ordering::Relaxed);
        self.lock().last = Some((arrival, kept));
    }

    /// Bins of the buffer.
    pub fn bins(&self) -> usize {
        self.lock().person.bins
    }

    /// For how long nobody has talked.
    pub fn silence(&self) -> Duration {
        self.lock().talked.elapsed()
    }

    /// A round begins.
    pub fn begin_round(&self) {
        self.lock().round = Some(Round { phase: None, trains: None });
    }

    /// How far the round is.
    pub fn progress(&self, phase: Phase) {
        if let Some(round) = &mut self.lock().round {
            round.phase = Some(phase);
            if let (Phase::Train(step, _), None) = (phase, round.trains) {
                round.trains = Some((Instant::now(), step));
            }
        }
    }

    /// It has ended.
    pub fn end_round(&self) {
        self.lock().round = None;
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As JSON; `queued` requests wait.
    pub fn json(&self, queued: usize) -> Value {
        let Now { round, last, person, .. } = self.lock().clone();
        let (stage, step, steps) = match round.and_then(|round| round.phase) {
            None => (None, 0, 0),
            Some(Phase::Synthesise(step, steps)) => (Some("synthesise"), step, steps),
            Some(Phase::Train(step, steps)) => (Some("train"), step, steps),
            Some(Phase::Compare(step, steps)) => (Some("compare"), step, steps),
        };
        let seconds_left = round.and_then(|round| {
            let (Some(Phase::Train(step, steps)), Some((since, first))) =
                (round.phase, round.trains)
            else {
                return None;
            };
            let done = step.checked_sub(first).filter(|done| *done > 0)?;
            let left = since.elapsed().as_secs_f64() * (steps - step) as f64 / done as f64;
            Some(left.ceil() as u64)
        });
        let sensors = Sensors::default();
        json!({
            "phase": if round.is_some() { "round" } else { "talk" },
            "stage": stage,
            "step": step,
            "steps": steps,
            "seconds_left": seconds_left,
            "seconds": self.started.elapsed().as_secs(),
            "queued": queued,
            "replies": self.replies.load(Ordering::Relaxed),
            "seen": person.seen,
            "bins": person.bins,
            "used": person.used,
            "open_requests": person.waiting,
            "new_annotations": person.learnable,
            "rounds": person.rounds,
            "generation": person.generation,
            "adapter": person.adapter,
            "last": last.map(|(dialogue, kept)| json!({"dialogue": dialogue, "kept": kept})),
            "degrees": sensors.degrees(),
            "throttled": sensors.throttled(),
            "on_mains": sensors.is_on_mains(),
        })
    }

    /// In the text format of Prometheus.
    pub fn metrics(&self, queued: usize) -> String {
        let Now { round, person, .. } = self.lock().clone();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::new();
        for (name, kind, help, value) in [
            (
                "replies_total",
                "counter",
                "Replies that were written or failed",
                load(&self.replies),
            ),
            (
                "prompt_tokens_total",
                "counter",
                "Tokens of conversations",
                load(&self.prompt_tokens),
            ),
            (
                "reused_tokens_total",
                "counter",
                "Tokens of conversations that a cache had",
                load(&self.reused_tokens),
            ),
            ("reply_tokens_total", "counter", "Tokens of replies", load(&self.reply_tokens)),
            ("observed_total", "counter", "Dialogues offered to the buffer", load(&self.observed)),
            ("refused_total", "counter", "Requests without room", load(&self.refused)),
            ("rounds_total", "counter", "Rounds of learning", person.rounds),
            ("round_running", "gauge", "Whether a round runs", u64::from(round.is_some())),
            ("queued", "gauge", "Requests that wait", queued as u64),
            ("bins_used", "gauge", "Dialogues in the buffer", person.used as u64),
            ("open_requests", "gauge", "Dialogues without an annotation", person.waiting as u64),
            ("adapter_generation", "gauge", "Generation of the adapter", person.adapter),
        ] {
            // A String takes everything.
            let _ = writeln!(text, "# HELP homespun_{name} {help}.");
            let _ = writeln!(text, "# TYPE homespun_{name} {kind}\nhomespun_{name} {value}");
        }
        text
    }
}
