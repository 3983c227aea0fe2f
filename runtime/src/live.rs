//! A device that talks with one person: each finished dialogue is scored and offered to the buffer, the
//! person's word on it is written down, and a round learns from it.
//!
//! ```text
//! observe   a dialogue ─> score ─> policy ─> bin; its arrival number names it from then on
//! annotate  what the person says of it: good, better so, or nothing
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
use crate::personalize::round::{self, Report};
use crate::personalize::score::Scorer;
use crate::personalize::{self, Error, Rounds, Selection};
use crate::samples::{self, Flags};
use crate::state::State;
use crate::state::forget::{Forgotten, What};
use crate::state::queue::Answer;
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
        let record = &mut self.state.record;
        // One that was put and not counted, where a cut came between, has its number already.
        let arrival = record.seen.max(self.buffer.next_arrival());
        let seed = record.seed;
        let observed = self.buffer.observe(&self.selection, seed, arrival, dialogue, &features);
        let samples::Observed { verdict, scores, lost_turns } = match observed {
            Err(error) if error.is_too_long() => {
                samples::Observed { verdict: Verdict::Drop, scores: features.scores, lost_turns: 0 }
            }
            observed => observed?,
        };
        let record = &mut self.state.record;
        let stored = verdict != Verdict::Drop;
        record.accepted += u64::from(stored);
        record.dropped += u64::from(!stored);
        record.seen = arrival + 1;
        (record.stream_seen, record.stream_hash) = (0, String::new());
        self.state.save()?;
        Ok(Observed { arrival, verdict, scores, lost_turns })
    }

    /// Writes down what the person says of a dialogue that is in the buffer; `false` where it is not
    /// there any more.
    ///
    /// # Errors
    /// If the buffer or a file of the state fails.
    pub fn annotate(&mut self, arrival: u64, answer: &Answer) -> Result<bool, Error> {
        let Some(held) = self.held(arrival)? else { return Ok(false) };
        let learned = self.buffer.annotate_or_skip(&held, answer)?;
        self.state.record.new_annotations += u64::from(learned);
        self.state.record.annotations += 1;
        self.state.save()?;
        Ok(true)
    }

    /// Forgets a dialogue, and what was learned of it, as [`State::forget`] does.
    ///
    /// # Errors
    /// If a file of the state fails.
    pub fn forget(&mut self, arrival: u64) -> Result<Forgotten, Error> {
        let forgotten = self.state.forget(&What::Ids(vec![arrival]), &self.keys)?;
        self.buffer = Buffer::open(&self.state, self.engine.model().config.dim)?;
        Ok(forgotten)
    }

    /// A dialogue of the buffer that waits for the person's word, the oldest first.
    ///
    /// # Errors
    /// If the buffer fails.
    pub fn question(&mut self) -> Result<Option<Question>, Error> {
        let asked =
            |flags: Flags| flags.contains(Flags::ANNOTATED) || flags.contains(Flags::SKIPPED);
        let open = self.buffer.entries().filter(|(_, header)| !asked(header.flags));
        let mut open: Vec<(u64, usize)> = open.map(|(bin, header)| (header.arrival, bin)).collect();
        open.sort_unstable();
        for (_, bin) in open {
            let held = self.buffer.read(bin)?;
            if held.dialogue.response().is_some() {
                return Ok(Some(held.question()));
            }
        }
        Ok(None)
    }

    /// The dialogue of that number, if it is in the buffer.
    fn held(&mut self, arrival: u64) -> Result<Option<Held>, Error> {
        let bin = self.buffer.entries().find(|(_, header)| header.arrival == arrival);
        let Some(bin) = bin.map(|(bin, _)| bin) else { return Ok(None) };
        Ok(Some(self.buffer.read(bin)?))
    }

    /// Learns from what is annotated.
    ///
    /// # Errors
    /// As [`round::round`].
    pub fn round(&mut self, rounds: Rounds) -> Result<Report, Error> {
        let mut person = Person::queue(self.state.vault())?;
        round::round(self.engine, &mut self.state, &mut self.buffer, &mut person, rounds)
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

    /// Bins of the buffer.
    pub fn bins(&self) -> usize {
        self.buffer.bins()
    }

    /// Bins in use.
    pub fn used(&self) -> usize {
        self.buffer.entries().count()
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }
}
