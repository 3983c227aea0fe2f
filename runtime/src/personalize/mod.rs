//! The mission: observe a stream of dialogues, select, annotate, synthesise, tune, and be better.
//!
//! ```text
//! for each dialogue:  score ─> policy ─> bin in flash       (observe)
//! when it is time:    ask ─> synthesise ─> tune ─> install  (round)
//! ```
//! What was seen is recorded in the state directory, so the same command goes on where it was cut.

pub mod annotate;
pub mod buffer;
pub mod evaluate;
pub mod general;
pub mod presets;
pub mod rebase;
pub mod round;
pub mod score;
pub mod synthesise;

use homespun_core::select::policy::Verdict;
use homespun_core::select::{Policy, Scoring};
use sha2::{Digest, Sha256};

use crate::adapter::Adapter;
use crate::dialogue::Dialogue;
use crate::engine::{self, Engine};
use crate::lexicon::Table;
use crate::progress::Progress;
use crate::state::{self, State};
use crate::tune::pace::{Cause, Pace};
use crate::tune::store;
use crate::{adapter, durable};
use annotate::Person;
use buffer::Buffer;
use presets::{Plan, Trigger};
use score::{Features, Scorer};

/// Dialogues after which `state.json` is written where none of them was stored.
const SAVE_EVERY: u64 = 64;

/// Why a round or a stream ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The state directory.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The buffer.
    #[error(transparent)]
    Buffer(#[from] buffer::Error),
    /// An adapter of the state.
    #[error(transparent)]
    Adapter(#[from] adapter::Error),
    /// A file of the state.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// The checkpoint of a round.
    #[error(transparent)]
    Checkpoint(#[from] store::Error),
    /// It was told to stop; run again, it goes on.
    #[error("stopped: {0}")]
    Stopped(Cause),
}

/// What is computed once for a stream: how dialogues are scored and who decides.
#[derive(Clone, Copy)]
pub struct Selection<'a> {
    /// Who decides.
    pub policy: &'static Policy,
    /// The domains.
    pub lexicons: &'a Table,
    /// Which entropy, which embedding.
    pub scoring: Scoring,
    /// Whether dissimilarities are compared as they were at arrival.
    pub frozen: bool,
}

/// Dialogues as they come.
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    /// All of them.
    pub dialogues: &'a [Dialogue],
    /// Their features, where they are known already.
    pub features: Option<&'a [Features]>,
}

/// What rounds are run by.
#[derive(Clone, Copy)]
pub struct Rounds<'a> {
    /// What each depends on.
    pub plan: &'a Plan,
    /// When it writes checkpoints, and when it stops.
    pub pace: Pace<'a>,
    /// What it is held to.
    pub care: round::Care<'a>,
}

/// Where a stream stands in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Arrival number of the stream's first dialogue.
    pub first: u64,
    /// The first dialogue that was not seen.
    pub next: usize,
}

/// Where `stream` stands: a state that was reading this very stream goes on at the first unseen
/// dialogue, another stream begins after all that came before.
pub fn place(state: &State, stream: &[Dialogue]) -> Place {
    let record = &state.record;
    let seen = usize::try_from(record.stream_seen).unwrap_or(usize::MAX);
    if seen > 0 && seen <= stream.len() && Seen::of(&stream[..seen]).hex() == record.stream_hash {
        return Place { first: record.seen - record.stream_seen, next: seen };
    }
    Place { first: record.seen, next: 0 }
}

/// SHA-256 of dialogues as they come.
#[derive(Clone, Default)]
struct Seen(Sha256);

impl Seen {
    fn of(dialogues: &[Dialogue]) -> Self {
        let mut seen = Self::default();
        dialogues.iter().for_each(|dialogue| seen.add(dialogue));
        seen
    }

    fn add(&mut self, dialogue: &Dialogue) {
        self.0.update(dialogue.to_json().as_bytes());
        self.0.update(b"\n");
    }

    fn hex(&self) -> String {
        format!("{:x}", self.0.clone().finalize())
    }
}

