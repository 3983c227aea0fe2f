//! How fast a model runs on this machine, and how near that is to what the machine can do.
//!
//! ```text
//! load      open the files and map the weights; a tokenizer is timed apart
//! prompt    a session, a prompt of N tokens and the first token after it
//! prefill   N tokens from an empty cache, and the logits of the last
//! decode    N times one token, from an empty cache; the ids are those of `generate`
//! train     one step: forward, backward, AdamW
//! limits    reading the same map, multiplying in registers      with the same threads
//! ```
//! Each is repeated; the best and the median are kept, and fractions are of the best.

mod limits;
mod report;
pub mod saved;
pub mod shape;
pub mod synthetic;

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use homespun_core::config::Config;
use homespun_core::lora::{LoraConfig, Target, Targets};
use homespun_core::rng::Rng;
use homespun_core::schedule::Schedule;
use homespun_kernels::{DType, Kernels, Pool};

use crate::adapter::Adapter;
use crate::builtin;
use crate::checkpoint::Checkpoint;
use crate::engine::{self, Base, Engine, Precision, Sampling, Session};
use crate::memory::Watch;
use crate::tune::{Budget, Example, Length, Options, Trainer};
pub use limits::Limits;
pub use report::{Rate, Report, Training};
use shape::Shape;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The random weights.
    #[error(transparent)]
    Synthetic(#[from] synthetic::Error),
    /// A number that the model has no room for.
    #[error(
        "--{option}: {value} is not between {least} and {most}, the most that this model has room for"
    )]
    Size {
        /// The option.
        option: &'static str,
        /// Its value.
        value: usize,
        /// The smallest that makes sense.
        least: usize,
        /// The largest that makes sense.
        most: usize,
    },
    /// What was timed is not what `generate` computes.
    #[error("token {index}: the timed run chose {timed}, generate chose {generated}")]
    Differs {
        /// How many tokens agree.
        index: usize,
        /// The timed run's.
        timed: u32,
        /// That of `generate`.
        generated: u32,
    },
}

/// What is measured.
pub enum Subject {
    /// A Hugging Face folder.
    Folder(PathBuf),
    /// The model that is built into the program.
    BuiltIn,
    /// Random weights of a shape.
    Synthetic {
        /// The shape.
        shape: Shape,
        /// How weights are stored.
        dtype: DType,
        /// They themselves.
        weights: File,
        /// The folder of a tokenizer that is loaded beside them, though nothing is tokenized.
        tokenizer: Option<PathBuf>,
    },
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tokens of the prompt.
    pub prefill: usize,
    /// Tokens that are decoded.
    pub decode: usize,
    /// A training step.
    pub train: Option<Train>,
    /// Repetitions of each.
    pub repeat: usize,
    /// How exactly a session computes; training never does less than f32.
    pub precision: Precision,
}

/// A training step: LoRA of rank 8 on all seven projections, every token a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    /// Tokens of an example.
    pub length: usize,
    /// Examples computed at once.
    pub batch: usize,
    /// Such batches whose gradients are added up for a step.
    pub accumulate: usize,
    /// The memory that it may take.
    pub budget: Budget,
}

impl Settings {
    /// Checks that a model with room for `context` tokens can do this.
    ///
    /// # Errors
    /// Names the first option that is too small or too large.
    pub fn check(&self, context: usize) -> Result<(), Error> {
        let mut sizes = vec![
            ("prefill", self.prefill, context),
            ("decode", self.decode, context),
            ("repeat", self.repeat, 1000),
        ];
        if let Some(train) = self.train {
            sizes.extend([
                ("length", train.length, context),
                ("batch", train.batch, 1 << 12),
                ("accumulate", train.accumulate, 1 << 12),
            ]);
        }
        // One token alone predicts none.
        let least = |option: &str| if option == "length" { 2 } else { 1 };
        let bad = sizes
            .into_iter()
            .find(|&(option, value, most)| !(least(option)..=most).contains(&value));
        match bad {
            Some((option, value, most)) => {
                Err(Error::Size { option, value, least: least(option), most })
            }
            None => Ok(()),
        }
    }
}

