//! The training of a round: what is learned and what is held out, and which epoch is the best.
//!
//! An epoch is judged by its loss on what was held out, or, where that would be too little to judge by,
//! on what is learned. With a guard general dialogues are rehearsed, and what was learned is taken in
//! full, or else in such a share that others are still predicted well: the adapter between the one
//! before and the one after (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").

use std::time::Instant;

use homespun_core::rng::{Rng, hash};

use super::share::{Taken, Within};
use super::variants::with_question;
use super::{Care, Outcome, Phase, Task, Why};
use crate::adapter::Adapter;
use crate::dialogue::Dialogue;
use crate::engine::Engine;
use crate::personalize::buffer::Held;
use crate::personalize::presets::Plan;
use crate::personalize::{Error, Rounds};
use crate::progress::{self, Progress};
use crate::state;
use crate::state::rounds::Epoch;
use crate::tune::pace::Keeper;
use crate::tune::store::{Judged, Store};
use crate::tune::{self, Event, Example, Options, Trainer};

/// Dialogues of which one is held out.
const HELD_OUT_OF: u64 = 10;

/// The person's dialogues that are learned with each general one.
const OWN: usize = 4;

/// Whether a round over so many dialogues holds a tenth of them out.
pub(crate) fn holds_out(plan: &Plan, dialogues: usize) -> bool {
    let least = (plan.least_held_out as u64).max(1).saturating_mul(HELD_OUT_OF);
    plan.patience > 0 && dialogues as u64 >= least
}

/// What is trained on, and what tells a good epoch from a bad one.
pub(super) struct Sets<'s> {
    train: &'s [Example],
    /// Those of `train` that are the person's.
    own: &'s [Example],
    pub held_out: &'s [Example],
    pub general: &'s [Example],
    /// All of the person's dialogues as they are, and each with a question that another one asks.
    pub pairs: [&'s [Example]; 2],
}

/// What an adapter is judged by.
#[derive(Clone, Copy)]
struct Losses {
    own: f64,
    general: Option<f64>,
}

/// The best adapter so far.
struct Best {
    loss: f64,
    parameters: Option<Vec<f32>>,
    /// Epochs since then.
    waited: u64,
}

impl Task {
    /// Trains, and compares what came of it with the current adapter.
    ///
    /// # Errors
    /// If the model or a checkpoint fails; [`Error::Stopped`] if it was told to stop: it goes on then.
    pub fn train(&mut self, engine: Engine, rounds: Rounds) -> Result<(), Error> {
        let (learned, held_out) = self.split(rounds.plan);
        let to_learn = self.with_variants(learned.iter().map(|one| (one.arrival, &one.dialogue)));
        let held: Vec<Dialogue> = held_out.iter().map(|one| one.dialogue.clone()).collect();
        let guarded = rounds.care.general.is_some();
        let pairs = if guarded { self.pairs() } else { Default::default() };
        let (mut train, held) = prepare(engine, rounds.plan, &to_learn, &held)?;
        let (asked, swapped) = prepare(engine, rounds.plan, &pairs[0], &pairs[1])?;
        let shown: Vec<Held> =
            if held.is_empty() { learned } else { held_out }.into_iter().cloned().collect();
        if train.is_empty() {
            self.report.why = Some(Why::NoTarget);
            return Ok(());
        }
        let own = train.len();
        let (rehearsed, general) = match rounds.care.general {
            Some(general) => (&general.rehearsed[..], &general.judged[..]),
            None => (&[][..], &[][..]),
        };
        rehearse(&mut train, rehearsed, hash(&[self.seed, 4, self.rounds]));
        let sets = Sets {
            train: &train,
            own: &train[..own],
            held_out: &held,
            general,
            pairs: [&asked, &swapped],
        };
        let start = self.start(engine, rounds.plan)?;
        self.outcome = match self.tune(engine, start, &sets, rounds) {
            Err(Error::Engine(error)) if rounds.care.general.is_some() && error.is_non_finite() => {
                self.report.why = Some(Why::NonFinite { step: self.report.steps + 1 });
                Outcome::Lost
            }
            tuned => tuned?,
        };
        if let Outcome::Adapter(adapter) = &mut self.outcome {
            engine.prepare(adapter)?;
            if rounds.care.shown > 0 {
                self.compare(engine, &shown, !held.is_empty(), rounds)?;
            }
        }
        Ok(())
    }

