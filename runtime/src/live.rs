//! A device that talks with one person: each finished dialogue is scored and offered to the buffer, the
//! person's word on it is written down, and a round learns from it.
//!
//! ```text
//! observe   a dialogue ─> score ─> policy ─> bin; its arrival number names it from then on
//! judge     the same with the person's word on its last reply; a correction is always kept
//! annotate  what the person says of a kept one: good, better so, or nothing
//! question  what to ask the person next: a few a day
//! round     learn from what is annotated; the next reply is of the new adapter
//! ```
//! Arrivals go on from those of streams. A stream that was being read ends where talk begins: read
//! again, it begins anew.

use homespun_core::select::Scores;
use homespun_core::select::policy::Verdict;

use crate::adapter::Adapter;
use crate::dialogue::Dialogue;
use crate::engine::Engine;
use crate::personalize::annotate::{Person, Question};
use crate::personalize::buffer::{Buffer, Held};
use crate::personalize::presets::Plan;
use crate::personalize::round::{self, Begun, Report, Task};
use crate::personalize::score::{Features, Scorer};
use crate::personalize::{self, Error, Rounds, Selection};
use crate::samples::{self, Flags};
use crate::state::State;
use crate::state::asks::Asks;
use crate::state::forget::{Forgotten, What};
use crate::state::queue::Answer;
use crate::state::rounds::{self, Row};
use crate::state::vault::Keys;

/// What became of a dialogue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// Its number among all that came.
    pub arrival: u64,
    /// Whether it was kept, and where.
    pub verdict: Verdict,
    /// Its scores, the dissimilarity among them.
    pub scores: Scores,
    /// Messages that had no room.
    pub lost_turns: usize,
}

/// A dialogue of the buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The dialogue, and what the person did with it.
    pub held: Held,
    /// The name of its domain.
    pub domain: Option<String>,
}

/// A model with what it knows of its person.
pub struct Live<'e> {
    engine: Engine<'e>,
    selection: Selection<'e>,
    scorer: Scorer<'e>,
    state: State,
    keys: Keys,
    buffer: Buffer,
}

impl Observed {
    /// Whether it is in the buffer.
    pub fn is_kept(&self) -> bool {
        self.verdict != Verdict::Drop
    }
}

impl<'e> Live<'e> {
    /// The person of `state`, who talks with the engine's base.
    ///
    /// # Errors
    /// If the buffer cannot be opened.
    pub fn new(
        engine: Engine<'e>,
        selection: Selection<'e>,
        state: State,
        keys: Keys,
    ) -> Result<Self, Error> {
        let buffer = Buffer::open(&state, engine.model().config.dim)?;
        let scorer = Scorer::new(engine, selection.lexicons.lexicons(), selection.scoring);
        Ok(Self { engine, selection, scorer, state, keys, buffer })
    }

    /// Scores a finished dialogue and offers it to the buffer.
    ///
    /// # Errors
    /// If the model, the buffer or a file of the state fails.
    pub fn observe(&mut self, dialogue: &Dialogue) -> Result<Observed, Error> {
        let features = self.scorer.features(dialogue)?;
        let (arrival, seed) = (self.next_arrival(), self.state.record.seed);
        let observed = self.buffer.observe(&self.selection, seed, arrival, dialogue, &features);
        let samples::Observed { verdict, scores, lost_turns } = match observed {
            Err(error) if error.is_too_long() => {
                samples::Observed { verdict: Verdict::Drop, scores: features.scores, lost_turns: 0 }
            }
            observed => observed?,
        };
        self.count(arrival, verdict)?;
        Ok(Observed { arrival, verdict, scores, lost_turns })
    }