impl Subject {
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint, engine::Error> {
        Ok(match self {
            Subject::Folder(dir) => Checkpoint::open(dir)?,
            Subject::BuiltIn => builtin::checkpoint()?,
            Subject::Synthetic { shape, dtype, weights, .. } => {
                let quantization = synthetic::quantization(*dtype);
                let config = shape.config_json(quantization).to_string();
                Checkpoint::from_file(&PathBuf::from(shape.name), config.as_bytes(), weights)?
            }
        })
    }

    /// What a report that is kept is known by: random weights by their shape and type, others by
    /// themselves.
    pub(crate) fn identity(&self, checkpoint: &Checkpoint) -> String {
        match self {
            Subject::Folder(_) | Subject::BuiltIn => checkpoint.base_hash(),
            Subject::Synthetic { shape, dtype, .. } => format!("{}-{}", shape.name, dtype.name()),
        }
    }

    fn name(&self) -> String {
        match self {
            Subject::Folder(dir) => dir.display().to_string(),
            Subject::BuiltIn => "builtin".into(),
            Subject::Synthetic { shape, .. } => shape.name.into(),
        }
    }

    /// The base of `checkpoint`, and how long its tokenizer took, if it has one.
    pub(crate) fn base(
        &self,
        checkpoint: Checkpoint,
    ) -> Result<(Base, Option<f64>), engine::Error> {
        let start = Instant::now();
        let base = match self {
            Subject::Folder(dir) => Base::open(dir, None)?,
            Subject::BuiltIn => Base::builtin(None)?,
            Subject::Synthetic { shape, tokenizer: Some(dir), .. } => {
                Base::with_tokenizer(shape.name, checkpoint, dir)?
            }
            Subject::Synthetic { shape, tokenizer: None, .. } => {
                return Ok((Base::without_text(shape.name, checkpoint)?, None));
            }
        };
        Ok((base, Some(start.elapsed().as_secs_f64())))
    }
}

/// Measures.
///
/// # Errors
/// If the model cannot be opened or fails, has no room for what is asked, or the tokens that were
/// decoded are not those of `generate`.
pub fn run(
    subject: &Subject,
    kernels: &'static Kernels,
    pool: &dyn Pool,
    settings: Settings,
) -> Result<Report, Error> {
    let watch = Watch::start();
    let start = Instant::now();
    let checkpoint = subject.checkpoint()?;
    checkpoint.layers().map_err(engine::Error::from)?;
    let load = start.elapsed().as_secs_f64();
    let (base, tokenizer) = subject.base(checkpoint)?;
    let layers = base.layers()?;
    let engine = Engine::new(&base, &layers, kernels, pool)?.with_precision(settings.precision);
    settings.check(engine.context())?;
    let tokens = tokens(engine.base().config(), settings.prefill);

    let start = Instant::now();
    let mut session = engine.session(None);
    session.start(&tokens)?;
    let prompt = start.elapsed().as_secs_f64();

    let flop = |base: &Base| base.work().flop(base.config());
    let before = flop(&base);
    let prefill = repeat(settings, || session.start(&tokens).map(|_| ()))?;
    let prefill_flop = (flop(&base) - before) / settings.repeat as f64;
    // Between the two that they are held against, and once more at the end.
    let measure = || Limits::measure(pool, kernels.isa(), base.checkpoint().tensor_bytes());
    let limits = measure();
    let decode = decode(&mut session, tokens[0], settings)?;
    drop(session);
    let inference = watch.peak();
    let train =
        settings.train.map(|train| training(&engine, train, settings.repeat)).transpose()?;
    let peak = watch.peak();

    let limits = limits.or(measure());
    let dtype = engine.model().linear_dtype();
    let packed = matches!(dtype, DType::Q8 | DType::Q4);
    Ok(Report {
        model: subject.name(),
        weights: subject.identity(base.checkpoint()),
        isa: kernels.isa().name(),
        threads: pool.threads(),
        settings,
        dtype: dtype.name(),
        int8: packed && settings.precision.int8,
        weight_bytes: base.checkpoint().weight_bytes(),
        decode_bytes: base.checkpoint().decode_bytes().map_err(engine::Error::from)?,
        prefill_operations: prefill_flop,
        load,
        tokenizer,
        first_token: load + tokenizer.unwrap_or(0.0) + prompt,
        prefill: Rate::new(settings.prefill, prefill),
        decode: Rate::new(settings.decode, decode),
        train,
        inference,
        peak,
        limits,
    })
}

