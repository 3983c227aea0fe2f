//! LoRA fine-tuning over prepared dialogues: order, batches, micro-batches, steps.
//!
//! ```text
//! order    the dialogues, one shuffled copy after another (or the file's order, wrapping round)
//! batch s  order[s * batch ..][.. batch]; epochs end the order after epochs * dialogues, and then a
//!          batch is at most all dialogues
//! step     gradients of all micro-batches, added up; divided by the batch's target tokens;
//!          clipped; AdamW
//! cut      after any micro-batch: see `checkpoint` for what is kept, `store` for where
//! ```

mod checkpoint;
mod key;
pub mod pace;
pub(crate) mod plan;
pub mod rest;
pub mod store;

use core::ops::Range;
use std::time::Instant;

use homespun_core::adamw::{self, AdamW, Moments};
use homespun_core::arena::Arena;
use homespun_core::lora::Lora;
use homespun_core::rng::{Rng, hash};
use homespun_core::schedule::Schedule;
use homespun_core::train::{self, Dropout};
use memmap2::MmapMut;

use crate::adapter::Adapter;
use crate::chat::Loss;
use crate::dialogue::Dialogue;
use crate::engine::{Base, Engine, Error};
use key::Key;
pub use plan::{Budget, Demand, Plan, Run};

/// A dialogue as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Token ids, `(T)`.
    pub tokens: Vec<u32>,
    /// `(T)`: whether the token is predicted and counted.
    pub targets: Vec<bool>,
    /// What dropout knows the dialogue by.
    pub id: u64,
}

impl Example {
    /// How many tokens are targets; the first token has nothing before it and never is one.
    pub fn target_tokens(&self) -> usize {
        self.targets.iter().skip(1).filter(|&&target| target).count()
    }

    /// As core takes it.
    pub(crate) fn lend(&self) -> train::Example<'_> {
        train::Example { tokens: &self.tokens, targets: &self.targets, id: self.id }
    }
}

/// Renders dialogues; those without a target are left out, and `say` hears of each that is left out
/// or shortened.
///
/// # Errors
/// If the template or the tokenizer fails.
pub fn prepare(
    base: &Base,
    dialogues: &[Dialogue],
    mode: Loss,
    max_length: usize,
    mut say: impl FnMut(&str),
) -> Result<Vec<Example>, Error> {
    let mut examples = Vec::with_capacity(dialogues.len());
    for (i, dialogue) in dialogues.iter().enumerate() {
        let Some(messages) = dialogue.target_messages() else {
            say(&format!("dialogue {}: does not end with a reply, so it has no target", i + 1));
            continue;
        };
        let limit = max_length.min(base.config().max_context);
        let rendered = match base.rendered(&messages, false, limit) {
            // One dialogue that the template refuses does not end the others' learning.
            Err(Error::Chat(error)) => {
                say(&format!("dialogue {}: left out: {error}", i + 1));
                continue;
            }
            rendered => rendered?,
        };
        if rendered.dropped > 0 || rendered.cut > 0 {
            say(&format!(
                "dialogue {}: its oldest {} messages and {} tokens were left out to fit {limit}",
                i + 1,
                rendered.dropped,
                rendered.cut
            ));
        }
        let targets = rendered.targets(mode);
        let example = Example { tokens: rendered.ids, targets, id: i as u64 };
        if example.target_tokens() == 0 {
            say(&format!("dialogue {}: has no target token", i + 1));
            continue;
        }
        examples.push(example);
    }
    Ok(examples)
}

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Times through the dialogues.
    Epochs(usize),
    /// Steps.
    Steps(usize),
}

/// Everything but the adapter's own shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Learning rate.
    pub lr: f64,
    /// Dialogues of a step. Epochs take at most all there are; steps wrap round.
    pub batch: usize,
    /// Dialogues computed at once; by default as many as the plan has room for.
    pub micro_batch: Option<usize>,
    /// When to end.
    pub length: Length,
    /// Steps of linear warm-up.
    pub warmup: usize,
    /// The learning rate after the warm-up.
    pub schedule: Schedule,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Largest norm of the gradient; 0 for any.
    pub clip: f64,
    /// Whether each time through the dialogues has an order of its own.
    pub shuffle: bool,
    /// Seed of order and dropout.
    pub seed: u64,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// From 1.
    pub step: usize,
    /// Mean over the batch's target tokens, before the update.
    pub loss: f64,
    /// Learning rate of the update.
    pub lr: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens computed.
    pub tokens: usize,
    /// Wall time of the step.
    pub seconds: f64,
    /// Whether the dialogues were all seen once more with this step.
    pub ends_epoch: bool,
}

/// How far [`Trainer::advance`] came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A micro-batch of a step that has more.
    Part,
    /// A step.
    Step(Step),
    /// To the end of the run, before.
    Ended,
}

