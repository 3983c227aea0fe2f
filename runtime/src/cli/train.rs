//! `homespun train`: LoRA over the dialogues of a file, without a state directory.
//!
//! ```text
//! OUT             the adapter: once it is there, the command has nothing to do
//! OUT.training/   checkpoints and a lock, until then
//! ```

mod log;
mod place;

use std::path::{Path, PathBuf};

use homespun_core::lora::{LoraConfig, Target, Targets};
use homespun_core::schedule::Schedule;
use homespun_core::train::Pieces;
use homespun_kernels::DType;

use super::Outcome;
use super::interrupt::{InterruptArgs, stopped};
use super::options::{AnyBase, Machine, MemoryArgs, ModelArgs, VariantArgs};
use crate::adapter::{self, Adapter};
use crate::chat::Loss;
use crate::durable;
use crate::engine::{Engine, Precision};
use crate::progress::Progress;
use crate::tune::pace::Keeper;
use crate::tune::store::{Judged, Store};
use crate::tune::{self, Event, Example, Length, Options, Trainer};
use log::Log;
use place::Place;

/// Fine-tune a LoRA adapter; `--out` is a plain PEFT folder
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun train --model builtin --data dialogues.jsonl --out adapter --epochs 3\n\n\
Interrupted in any way, be it by a kill or a power cut, the same command goes on from the last \
checkpoint and ends with the same adapter to the bit, whatever --threads says. Checkpoints are in \
OUT.training until the adapter is written. At a first SIGINT, SIGTERM or SIGHUP it writes one and \
ends with the status 130, 143 or 129; at a second it ends at once. At its --deadline it ends with 0."
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Dialogues as JSON Lines
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The PEFT folder to write; if it is there already, nothing is done
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Start from this adapter; its rank, alpha, scaling, magnitudes and targets hold whatever the options say
    #[arg(long, value_name = "ADAPTER")]
    init: Option<PathBuf>,
    #[command(flatten)]
    any: AnyBase,
    #[arg(long, value_name = "N", default_value_t = 8)]
    /// Rank of the adapter
    rank: usize,
    /// The update is scaled by alpha / rank
    #[arg(long, value_name = "F", default_value_t = 16.0)]
    alpha: f32,
    #[command(flatten)]
    variant: VariantArgs,
    /// Chance that a component of an adapter's input is dropped
    #[arg(long, value_name = "F", default_value_t = 0.05)]
    dropout: f32,
    /// Adapted layers, of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "q_proj,k_proj,v_proj,o_proj"
    )]
    targets: Vec<String>,
    /// Learning rate
    #[arg(long, value_name = "F", default_value_t = 3e-4)]
    lr: f64,
    /// Dialogues of one step; with --epochs at most all there are, with --steps wrapping round
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch: usize,
    /// Dialogues computed at once [default: as many as is fastest in the memory]
    #[arg(long, value_name = "N")]
    micro_batch: Option<usize>,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Times through the data [default: 3]
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<usize>,
    /// Steps, however often that is through the data
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// At most this many tokens a dialogue; the oldest turns go first
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_length: usize,
    /// Which tokens are targets: response, assistant or all
    #[arg(long, value_name = "NAME", default_value = "response")]
    loss: String,
    /// Steps of linear warm-up
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup: usize,
    /// After the warm-up: constant, linear or cosine
    #[arg(long, value_name = "NAME", default_value = "constant")]
    schedule: String,
    /// Decoupled weight decay
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    weight_decay: f32,
    /// Largest norm of the gradient; 0 turns clipping off
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    clip: f64,
    /// Take the dialogues in the order of the file, wrapping round
    #[arg(long)]
    no_shuffle: bool,
    /// Seed of initialisation, order and dropout
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A JSON line a step: step, loss, lr, grad_norm, tokens, seconds
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    interrupt: InterruptArgs,
    /// Discard what was interrupted and begin again
    #[arg(long)]
    restart: bool,
    /// Stop at the first line that cannot be read
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    if is_finished(&args.out) {
        Place::clear(&args.out);
        return Ok(());
    }
    let stop = args.interrupt.stop()?;
    durable::check_folder(&args.out, &[adapter::CONFIG_FILE, adapter::TENSORS_FILE])?;
    let mode = loss_mode(&args.loss)?;
    let options = args.options()?;
    let lora = args.lora()?;
    let budget = args.memory.get()?;
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?.with_budget(budget);
    let mut adapter = match &args.init {
        Some(path) => args.any.open(path, &engine)?,
        None => Adapter::fresh(lora, base.config(), base.name(), args.seed),
    };
    adapter.config.dropout = args.dropout;
    adapter.config.freeze_a = args.variant.freeze_a;
    adapter.trained_on = Some(base.hashes());
    engine.prepare(&mut adapter)?;
    let dialogues = super::read_dialogues(&args.data, args.strict)?;
    let examples = tune::prepare(&base, &dialogues, mode, args.max_length, |line| {
        eprintln!("{}: {line}", args.data.display());
    })?;
    if examples.is_empty() {
        return Err(format!("{}: no dialogue has a target", args.data.display()).into());
    }
    let place = Place::open(&args.out)?;
    // Another process may have ended what this one was about to begin.
    if is_finished(&args.out) {
        return Ok(());
    }
    let mut trainer = Trainer::new(&engine, &mut adapter, &examples, options)?;
    let store = Store::new(place.folder(), base.checkpoint().base_hash());
    let mut keeper = Keeper::new(store, args.interrupt.pace(&stop));
    if args.restart {
        keeper.discard()?;
    }
    match keeper.resume(&mut trainer) {
        Ok(None) => {}
        Ok(Some(cut)) => {
            let (done, steps, folder) = (trainer.steps_done(), trainer.steps(), place.folder());
            eprintln!("{}: going on after step {done} of {steps}", folder.display());
            if let Some(damaged) = cut.damaged {
                eprintln!("{}: {damaged}; the other one is taken", folder.display());
            }
            if let Some(isa) = cut.other_isa {
                eprintln!("{}: was begun with --isa {isa}; other bits result", folder.display());
            }
        }
        Err(error) if error.is_of_another() => {
            return Err(format!("{error}; --restart discards it").into());
        }
        Err(error) => return Err(error.into()),
    }
    let mut log = match &args.log {
        Some(path) => Some(Log::open(path, trainer.steps_done())?),
        None => None,
    };
    let mut progress = Progress::new("train", trainer.steps());
    progress.advance(trainer.steps_done(), 0);
    loop {
        let event = trainer.advance()?;
        match &event {
            Event::Ended => break,
            Event::Part => {}
            Event::Step(step) => {
                progress.advance(1, step.tokens);
                if let Some(log) = &mut log {
                    log.write(step)?;
                }
            }
        }
        if keeper.is_due(&event) {
            if let Some(log) = &log {
                log.sync()?;
            }
            if let Some(cause) = keeper.save(&trainer, Judged::default())? {
                drop(progress);
                return stopped(cause, place.folder().display(), args.restart);
            }
        }
        keeper.rest();
    }
    if let Some(log) = &log {
        log.sync()?;
    }
    let pieces = trainer.plan().pieces;
    drop((progress, trainer));
    adapter.save(&args.out, base.config())?;
    keeper.discard()?;
    // From here on there is nothing to lose by a signal.
    drop(keeper);
    tell_int8(&engine, &adapter, &examples, pieces)?;
    Ok(())
}

