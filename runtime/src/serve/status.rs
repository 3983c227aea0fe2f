//! What a server tells of itself: to a person as JSON, to Prometheus as text.

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use crate::live::Live;

/// Counters, and where the worker stands.
#[derive(Debug)]
pub struct Status {
    started: Instant,
    /// Replies that were written, or failed.
    pub replies: AtomicU64,
    /// Tokens of conversations.
    pub prompt_tokens: AtomicU64,
    /// Of those, tokens that a cache had already.
    pub reused_tokens: AtomicU64,
    /// Tokens of replies.
    pub reply_tokens: AtomicU64,
    /// Dialogues that were offered to the buffer.
    pub observed: AtomicU64,
    /// Requests that were refused for want of room.
    pub refused: AtomicU64,
    person: Mutex<Person>,
}

#[derive(Clone, Debug, Default)]
struct Person {
    phase: &'static str,
    seen: u64,
    bins: usize,
    used: usize,
    waiting: usize,
    rounds: u64,
    generation: u64,
    learnable: u64,
}

impl Default for Status {
    fn default() -> Self {
        Status {
            started: Instant::now(),
            replies: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            reused_tokens: AtomicU64::new(0),
            reply_tokens: AtomicU64::new(0),
            observed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            person: Mutex::new(Person { phase: "talk", ..Person::default() }),
        }
    }
}

impl Status {
    /// Takes down how the person's state stands.
    pub fn describe(&self, live: &Live<'_>) {
        let record = &live.state().record;
        let mut person = self.person.lock().unwrap_or_else(PoisonError::into_inner);
        *person = Person {
            phase: person.phase,
            seen: record.seen,
            bins: live.bins(),
            used: live.used(),
            waiting: live.waiting(),
            rounds: record.rounds,
            generation: record.generation,
            learnable: record.new_annotations,
        };
    }

    /// What the worker does now.
    pub fn phase(&self, phase: &'static str) {
        self.person.lock().unwrap_or_else(PoisonError::into_inner).phase = phase;
    }

    fn person(&self) -> Person {
        self.person.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As JSON; `queued` requests wait.
    pub fn json(&self, queued: usize) -> Value {
        let Person { phase, seen, bins, used, waiting, rounds, generation, learnable } =
            self.person();
        json!({
            "phase": phase,
            "seconds": self.started.elapsed().as_secs(),
            "queued": queued,
            "replies": self.replies.load(Ordering::Relaxed),
            "seen": seen,
            "bins": bins,
            "used": used,
            "open_requests": waiting,
            "new_annotations": learnable,
            "rounds": rounds,
            "generation": generation,
        })
    }

    /// In the text format of Prometheus.
    pub fn metrics(&self, queued: usize) -> String {
        let person = self.person();
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
            ("queued", "gauge", "Requests that wait", queued as u64),
            ("bins_used", "gauge", "Dialogues in the buffer", person.used as u64),
            ("open_requests", "gauge", "Dialogues without an annotation", person.waiting as u64),
            ("adapter_generation", "gauge", "Generation of the adapter", person.generation),
        ] {
            // A String takes everything.
            let _ = writeln!(text, "# HELP homespun_{name} {help}.");
            let _ = writeln!(text, "# TYPE homespun_{name} {kind}\nhomespun_{name} {value}");
        }
        text
    }
}