/// Some tokens of the vocabulary, always the same.
fn tokens(config: &Config, count: usize) -> Vec<u32> {
    let mut rng = Rng::new(count as u64);
    (0..count).map(|_| (rng.next_u64() % config.vocab as u64) as u32).collect()
}

/// Seconds of each repetition.
fn repeat(
    settings: Settings,
    mut job: impl FnMut() -> Result<(), engine::Error>,
) -> Result<Vec<f64>, engine::Error> {
    (0..settings.repeat)
        .map(|_| {
            let start = Instant::now();
            job()?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect()
}

/// Decodes after `first` alone; the tokens are compared with those of `generate`, which goes first
/// and warms up.
fn decode(session: &mut Session, first: u32, settings: Settings) -> Result<Vec<f64>, Error> {
    let sampling = Sampling::greedy(settings.decode);
    let generated = session.generate(&[first], &sampling, &mut |_| Ok(true))?;
    let mut ids = Vec::with_capacity(settings.decode);
    let seconds = repeat(settings, || {
        ids.clear();
        ids.push(session.start(&[first])?);
        while ids.len() < settings.decode {
            let last = ids[ids.len() - 1];
            ids.push(session.go_on(&[last])?);
        }
        Ok(())
    })?;
    agree(&ids, &generated)?;
    Ok(seconds)
}

/// Whether what was timed is what `generate` gave; that stops at an end token, and so does this.
fn agree(timed: &[u32], generated: &[u32]) -> Result<(), Error> {
    match timed.iter().zip(generated).position(|(timed, generated)| timed != generated) {
        Some(index) => {
            let (timed, generated) = (timed[index], generated[index]);
            Err(Error::Differs { index, timed, generated })
        }
        None => Ok(()),
    }
}

/// Multiplications and additions that an exact gradient of one example of `rows` rows, each with a
/// target, cannot do without: forward and `d_x` of the frozen weights, causal attention's two products
/// and their four gradients, an adapter's two and their four. What is made again does not count.
fn useful(config: &Config, lora: &LoraConfig, rows: usize) -> f64 {
    let size = |target: Target| {
        let (outputs, inputs) = target.shape(config);
        outputs * inputs
    };
    let linear = config.layers * Target::ALL.into_iter().map(size).sum::<usize>();
    let frozen = 4 * (linear + config.vocab * config.dim);
    let attention = 6 * config.layers * config.q_dim() * (rows + 1);
    (rows * (frozen + attention + 6 * lora.parameters(config))) as f64
}

/// Training steps, after one that does not count.
fn training(engine: &Engine, train: Train, repeat: usize) -> Result<Training, Error> {
    let config = engine.base().config();
    let engine = &engine.with_budget(train.budget);
    let batch = train.batch * train.accumulate;
    let examples: Vec<Example> = (0..batch as u64)
        .map(|id| {
            let tokens = tokens(config, train.length);
            let targets = (0..train.length).map(|i| i > 0).collect();
            Example { tokens, targets, id }
        })
        .collect();
    let lora = LoraConfig::new(8, 16.0, 0.0, Targets::ALL);
    let mut adapter = Adapter::fresh(lora, config, engine.base().name(), 0);
    let options = Options {
        lr: 1e-4,
        batch,
        micro_batch: (train.accumulate > 1).then_some(train.batch),
        length: Length::Steps(repeat + 1),
        warmup: 0,
        schedule: Schedule::Constant,
        weight_decay: 0.0,
        clip: 1.0,
        shuffle: false,
        seed: 0,
    };
    let operations = batch as f64 * useful(config, &lora, train.length - 1);
    let mut trainer = Trainer::new(engine, &mut adapter, &examples, options)?;
    let (plan, planned) = (*trainer.plan(), trainer.planned_bytes());
    let mut seconds = Vec::with_capacity(repeat);
    while let Some(step) = trainer.step()? {
        if step.step > 1 {
            seconds.push(step.seconds);
        }
    }
    Ok(Training { rate: Rate::new(train.length * batch, seconds), operations, plan, planned })
}

#[cfg(test)]
mod tests;
