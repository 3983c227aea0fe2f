//! One round: ask for annotations, synthesise, fine-tune, and keep the adapter only if it helps.
//!
//! ```text
//! 1 ask        every buffered dialogue without an annotation; write the answers into the buffer
//! 2 synthesise questions for what was annotated and has none yet; synthesised.jsonl
//! 3 tune       the current adapter goes on with a fresh optimiser, over responses to questions and
//!              to synthesised questions; a tenth of the dialogues may be held out to stop early;
//!              cut anywhere, it goes on from the checkpoint in training/
//! 4 install    adapters/N+1, then state.json names it; a loss that did not fall installs nothing
//! ```

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use homespun_core::rng::hash;

use super::annotate::{Person, Reply};
use super::buffer::{Buffer, Held};
use super::presets::{Plan, Trigger};
use super::synthesise::{Rejected, Variant, synthesise};
use super::{Error, Rounds};
use crate::adapter::Adapter;
use crate::dialogue::{Dialogue, Role};
use crate::durable::go_on;
use crate::engine::Engine;
use crate::progress::{self, Progress};
use crate::state::seen::Seen;
use crate::state::{self, State};
use crate::tune::pace::Keeper;
use crate::tune::store::{Judged, Store};
use crate::tune::{self, Event, Example, Options, Trainer};

/// Dialogues of which one is held out.
const HELD_OUT_OF: u64 = 10;

/// Whether a round over so many dialogues holds a tenth of them out.
pub(crate) fn holds_out(plan: &Plan, dialogues: usize) -> bool {
    let least = (plan.least_held_out as u64).max(1).saturating_mul(HELD_OUT_OF);
    plan.patience > 0 && dialogues as u64 >= least
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Requests made.
    pub asked: u64,
    /// Annotated dialogues that it learned from.
    pub learned_from: usize,
    /// Synthesised questions that the gate kept, in this round.
    pub synth_kept: u64,
    /// And those it rejected.
    pub rejected: Rejected,
    /// Training steps.
    pub steps: usize,
    /// Loss on what was held out (on all of it, where nothing was) before the round.
    pub loss_before: f64,
    /// And with the adapter that was installed.
    pub loss_after: f64,
    /// Whether there is a new adapter.
    pub installed: bool,
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
    let plan = rounds.plan;
    let mut report = Report::default();
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
    let nothing_new =
        state.record.new_annotations == 0 && matches!(plan.trigger, Trigger::Unannotated(_));
    if held.is_empty() || nothing_new {
        let new = if held.is_empty() { "" } else { "new " };
        eprintln!("round: no {new}annotations, so nothing to learn from");
        state.record.in_round = false;
        state.save()?;
        return Ok(report);
    }
    let current = super::current(state, &engine)?;
    let variants = write_variants(engine, state, current.as_ref(), &held, plan, &mut report)?;
    let (train, held_out) = prepare(engine, state, &held, &variants, plan)?;
    if train.is_empty() {
        eprintln!("round: no annotated dialogue has a token to learn, so nothing to learn from");
        state.record.in_round = false;
        state.save()?;
        return Ok(report);
    }
    let mut start = current.unwrap_or_else(|| {
        let base = engine.base();
        Adapter::fresh(plan.lora, base.config(), base.name(), hash(&[state.record.seed, 1]))
    });
    // How to train is the plan's; a file does not say it.
    start.config.freeze_a = plan.lora.freeze_a;
    start.trained_on = Some(engine.base().hashes());
    engine.prepare(&mut start)?;
    if let Some(tuned) = tune(engine, start, &train, &held_out, rounds, state, &mut report)? {
        let generation = state.record.generation + 1;
        let (folder, vault) = (state.adapter(generation), state.vault().clone());
        // A folder that no record names is what a cut round left behind.
        remove(&vault.path(&folder))?;
        vault.make_folder(state::ADAPTERS, &mut go_on)?;
        tuned.save_in(&vault, &folder, engine.base().config())?;
        // It goes on from the adapter before, so it has seen what that one saw.
        let before = state.current_adapter();
        let before = before.map(|before| Seen::read(&vault, &before)).transpose()?.flatten();
        let mut seen = before.unwrap_or_default();
        for one in &held {
            seen.add(&mut state.record, one.arrival)?;
        }
        seen.write(&vault, &folder)?;
        state.record.generation = generation;
        state.record.using = None;
        report.installed = true;
    }
    state.record.rounds += 1;
    state.record.new_annotations = 0;
    state.record.in_round = false;
    state.save()?;
    remove(&state.vault().path(state::TRAINING))?;
    Ok(report)
}

/// Removes a folder of the state, if it is there.
fn remove(folder: &Path) -> Result<(), Error> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(state::Error::io(folder))?;
    }
    Ok(())
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

/// The variants of all living samples; new ones are synthesised for samples that were never tried.
fn write_variants(
    engine: Engine,
    state: &mut State,
    adapter: Option<&Adapter>,
    held: &[Held],
    plan: &Plan,
    report: &mut Report,
) -> Result<Vec<Tried>, Error> {
    let living: HashSet<u64> = held.iter().map(|held| held.arrival).collect();
    let mut tried: Vec<Tried> = state::read_json_lines(state.vault(), state::SYNTHESISED)?;
    tried.retain(|one| living.contains(&one.arrival));
    let known: HashSet<u64> = tried.iter().map(|one| one.arrival).collect();
    let fresh: Vec<&Held> = held.iter().filter(|held| !known.contains(&held.arrival)).collect();
    let mut session = engine.session(adapter);
    let mut progress = Progress::new("synthesise", fresh.len());
    for held in fresh {
        let question = held.dialogue.question().iter().rev().find(|m| m.role == Role::User);
        let variants = match question {
            Some(question) if plan.synth > 0 => synthesise(
                &mut session,
                held.arrival,
                &question.content,
                plan.synth,
                state.record.seed,
                &mut report.rejected,
            )?,
            _ => Vec::new(),
        };
        report.synth_kept += variants.len() as u64;
        progress.advance(1, 0);
        tried.push(Tried { arrival: held.arrival, variants });
    }
    state::write_json_lines(state.vault(), state::SYNTHESISED, &tried)?;
    state.record.synth_kept += report.synth_kept;
    state.record.synth_rejected += report.rejected.total();
    state.save()?;
    Ok(tried)
}