/// Dialogues on which the two kinds of activations are compared.
const COMPARED: usize = 16;

/// Tells how far the loss with int8 activations, with which a quantised model talks, is from the one
/// that was trained.
fn tell_int8(
    engine: &Engine,
    adapter: &Adapter,
    examples: &[Example],
    pieces: Pieces,
) -> Result<(), crate::engine::Error> {
    if !matches!(engine.model().linear_dtype(), DType::Q8 | DType::Q4) {
        return Ok(());
    }
    let examples = &examples[..examples.len().min(COMPARED)];
    let loss = |precision: Precision| -> Result<f64, crate::engine::Error> {
        let engine = engine.with_precision(precision);
        let (nll, tokens) = engine.loss_in(Some(adapter), examples, pieces, &mut [])?;
        Ok(nll / tokens.max(1) as f64)
    };
    let (exact, int8) = (loss(Precision::EXACT)?, loss(Precision::FAST)?);
    eprintln!(
        "loss of {} training dialogues: {exact:.4}, with int8 activations {int8:.4} ({:+.4})",
        examples.len(),
        int8 - exact
    );
    Ok(())
}

fn is_finished(out: &Path) -> bool {
    let finished =
        [adapter::CONFIG_FILE, adapter::TENSORS_FILE].iter().all(|name| out.join(name).exists());
    if finished {
        eprintln!("{}: finished already; nothing to do", out.display());
    }
    finished
}

