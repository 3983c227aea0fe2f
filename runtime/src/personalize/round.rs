//! One round: ask for annotations, synthesise, fine-tune, and keep the adapter only if it helps.
//!
//! ```text
//! 1 begin       ask for what has no annotation yet; write the answers into the buffer     state, short
//! 2 synthesise  questions for what was annotated and has none yet; synthesised.jsonl             long
//! 3 train       the current adapter goes on with a fresh optimiser, over responses to
//!               questions and to synthesised questions; a tenth of the dialogues may be
//!               held out to stop early; cut anywhere, it goes on from training/                  long
//! 4 install     adapters/N+1, then state.json names it; what does not help is kept aside  state, short
//! ```
//! Between its ends a round needs no state: a device goes on talking, and observing. It learns from
//! what was in the buffer as it began.

mod compare;
mod install;
mod learn;
mod report;
mod share;
mod variants;

use std::collections::HashSet;
use std::time::Instant;

use super::annotate::{Person, Reply};
use super::buffer::{Buffer, Held};
use super::presets::{Plan, Trigger};
use super::{Error, Rounds};
use crate::adapter::Adapter;
use crate::energy::Energy;
use crate::engine::Engine;
use crate::sensors::Sensors;
use crate::state::State;
use crate::state::vault::Vault;
pub(crate) use learn::holds_out;
pub use report::{Care, Phase, Report, Why};
use variants::Tried;

/// A round that has begun.
pub struct Task {
    held: Vec<Held>,
    current: Option<Adapter>,
    tried: Vec<Tried>,
    outcome: Outcome,
    report: Report,
    /// Of the record as it was.
    seed: u64,
    rounds: u64,
    annotations: u64,
    weights: String,
    vault: Vault,
    began: Instant,
    energy: Energy,
}

/// What came of the training.
#[derive(Default)]
enum Outcome {
    /// There is nothing to learn from after all.
    #[default]
    Nothing,
    /// No adapter that is worth keeping.
    Lost,
    /// An adapter, that helps unless the report says why it does not.
    Adapter(Box<Adapter>),
}

/// How a round began.
pub enum Begun {
    /// There is nothing to learn from, as the report says.
    Nothing(Box<Report>),
    /// There is.
    Task(Box<Task>),
}

/// Runs a round over what is in the buffer now; one that was cut goes on.
///
/// # Errors
/// If the model, the buffer or a file of the state fails; the current adapter is then still there.
/// [`Error::Stopped`] if it was told to stop.
pub fn round(
    engine: Engine,
    state: &mut State,
    buffer: &mut Buffer,
    person: &mut Person,
    rounds: Rounds,
) -> Result<Report, Error> {
    let mut task = match begin(engine, state, buffer, person, rounds.plan)? {
        Begun::Nothing(report) => return Ok(*report),
        Begun::Task(task) => task,
    };
    let synthesised = task.synthesise(engine, rounds);
    task.count(state)?;
    synthesised?;
    task.train(engine, rounds)?;
    task.install(engine, state)
}

/// Begins a round: asks `person`, and takes what is annotated.
///
/// # Errors
/// If the buffer or a file of the state fails.
pub fn begin(
    engine: Engine,
    state: &mut State,
    buffer: &mut Buffer,
    person: &mut Person,
    plan: &Plan,
) -> Result<Begun, Error> {
    let mut report = Report { share: 1.0, ..Report::default() };
    state.record.in_round = true;
    state.save()?;
    ask(state, buffer, person, &mut report)?;
    let held: Vec<Held> = buffer
        .read_all(|error| eprintln!("{error}"))
        .into_iter()
        .filter(Held::is_annotated)
        .collect();
    report.learned_from = held.len();
    state.record.seen_at_round = state.record.seen;
    // By the number of dialogues, a round goes on learning from what it has.
    let by_annotations = matches!(plan.trigger, Trigger::Unannotated(_));
    let why = match (held.is_empty(), state.record.new_annotations == 0 && by_annotations) {
        (true, _) => Why::NothingAnnotated,
        (false, true) => Why::NothingNew,
        (false, false) => {
            let record = &state.record;
            return Ok(Begun::Task(Box::new(Task {
                held,
                current: super::current(state, &engine)?,
                tried: Vec::new(),
                outcome: Outcome::default(),
                report,
                seed: record.seed,
                rounds: record.rounds,
                annotations: record.new_annotations,
                weights: record.base.weights.clone(),
                vault: state.vault().clone(),
                began: Instant::now(),
                energy: Energy::start(&Sensors::default()),
            })));
        }
    };
    report.why = Some(why);
    state.record.in_round = false;
    state.save()?;
    Ok(Begun::Nothing(Box::new(report)))
}

/// Asks for every annotation that is missing; each answer is in the buffer, and counted, before the
/// next is asked.
fn ask(
    state: &mut State,
    buffer: &mut Buffer,
    person: &mut Person,
    report: &mut Report,
) -> Result<(), Error> {
    use crate::samples::Flags;
    person.refresh(state.vault())?;
    let mut queued = 0;
    let all = buffer.read_all(|error| eprintln!("{error}"));
    for held in &all {
        let done = held.is_annotated() || held.flags.contains(Flags::SKIPPED);
        if done || held.dialogue.response().is_none() {
            continue;
        }
        let waited = matches!(person, Person::Queue(_));
        match person.ask(&held.question()).map_err(crate::engine::Error::Output)? {
            Reply::Now(answer) => {
                let learned = buffer.annotate_or_skip(held, &answer)?;
                state.record.new_annotations += u64::from(learned);
                // A queued request was counted when it was written.
                report.asked += u64::from(!waited);
                state.record.annotations += u64::from(!waited);
                state.save()?;
            }
            Reply::Later => queued += 1,
            Reply::Waiting => {}
        }
    }
    let living: HashSet<u64> = all.iter().map(|held| held.arrival).collect();
    person.save(state.vault(), |arrival| living.contains(&arrival))?;
    report.asked += queued;
    state.record.annotations += queued;
    Ok(state.save()?)
}