    /// What is learned from, and what is held out.
    fn split(&self, plan: &Plan) -> (Vec<&Held>, Vec<&Held>) {
        let holds_out = holds_out(plan, self.held.len());
        // By arrival, so that a dialogue which is held out once stays so.
        let draw = |one: &Held| hash(&[self.seed, 2, one.arrival]);
        let least = self.held.iter().map(draw).min();
        let drawn = |one: &Held| draw(one) % HELD_OUT_OF == 0 || Some(draw(one)) == least;
        self.held.iter().partition(|one| !(holds_out && drawn(one)))
    }

    /// The dialogues, and each with the question of the next one.
    fn pairs(&self) -> [Vec<Dialogue>; 2] {
        let next = self.held.iter().cycle().skip(1);
        let swapped = self.held.iter().zip(next);
        let swapped = swapped.map(|(one, next)| with_question(&one.dialogue, next.question_text()));
        [self.held.iter().map(|one| one.dialogue.clone()).collect(), swapped.collect()]
    }

    /// The current adapter, or a fresh one.
    fn start(&self, engine: Engine, plan: &Plan) -> Result<Adapter, Error> {
        let mut start = self.current.clone().unwrap_or_else(|| {
            let base = engine.base();
            Adapter::fresh(plan.lora, base.config(), base.name(), hash(&[self.seed, 1]))
        });
        // How to train is the plan's; a file does not say it.
        start.config.freeze_a = plan.lora.freeze_a;
        start.trained_on = Some(engine.base().hashes());
        engine.prepare(&mut start)?;
        Ok(start)
    }

    fn tune(
        &mut self,
        engine: Engine,
        mut adapter: Adapter,
        sets: &Sets,
        rounds: Rounds,
    ) -> Result<Outcome, Error> {
        let Rounds { plan, pace, care } = rounds;
        let options = Options { seed: hash(&[self.seed, 3, self.rounds]), ..plan.train };
        let guarded = care.general.is_some();
        let each_epoch = guarded || !sets.held_out.is_empty();
        // Beside the run's own memory there is the best adapter so far, if one is looked for, and the
        // one before, to go back towards.
        let copies = u64::from(each_epoch) + u64::from(guarded);
        let best_bytes = copies * 4 * adapter.parameters.len() as u64;
        let start = if guarded { adapter.parameters.clone() } else { Vec::new() };
        let engine = engine.with_budget(engine.budget().less(best_bytes));
        let judges = sets.longest();
        let mut trainer = Trainer::judged_by(&engine, &mut adapter, sets.train, options, judges)?;
        let before = sets.losses(&mut trainer)?;
        let within = before.general.map(Within::of);
        let report = &mut self.report;
        (report.loss_before, report.loss_after) = (before.own, before.own);
        report.general = before.general.map(|general| (general, general));
        let mut best = Best { loss: before.own, parameters: None, waited: 0 };
        let mut last = before;
        let mut progress = Progress::new("fine-tune", trainer.steps());
        let store = Store::sealed(&self.vault, state::TRAINING, self.weights.clone());
        let mut keeper = Keeper::new(store, pace);
        match keeper.resume(&mut trainer) {
            Ok(None) => {}
            Ok(Some(cut)) => {
                progress.advance(trainer.steps_done(), 0);
                best.waited = cut.waited;
                if let Some((loss, parameters)) = cut.best {
                    (best.loss, best.parameters) = (loss, Some(parameters));
                }
            }
            Err(error) if error.is_of_another() => {
                progress.say(&format!("{error}; the round's training begins again"));
                keeper.discard()?;
            }
            Err(error) => return Err(error.into()),
        }
        let begin = Instant::now();
        // Whether parameters were made that no epoch's end has judged.
        let mut unjudged = !each_epoch;
        loop {
            rounds.tell(Phase::Train(trainer.steps_done(), trainer.steps()));
            if care.budget.is_some_and(|budget| begin.elapsed() >= budget) {
                progress.say("the round's time is up: the best epoch so far counts");
                break;
            }
            let event = trainer.advance()?;
            report.steps = trainer.steps_done();
            match event {
                Event::Ended => break,
                Event::Part => {}
                Event::Step(step) => {
                    progress.advance(1, step.tokens);
                    unjudged = true;
                    if step.ends_epoch && each_epoch {
                        unjudged = false;
                        last = sets.losses(&mut trainer)?;
                        report.curve.push(last.epoch(&trainer));
                        best.judge(last, within, &trainer);
                        if plan.patience > 0 && best.waited >= plan.patience as u64 {
                            break;
                        }
                    }
                }
            }
            if keeper.is_due(&event) {
                let kept = best.parameters.as_ref().map(|it| (best.loss, &it[..]));
                if let Some(cause) =
                    keeper.save(&trainer, Judged { best: kept, waited: best.waited })?
                {
                    return Err(Error::Stopped(cause));
                }
            }
            keeper.rest();
        }
        drop(progress);
        if unjudged {
            last = sets.losses(&mut trainer)?;
            if each_epoch {
                report.curve.push(last.epoch(&trainer));
            }
            best.judge(last, within, &trainer);
        }
        drop(trainer);
        let held_out = !sets.held_out.is_empty();
        let not_better = |after| Why::NotBetter { held_out, before: before.own, after };
        let Some(parameters) = best.parameters else {
            report.why = Some(match within.zip(last.general) {
                Some((within, after)) if !within.may_become(after) => within.why(after),
                _ => not_better(last.own),
            });
            if !guarded {
                return Ok(Outcome::Lost);
            }
            report.loss_after = last.own;
            report.general = before.general.zip(last.general);
            return Ok(Outcome::Adapter(Box::new(adapter)));
        };
        report.loss_after = best.loss;
        adapter.parameters = parameters;
        if let Some(within) = within {
            let taken = Taken::of(sets, &engine, &mut adapter, &start, within)?;
            report.share = taken.share;
            report.loss_after = taken.own;
            report.general = Some((within.before, taken.general));
            report.why = taken.why(sets, &engine, &adapter, within)?;
            let is_better = taken.own < before.own;
            if report.why.is_none() && !is_better {
                report.why = Some(not_better(taken.own));
            }
        }
        Ok(Outcome::Adapter(Box::new(adapter)))
    }
}