/// A training run: call [`step`](Self::step) until it gives `None`.
pub struct Trainer<'t, 'm> {
    engine: &'t Engine<'m>,
    adapter: &'t mut Adapter,
    examples: &'t [Example],
    options: Options,
    batch: usize,
    /// Rows of the longest of what it is judged by.
    judge: usize,
    /// Length of the whole order, in dialogues.
    end: usize,
    at: usize,
    step: usize,
    /// Micro-batches of the current step that are in the gradients.
    parts: usize,
    /// Sum of their losses.
    nll: f64,
    /// Seconds that they took.
    spent: f64,
    /// The current step's dialogues, or empty.
    dialogues: Vec<usize>,
    order: Vec<usize>,
    /// The epoch that `order` is of.
    epoch: usize,
    /// Of what is trained alone, as are the moments.
    gradients: Vec<f32>,
    moments: [Vec<f32>; 2],
    updates: u64,
    key: Key,
    plan: Plan,
    planned: u64,
    /// Whether weights are to be fetched ahead.
    fetch: bool,
    memory: MmapMut,
}

impl<'t, 'm> Trainer<'t, 'm> {
    /// Prepares a run that changes `adapter`.
    ///
    /// # Errors
    /// If there is nothing to train on, or too little memory.
    pub fn new(
        engine: &'t Engine<'m>,
        adapter: &'t mut Adapter,
        examples: &'t [Example],
        options: Options,
    ) -> Result<Self, Error> {
        Self::judged_by(engine, adapter, examples, options, &[])
    }