/// Reads `stream` from its `place` on: observes every dialogue and runs rounds as `rounds` says.
///
/// # Errors
/// If the model, the buffer or a file of the state fails; the state then stands at a dialogue that
/// was seen before. [`Error::Stopped`] if it was told to stop.
pub fn run(
    engine: Engine,
    state: &mut State,
    stream: Stream,
    selection: Selection,
    rounds: Rounds,
    person: &mut Person,
    mut on_round: impl FnMut(&State, &round::Report),
) -> Result<(), Error> {
    let Stream { dialogues, features } = stream;
    let Rounds { plan, pace, .. } = rounds;
    let place = place(state, dialogues);
    let mut buffer = Buffer::open(state, engine.model().config.dim)?;
    // A cut between a put and its save leaves one dialogue in the buffer that the record has not
    // counted, nor those dropped before it: they are not offered again.
    let buffered = buffer.next_arrival().saturating_sub(place.first);
    let next = place.next.max(usize::try_from(buffered).unwrap_or(usize::MAX)).min(dialogues.len());
    if next > place.next {
        state.record.accepted += 1;
        state.record.dropped += (next - place.next - 1) as u64;
    }
    let mut scorer = Scorer::new(engine, selection.lexicons.lexicons(), selection.scoring);
    let mut progress = Progress::new("observe", dialogues.len());
    progress.advance(next, 0);
    let mut seen = Seen::of(&dialogues[..next]);
    count(state, place, next);
    state.record.stream_hash = seen.hex();
    let resumed = state.record.in_round;
    if resumed {
        let report = round::round(engine, state, &mut buffer, person, rounds)?;
        on_round(state, &report);
    }
    // Those of the buffer that a round has asked for and that have no answer yet.
    let mut asked = if resumed { buffer.unannotated() } else { 0 };
    for (at, dialogue) in dialogues.iter().enumerate().skip(next) {
        if let Some(cause) = pace.stop.cause() {
            state.record.stream_hash = seen.hex();
            state.save()?;
            return Err(Error::Stopped(cause));
        }
        let own;
        let features = match features {
            Some(features) => &features[at],
            None => {
                own = scorer.features(dialogue)?;
                &own
            }
        };
        let arrival = place.first + at as u64;
        let seed = state.record.seed;
        let observed = buffer.observe(&selection, seed, arrival, dialogue, features);
        let (verdict, lost) = match observed {
            Err(error) if error.is_too_long() => {
                progress.say(&format!("dialogue {}: {error}; left out", at + 1));
                (Verdict::Drop, 0)
            }
            observed => observed.map(|observed| (observed.verdict, observed.lost_turns))?,
        };
        let stored = verdict != Verdict::Drop;
        state.record.accepted += u64::from(stored);
        state.record.dropped += u64::from(!stored);
        if lost > 0 {
            progress.say(&format!(
                "dialogue {}: its oldest {lost} messages did not fit a bin and were left out",
                at + 1
            ));
        }
        progress.advance(1, features.scores.tokens as usize);
        seen.add(dialogue);
        count(state, place, at + 1);
        let due = match plan.trigger {
            Trigger::Dialogues(n) => state.record.seen - state.record.seen_at_round >= n,
            Trigger::Unannotated(n) => {
                asked = asked.min(buffer.unannotated());
                buffer.unannotated() >= asked.saturating_add(n)
            }
        };
        if due {
            state.record.stream_hash = seen.hex();
            let report = round::round(engine, state, &mut buffer, person, rounds)?;
            on_round(state, &report);
            asked = buffer.unannotated();
        } else if stored || state.record.seen.is_multiple_of(SAVE_EVERY) {
            state.record.stream_hash = seen.hex();
            state.save()?;
        }
    }
    drop(progress);
    state.record.stream_hash = seen.hex();
    state.save()?;
    let rest = match plan.trigger {
        Trigger::Dialogues(_) => state.record.seen > state.record.seen_at_round,
        // Answers that came into the queue since the last round are worth one, too.
        Trigger::Unannotated(n) => {
            buffer.unannotated() >= asked.saturating_add(n)
                || state.record.new_annotations > 0
                || matches!(person, Person::Queue(_))
        }
    };
    if let (false, Trigger::Unannotated(n)) = (rest, plan.trigger) {
        eprintln!(
            "{} dialogues wait for an annotation; a round starts at {n}, or at every N dialogues \
             with --round N",
            buffer.unannotated()
        );
    }
    if rest {
        let report = round::round(engine, state, &mut buffer, person, rounds)?;
        on_round(state, &report);
    }
    Ok(())
}

/// The adapter that the state uses now, ready to compute.
///
/// # Errors
/// If it cannot be read.
pub fn current(state: &State, engine: &Engine) -> Result<Option<Adapter>, Error> {
    let Some(folder) = state.current_adapter() else { return Ok(None) };
    let mut adapter = Adapter::open_in(state.vault(), &folder, engine.base().config())?;
    engine.prepare(&mut adapter)?;
    Ok(Some(adapter))
}

fn count(state: &mut State, place: Place, seen: usize) {
    state.record.stream_seen = seen as u64;
    state.record.seen = place.first + seen as u64;
}