impl Sets<'_> {
    /// What epochs are judged by.
    pub(super) fn judged(&self) -> &[Example] {
        if self.held_out.is_empty() { self.own } else { self.held_out }
    }

    /// The set with the longest dialogue of those that are not learned alone.
    fn longest(&self) -> &[Example] {
        let rows = |set: &[Example]| set.iter().map(|one| one.tokens.len()).max();
        let (judged, general) = (self.judged(), self.general);
        if rows(general) > rows(judged) { general } else { judged }
    }

    fn losses(&self, trainer: &mut Trainer) -> Result<Losses, Error> {
        let own = mean(trainer.loss(self.judged())?);
        let general =
            if self.general.is_empty() { None } else { Some(mean(trainer.loss(self.general)?)) };
        Ok(Losses { own, general })
    }
}

impl Losses {
    fn epoch(self, trainer: &Trainer) -> Epoch {
        Epoch { epoch: trainer.epochs_done(), loss: self.own, general: self.general }
    }
}

impl Best {
    /// Takes the adapter of `trainer` if it is better, and not too far from general dialogues.
    fn judge(&mut self, now: Losses, within: Option<Within>, trainer: &Trainer) {
        let well = within.zip(now.general).is_none_or(|(within, now)| within.may_become(now));
        if !(well && now.own < self.loss) {
            self.waited += 1;
            return;
        }
        (self.loss, self.waited) = (now.own, 0);
        let parameters = &trainer.adapter().parameters;
        match &mut self.parameters {
            Some(best) => best.copy_from_slice(parameters),
            None => self.parameters = Some(parameters.clone()),
        }
    }
}

/// Adds general dialogues: one for every [`OWN`] of the person's, and where these are few as many as of
/// theirs, each once.
fn rehearse(train: &mut Vec<Example>, general: &[Example], seed: u64) {
    let own = train.len();
    let wanted = own.div_ceil(OWN).max(own.min(general.len()));
    let mut order: Vec<&Example> = general.iter().collect();
    Rng::new(seed).shuffle(&mut order);
    let more = order.into_iter().cycle().take(wanted);
    train.extend(more.zip(own as u64..).map(|(one, id)| Example { id, ..one.clone() }));
}

pub(super) fn mean((nll, tokens): (f64, usize)) -> f64 {
    nll / tokens.max(1) as f64
}

/// Dialogues as the model sees them; what was left out of them is told.
fn prepare(
    engine: Engine,
    plan: &Plan,
    train: &[Dialogue],
    held_out: &[Dialogue],
) -> Result<(Vec<Example>, Vec<Example>), Error> {
    let mut told = Vec::new();
    let mut ready = |dialogues: &[Dialogue]| {
        let tell = |line: &str| told.push(line.to_owned());
        tune::prepare(engine.base(), dialogues, plan.mode, plan.max_length, tell)
    };
    let prepared = (ready(train)?, ready(held_out)?);
    if let Some(first) = told.first() {
        let line = format!("round: {} dialogues were shortened or left out; {first}", told.len());
        progress::say(&line);
    }
    Ok(prepared)
}

impl Rounds<'_> {
    /// Tells who listens how far the round is.
    pub(super) fn tell(&self, phase: Phase) {
        let Care { tell, .. } = self.care;
        if let Some(tell) = tell {
            tell(phase);
        }
    }
}