/// A sample that synthesis was tried for: a line of `synthesised.jsonl`.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Tried {
    arrival: u64,
    variants: Vec<Variant>,
}

/// What is trained on and what is held out.
fn prepare(
    engine: Engine,
    state: &State,
    held: &[Held],
    tried: &[Tried],
    plan: &Plan,
) -> Result<(Vec<Example>, Vec<Example>), Error> {
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    let holds_out = holds_out(plan, held.len());
    // By arrival, so that a dialogue which is held out once stays so.
    let draw = |one: &Held| hash(&[state.record.seed, 2, one.arrival]);
    let least = held.iter().map(draw).min();
    for one in held {
        let drawn = draw(one) % HELD_OUT_OF == 0 || Some(draw(one)) == least;
        if holds_out && drawn {
            held_out.push(one.dialogue.clone());
            continue;
        }
        train.push(one.dialogue.clone());
        let variants = tried.iter().filter(|t| t.arrival == one.arrival);
        for variant in variants.flat_map(|t| &t.variants) {
            train.push(with_question(&one.dialogue, &variant.question));
        }
    }
    let mut told = Vec::new();
    let mut ready = |dialogues: &[Dialogue]| {
        let tell = |line: &str| told.push(line.to_owned());
        tune::prepare(engine.base(), dialogues, plan.mode, plan.max_length, tell)
    };
    let prepared = (ready(&train)?, ready(&held_out)?);
    if let Some(first) = told.first() {
        let line = format!("round: {} dialogues were shortened or left out; {first}", told.len());
        progress::say(&line);
    }
    Ok(prepared)
}

/// `dialogue` with another last user message before its response.
fn with_question(dialogue: &Dialogue, question: &str) -> Dialogue {
    let mut variant = dialogue.clone();
    let before = dialogue.question().len();
    let last = variant.messages[..before].iter_mut().rev().find(|m| m.role == Role::User);
    if let Some(message) = last {
        message.content = question.into();
    }
    variant
}

/// Trains; gives the best adapter, or `None` if none was better than the start.
fn tune(
    engine: Engine,
    mut adapter: Adapter,
    train: &[Example],
    held_out: &[Example],
    rounds: Rounds,
    state: &State,
    report: &mut Report,
) -> Result<Option<Adapter>, Error> {
    let Rounds { plan, pace } = rounds;
    let judged = if held_out.is_empty() { train } else { held_out };
    let mean = |(nll, tokens): (f64, usize)| nll / tokens.max(1) as f64;
    let seed = hash(&[state.record.seed, 3, state.record.rounds]);
    let options = Options { seed, ..plan.train };
    let mut best: Option<Vec<f32>> = None;
    let mut waited = 0;
    // Beside the run's own memory there is the best adapter so far, if one is looked for.
    let best_bytes = if held_out.is_empty() { 0 } else { 4 * adapter.parameters.len() as u64 };
    let engine = engine.with_budget(engine.budget().less(best_bytes));
    let mut trainer = Trainer::judged_by(&engine, &mut adapter, train, options, judged)?;
    report.loss_before = mean(trainer.loss(judged)?);
    report.loss_after = report.loss_before;
    let mut progress = Progress::new("fine-tune", trainer.steps());
    let model = state.record.base.weights.clone();
    let store = Store::sealed(state.vault(), state::TRAINING, model);
    let mut keeper = Keeper::new(store, pace);
    match keeper.resume(&mut trainer) {
        Ok(None) => {}
        Ok(Some(cut)) => {
            progress.advance(trainer.steps_done(), 0);
            waited = cut.waited;
            if let Some((loss, parameters)) = cut.best {
                report.loss_after = loss;
                best = Some(parameters);
            }
        }
        Err(error) if error.is_of_another() => {
            progress.say(&format!("{error}; the round's training begins again"));
            keeper.discard()?;
        }
        Err(error) => return Err(error.into()),
    }
    loop {
        let event = trainer.advance()?;
        match event {
            Event::Ended => break,
            Event::Part => {}
            Event::Step(step) => {
                progress.advance(1, step.tokens);
                if step.ends_epoch && !held_out.is_empty() {
                    let now = mean(trainer.loss(judged)?);
                    if now < report.loss_after {
                        (report.loss_after, waited) = (now, 0);
                        let now = &trainer.adapter().parameters;
                        match &mut best {
                            Some(best) => best.copy_from_slice(now),
                            None => best = Some(now.clone()),
                        }
                    } else {
                        waited += 1;
                        if waited >= plan.patience as u64 {
                            break;
                        }
                    }
                }
            }
        }
        if keeper.is_due(&event) {
            let best = best.as_ref().map(|best| (report.loss_after, &best[..]));
            if let Some(cause) = keeper.save(&trainer, Judged { best, waited })? {
                return Err(Error::Stopped(cause));
            }
        }
        keeper.rest();
    }
    report.steps = trainer.steps_done();
    drop(progress);
    if held_out.is_empty() {
        let now = mean(trainer.loss(judged)?);
        if now < report.loss_after {
            report.loss_after = now;
            return Ok(Some(adapter));
        }
    }
    Ok(best.map(|parameters| Adapter { parameters, ..adapter }))
}