impl Args {
    fn options(&self) -> Result<Options, String> {
        let check = |ok: bool, flag: &str, what: &str| {
            if ok { Ok(()) } else { Err(format!("--{flag}: must be {what}")) }
        };
        check(self.lr.is_finite() && self.lr >= 0.0, "lr", "a number of at least 0")?;
        check((1..=1 << 20).contains(&self.batch), "batch", "between 1 and 1048576")?;
        check(self.micro_batch != Some(0), "micro-batch", "at least 1")?;
        check(self.epochs != Some(0), "epochs", "at least 1")?;
        check(self.steps != Some(0), "steps", "at least 1")?;
        check(self.max_length > 1, "max-length", "at least 2")?;
        check((0.0..1.0).contains(&self.dropout), "dropout", "at least 0 and below 1")?;
        let decay = self.weight_decay;
        check(decay.is_finite() && decay >= 0.0, "weight-decay", "a number of at least 0")?;
        check(self.clip.is_finite() && self.clip >= 0.0, "clip", "a number of at least 0")?;
        let known = Schedule::ALL.into_iter().find(|known| known.name() == self.schedule);
        let schedule = known.ok_or_else(|| {
            format!("--schedule: {:?} is not constant, linear or cosine", self.schedule)
        })?;
        Ok(Options {
            lr: self.lr,
            batch: self.batch,
            micro_batch: self.micro_batch,
            length: match (self.epochs, self.steps) {
                (_, Some(steps)) => Length::Steps(steps),
                (epochs, None) => Length::Epochs(epochs.unwrap_or(3)),
            },
            warmup: self.warmup,
            schedule,
            weight_decay: self.weight_decay,
            clip: self.clip,
            shuffle: !self.no_shuffle,
            seed: self.seed,
        })
    }

    fn lora(&self) -> Result<LoraConfig, String> {
        if self.rank == 0 || self.rank > 4096 {
            return Err("--rank: must be between 1 and 4096".into());
        }
        if !self.alpha.is_finite() {
            return Err("--alpha: must be a number".into());
        }
        let targets = targets(&self.targets)?;
        Ok(self.variant.of(LoraConfig::new(self.rank, self.alpha, self.dropout, targets)))
    }
}

/// The set that `--targets` names.
pub(super) fn targets(names: &[String]) -> Result<Targets, String> {
    names.iter().try_fold(Targets::NONE, |set, name| {
        let target = Target::ALL.into_iter().find(|target| target.name() == name);
        target.map(|target| set.with(target)).ok_or_else(|| {
            let known = Target::ALL.map(Target::name).join(", ");
            format!("--targets: {name:?} is not one of {known}")
        })
    })
}

/// The mode that `--loss` names.
pub(crate) fn loss_mode(name: &str) -> Result<Loss, String> {
    name.parse().map_err(|error| format!("--loss: {error}"))
}