    /// The same in memory that is enough for the [`loss`](Self::loss) of `judges` as well.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn judged_by(
        engine: &'t Engine<'m>,
        adapter: &'t mut Adapter,
        examples: &'t [Example],
        options: Options,
        judges: &[Example],
    ) -> Result<Self, Error> {
        if examples.is_empty() {
            return Err(Error::NothingToLearn);
        }
        let n = examples.len();
        let (batch, end) = match options.length {
            Length::Epochs(epochs) => (options.batch.clamp(1, n), epochs.saturating_mul(n)),
            Length::Steps(steps) => {
                (options.batch.max(1), steps.saturating_mul(options.batch.max(1)))
            }
        };
        let trainable = adapter.config.trainable(engine.base().config());
        let key = Key::of(&options, examples, adapter, engine.base().config());
        let judge = rows(judges).first().copied().unwrap_or(0);
        let micro_batch = options.micro_batch;
        let run = Run { rows: &rows(examples), batch, micro_batch, judge };
        let (plan, planned) = Plan::of_run(engine, adapter, run, None)?;
        let memory = MmapMut::map_anon(plan.arena()).map_err(Error::Memory)?;
        Ok(Self {
            engine,
            adapter,
            examples,
            options,
            batch,
            judge,
            end,
            at: 0,
            step: 0,
            parts: 0,
            nll: 0.0,
            spent: 0.0,
            dialogues: Vec::new(),
            order: Vec::new(),
            epoch: 0,
            gradients: vec![0.0; trainable],
            moments: [vec![0.0; trainable], vec![0.0; trainable]],
            updates: 0,
            key,
            plan,
            planned,
            fetch: engine.streams(),
            memory,
        })
    }

    /// How it is laid out in memory.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Anonymous memory of the whole process by the plan.
    pub fn planned_bytes(&self) -> u64 {
        self.planned
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> usize {
        self.end.div_ceil(self.batch)
    }

    /// Steps made so far, by this run and by the one it goes on from.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// Times that all dialogues were seen.
    pub fn epochs_done(&self) -> usize {
        self.at / self.examples.len()
    }

    /// The adapter as it is now.
    pub fn adapter(&self) -> &Adapter {
        self.adapter
    }

    /// What decides the order of additions, and so every last bit.
    pub fn plan_words(&self) -> Vec<u64> {
        self.plan.words().to_vec()
    }

    /// Lays memory out anew, in the pieces that `words` say.
    ///
    /// # Errors
    /// If there is not enough of it for them.
    fn plan_again(&mut self, words: &[u64]) -> Result<(), Error> {
        let (batch, micro_batch, judge) = (self.batch, self.options.micro_batch, self.judge);
        let run = Run { rows: &rows(self.examples), batch, micro_batch, judge };
        // What was laid out goes first, or a plan would have to do beside it.
        self.memory = MmapMut::map_anon(1).map_err(Error::Memory)?;
        let again = Plan::of_run(self.engine, self.adapter, run, Some(words));
        let again = again.map(|(plan, planned)| (self.plan, self.planned) = (plan, planned));
        self.memory = MmapMut::map_anon(self.plan.arena()).map_err(Error::Memory)?;
        again
    }

    /// Makes one step; `None` once the run has ended.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub fn step(&mut self) -> Result<Option<Step>, Error> {
        loop {
            match self.advance()? {
                Event::Part => {}
                Event::Step(step) => return Ok(Some(step)),
                Event::Ended => return Ok(None),
            }
        }
    }

    /// Computes one micro-batch, and after a step's last one makes the step.
    ///
    /// # Errors
    /// If the model fails, or the loss or the gradient is not finite; the adapter is then as it was
    /// before the step. If the step made it not finite; it is then of no use.
    pub fn advance(&mut self) -> Result<Event, Error> {
        if self.at >= self.end {
            return Ok(Event::Ended);
        }
        let start = Instant::now();
        let range = self.at..self.at.saturating_add(self.batch).min(self.end);
        if self.dialogues.is_empty() {
            self.dialogues = range.clone().map(|place| self.example_at(place)).collect();
        }
        let batch = core::mem::take(&mut self.dialogues);
        let targets: usize = batch.iter().map(|&i| self.examples[i].target_tokens()).sum();
        let tokens = batch.iter().map(|&i| self.examples[i].tokens.len()).sum();
        if self.parts == 0 {
            self.gradients.fill(0.0);
        }
        let micros = self.micro_batches(&batch);
        if let Some(micro) = micros.get(self.parts) {
            self.nll += self.accumulate(&batch[micro.clone()], 1.0 / targets as f32)?;
            self.parts += 1;
        }
        self.spent += start.elapsed().as_secs_f64();
        if self.parts < micros.len() {
            self.dialogues = batch;
            return Ok(Event::Part);
        }
        let start = Instant::now();
        self.parts = 0;
        let loss = core::mem::take(&mut self.nll) / targets as f64;
        let clip = if self.options.clip > 0.0 { self.options.clip } else { f64::INFINITY };
        let grad_norm = adamw::clip(&mut self.gradients, clip);
        if !loss.is_finite() || !grad_norm.is_finite() {
            return Err(Error::NonFinite { step: self.step + 1 });
        }
        let (step, warmup, steps) = (self.step, self.options.warmup, self.steps());
        let lr = self.options.lr
            * self.options.schedule.factor(step as u64, warmup as u64, steps as u64);
        let adamw = AdamW { weight_decay: self.options.weight_decay, ..AdamW::default() };
        let [first, second] = &mut self.moments;
        let mut moments = Moments { first, second, steps: &mut self.updates };
        let Adapter { config, parameters, .. } = &mut *self.adapter;
        let trained = config.trained(self.engine.base().config());
        adamw.step_parts(lr, &self.gradients, &mut moments, parameters, trained);
        self.engine.renew(self.adapter)?;
        if !self.adapter.parameters.iter().all(|parameter| parameter.is_finite()) {
            return Err(Error::NonFinite { step: self.step + 1 });
        }
        self.step += 1;
        self.at = range.end;
        let n = self.examples.len();
        Ok(Event::Step(Step {
            step: self.step,
            loss,
            lr,
            grad_norm,
            tokens,
            seconds: core::mem::take(&mut self.spent) + start.elapsed().as_secs_f64(),
            ends_epoch: range.end / n > range.start / n,
        }))
    }

    /// Sum of the negative log-likelihoods of the targets of `examples` with the adapter as it is, and
    /// their number; computed in the run's own memory where that is enough.
    ///
    /// # Errors
    /// If the model fails.
    pub fn loss(&mut self, examples: &[Example]) -> Result<(f64, usize), Error> {
        let (adapter, pieces) = (Some(&*self.adapter), self.plan.pieces);
        self.engine.loss_in(adapter, examples, pieces, &mut self.memory)
    }

    /// The dialogue at `place` of the order.
    fn example_at(&mut self, place: usize) -> usize {
        let (n, epoch) = (self.examples.len(), place / self.examples.len());
        if !self.options.shuffle {
            return place % n;
        }
        if epoch != self.epoch || self.order.is_empty() {
            self.order = (0..n).collect();
            self.epoch = epoch;
            Rng::new(hash(&[self.options.seed, epoch as u64])).shuffle(&mut self.order);
        }
        self.order[place % n]
    }

    /// Ranges of the batch that are computed at once.
    fn micro_batches(&self, batch: &[usize]) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let (mut from, mut rows) = (0, 0);
        for (i, &example) in batch.iter().enumerate() {
            let more = self.examples[example].lend().rows();
            let full = match self.options.micro_batch {
                Some(n) => i - from >= n,
                None => rows + more > self.plan.rows,
            };
            if full && i > from {
                ranges.push(from..i);
                (from, rows) = (i, 0);
            }
            rows += more;
        }
        ranges.push(from..batch.len());
        ranges
    }

    fn accumulate(&mut self, micro: &[usize], scale: f32) -> Result<f64, Error> {
        let lent: Vec<_> = micro.iter().map(|&i| self.examples[i].lend()).collect();
        let lora = Lora { config: self.adapter.config, parameters: &self.adapter.parameters };
        let dropout = Dropout { seed: self.options.seed, step: self.step as u64 };
        let arena = Arena::new(&mut self.memory);
        let (pieces, fetch, gradients) = (self.plan.pieces, self.fetch, &mut self.gradients);
        self.engine.gradients(lora, dropout, &lent, scale, pieces, fetch, arena, gradients)
    }
}

/// The rows of each example, the longest first.
fn rows(examples: &[Example]) -> Vec<usize> {
    let mut rows: Vec<usize> = examples.iter().map(|example| example.lend().rows()).collect();
    rows.sort_unstable_by(|a, b| b.cmp(a));
    rows
}

#[cfg(test)]
mod tests;