    /// Offers a dialogue with the person's word on its last reply. One that the person corrected is
    /// kept whatever the policy says of it.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub fn judge(
        &mut self,
        dialogue: &Dialogue,
        answer: &Answer,
        now: u64,
    ) -> Result<Observed, Error> {
        let mut observed = self.observe(dialogue)?;
        if !observed.is_kept() && matches!(answer, Answer::Preferred(_)) {
            let features: Features = self.scorer.features(dialogue)?;
            match self.buffer.keep(observed.arrival, dialogue, &features) {
                Err(error) if error.is_too_long() => {}
                kept => {
                    let (bin, was_free) = kept?;
                    let place = if was_free { Verdict::Store } else { Verdict::Replace };
                    observed.verdict = place(bin);
                    self.state.record.accepted += 1;
                    self.state.record.dropped -= 1;
                    self.state.save()?;
                }
            }
        }
        if observed.is_kept() {
            self.annotate(observed.arrival, answer, now)?;
        }
        Ok(observed)
    }

    /// The next dialogue's number. One that was put and not counted, where a cut came between, has its
    /// number already.
    fn next_arrival(&self) -> u64 {
        self.state.record.seen.max(self.buffer.next_arrival())
    }

    fn count(&mut self, arrival: u64, verdict: Verdict) -> Result<(), Error> {
        let record = &mut self.state.record;
        let stored = verdict != Verdict::Drop;
        record.accepted += u64::from(stored);
        record.dropped += u64::from(!stored);
        record.seen = arrival + 1;
        (record.stream_seen, record.stream_hash) = (0, String::new());
        Ok(self.state.save()?)
    }

    /// Writes down what the person says, `now` in seconds since 1970, of a dialogue that is in the
    /// buffer; `false` where it is not there any more.
    ///
    /// # Errors
    /// If the buffer or a file of the state fails.
    pub fn annotate(&mut self, arrival: u64, answer: &Answer, now: u64) -> Result<bool, Error> {
        let Some(held) = self.held(arrival)? else { return Ok(false) };
        let learned = self.buffer.annotate_or_skip(&held, answer)?;
        self.state.record.new_annotations += u64::from(learned);
        self.state.record.annotations += 1;
        self.state.save()?;
        let mut asks = Asks::read(self.state.vault())?;
        let before = asks.clone();
        asks.close(arrival, now, *answer == Answer::Skip);
        if asks != before {
            asks.write(self.state.vault())?;
        }
        Ok(true)
    }

    /// Forgets dialogues, and what was learned of them, as [`State::forget`] does.
    ///
    /// # Errors
    /// If a file of the state fails.
    pub fn forget(&mut self, what: &What) -> Result<Forgotten, Error> {
        let forgotten = self.state.forget(what, &self.keys)?;
        self.buffer = Buffer::open(&self.state, self.engine.model().config.dim)?;
        Ok(forgotten)
    }

    /// A dialogue to ask the person about, `now` in seconds since 1970: one that was asked already and
    /// is not answered, else the oldest that was not, if fewer than `a_day` were asked in a day.
    ///
    /// # Errors
    /// If the buffer or a file of the state fails.
    pub fn question(&mut self, now: u64, a_day: usize) -> Result<Option<Question>, Error> {
        let mut asks = Asks::read(self.state.vault())?;
        let mut open: Vec<(bool, u64, usize)> = self
            .buffer
            .entries()
            .filter(|(_, header)| may_ask(header.flags, header.arrival, &asks, now))
            .map(|(bin, header)| (!asks.is_open(header.arrival), header.arrival, bin))
            .collect();
        open.sort_unstable();
        for (is_new, arrival, bin) in open {
            if is_new && asks.today(now) >= a_day {
                break;
            }
            let held = self.buffer.read(bin)?;
            if held.dialogue.response().is_none() {
                continue;
            }
            if is_new {
                let living: Vec<u64> = self.buffer.entries().map(|(_, h)| h.arrival).collect();
                asks.prune(now, |arrival| living.contains(&arrival));
                asks.open(arrival, now);
                asks.write(self.state.vault())?;
            }
            return Ok(Some(held.question()));
        }
        Ok(None)
    }

    /// The dialogue of that number, if it is in the buffer.
    fn held(&mut self, arrival: u64) -> Result<Option<Held>, Error> {
        let bin = self.buffer.entries().find(|(_, header)| header.arrival == arrival);
        let Some(bin) = bin.map(|(bin, _)| bin) else { return Ok(None) };
        Ok(Some(self.buffer.read(bin)?))
    }

    /// Everything in the buffer, the oldest first.
    pub fn kept(&mut self) -> Vec<Kept> {
        let held = self.buffer.read_all(|error| eprintln!("{error}"));
        let mut kept: Vec<Kept> = held
            .into_iter()
            .map(|held| Kept { domain: self.domain_of(held.arrival), held })
            .collect();
        kept.sort_by_key(|one| one.held.arrival);
        kept
    }

    /// The name of the domain of a dialogue, if it is in the buffer.
    pub fn domain_of(&self, arrival: u64) -> Option<String> {
        let mut entries = self.buffer.entries();
        let (_, header) = entries.find(|(_, header)| header.arrival == arrival)?;
        Some(self.domain(&header.scores))
    }

    /// The name of a domain.
    pub fn domain(&self, scores: &Scores) -> String {
        self.selection.lexicons.lexicons().name(scores.domain).to_owned()
    }

    /// What became of each round, oldest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn rounds(&self) -> Result<Vec<Row>, Error> {
        Ok(rounds::read(self.state.vault())?)
    }

    /// Learns from what is annotated.
    ///
    /// # Errors
    /// As [`round::round`].
    pub fn round(&mut self, rounds: Rounds) -> Result<Report, Error> {
        let Self { engine, state, buffer, .. } = self;
        round::round(*engine, state, buffer, &mut Person::Nobody, rounds)
    }

    /// Begins a round; the rest of it needs this person no more until [`install`](Self::install).
    ///
    /// # Errors
    /// As [`round::begin`].
    pub fn begin(&mut self, plan: &Plan) -> Result<Begun, Error> {
        let Self { engine, state, buffer, .. } = self;
        round::begin(*engine, state, buffer, &mut Person::Nobody, plan)
    }

    /// Counts what a round has synthesised.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub fn count_synthesised(&mut self, task: &Task) -> Result<(), Error> {
        task.count(&mut self.state)
    }

    /// Ends a round.
    ///
    /// # Errors
    /// As [`Task::install`].
    pub fn install(&mut self, task: Task) -> Result<Report, Error> {
        task.install(self.engine, &mut self.state)
    }

    /// The adapter of now; none is the base.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn adapter(&self) -> Result<Option<Adapter>, Error> {
        personalize::current(&self.state, &self.engine)
    }

    /// How many dialogues of the buffer wait for an annotation.
    pub fn waiting(&self) -> usize {
        self.buffer.unannotated()
    }

    /// The buffer.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }
}

/// Whether the person may be asked about a dialogue.
fn may_ask(flags: Flags, arrival: u64, asks: &Asks, now: u64) -> bool {
    let skipped = flags.contains(Flags::SKIPPED);
    !flags.contains(Flags::ANNOTATED) && (!skipped || asks.has_rested(arrival, now))
}
