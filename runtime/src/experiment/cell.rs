//! A cell: one arm on one stream with one buffer, one synthesis and one seed; and the key that names
//! everything its result depends on.
//!
//! ```text
//! key = SHA-256 of { version, kernels, hashes of model, stream, held-out, general and lexicons, arm,
//!                    bins, synth, seed, how a round is made, how replies are written } as JSON
//! ```

use homespun_core::lora::Target;
use homespun_core::schedule::Schedule;
use homespun_core::select::Policy;
use homespun_core::select::policy::{self, FIFO, QUALITY};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::data::{Stream, World};
use super::spec::Spec;
use crate::state;

/// Changes with what a cell computes, so that older results are not taken for its.
const VERSION: u32 = 1;

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub enum Arm {
    /// A control: the base as it is.
    None,
    /// A control: no buffer; every dialogue of the stream is annotated and learned.
    All,
    /// A control: the paper's rule, but each dialogue is annotated with what another was to be.
    Shuffled,
    /// A policy.
    Policy(&'static Policy),
}

impl PartialEq for Arm {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Arm {
    /// The arm of that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "all" => Some(Self::All),
            "shuffled" => Some(Self::Shuffled),
            _ => Policy::named(name).map(Self::Policy),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::All => "all",
            Self::Shuffled => "shuffled",
            Self::Policy(policy) => policy.name,
        }
    }

    /// The names of all, for messages.
    pub fn names() -> String {
        let policies = policy::ALL.iter().map(|policy| policy.name);
        ["none", "all", "shuffled"].into_iter().chain(policies).collect::<Vec<_>>().join(", ")
    }

    /// What it does, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::None => "no tuning: the base as it is",
            Self::All => "no buffer: every dialogue of the stream is annotated and learned",
            Self::Shuffled => "the rule of quality, annotations dealt out anew",
            Self::Policy(policy) => policy.about,
        }
    }

    /// Who decides what is kept; the buffer of `all` is never full.
    pub const fn policy(self) -> &'static Policy {
        match self {
            Self::None | Self::All => &FIFO,
            Self::Shuffled => &QUALITY,
            Self::Policy(policy) => policy,
        }
    }
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Index of the stream.
    pub stream: usize,
    /// The arm.
    pub arm: Arm,
    /// Bins of the buffer; 0 for `none` and `all`, which have none.
    pub bins: usize,
    /// Synthesised questions; 0 for `none`.
    pub synth: usize,
    /// The seed.
    pub seed: u64,
    /// See the module.
    pub key: String,
}

/// Every cell of an experiment in the order of its results: by stream, arm, bins, synth and seed.
pub fn all(spec: &Spec, world: &World) -> Vec<Cell> {
    let mut cells = Vec::new();
    for stream in 0..world.streams.len() {
        for &arm in &spec.arms {
            let bins: &[usize] = match arm {
                Arm::None | Arm::All => &[0],
                Arm::Shuffled | Arm::Policy(_) => &spec.bins,
            };
            let synth: &[usize] = if arm == Arm::None { &[0] } else { &spec.synth };
            for &bins in bins {
                for &synth in synth {
                    for &seed in &spec.seeds {
                        let key = key(spec, world, stream, arm, [bins, synth], seed);
                        cells.push(Cell { stream, arm, bins, synth, seed, key });
                    }
                }
            }
        }
    }
    cells
}

/// The cell of the untuned base that `cell` is compared with: the first round of every curve.
pub fn base_of(spec: &Spec, world: &World, cell: &Cell) -> Cell {
    let (stream, seed) = (cell.stream, cell.seed);
    let key = key(spec, world, stream, Arm::None, [0, 0], seed);
    Cell { stream, arm: Arm::None, bins: 0, synth: 0, seed, key }
}

/// What replies depend on.
#[derive(Serialize)]
struct Judged<'a> {
    version: u32,
    name: &'a str,
    part: &'a str,
    isa: &'a str,
    model: &'a state::Base,
    held_out: &'a str,
    general: &'a str,
    temperatures: &'a [f64],
    reply_tokens: usize,
    max_length: usize,
    /// Replies that are drawn depend on it, greedy ones do not.
    seed: Option<u64>,
}

/// What training depends on beside them.
#[derive(Serialize)]
struct Trained<'a> {
    judged: Judged<'a>,
    stream: &'a str,
    scoring: &'a str,
    frozen: bool,
    arm: &'a str,
    bins: usize,
    synth: usize,
    rounds: usize,
    lr: f64,
    /// Left out where it is the one that every preset has.
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<&'static str>,
    epochs: usize,
    patience: usize,
    least_held_out: usize,
    batch: usize,
    rank: usize,
    alpha: f32,
    dropout: f32,
    targets: Vec<&'static str>,
    loss: &'a str,
}

fn key(
    spec: &Spec,
    world: &World,
    stream: usize,
    arm: Arm,
    [bins, synth]: [usize; 2],
    seed: u64,
) -> String {
    let Stream { name, part, hashes, .. } = &world.streams[stream];
    let plan = &spec.plan;
    let draws = arm != Arm::None || spec.temperatures.iter().any(|&t| t > 0.0);
    let judged = Judged {
        version: VERSION,
        name,
        part,
        isa: world.isa,
        model: &world.model,
        held_out: &hashes.held_out,
        general: &world.general_hash,
        temperatures: &spec.temperatures,
        reply_tokens: plan.reply_tokens,
        max_length: plan.max_length,
        seed: draws.then_some(seed),
    };
    if arm == Arm::None {
        return digest(&judged);
    }
    digest(&Trained {
        judged,
        stream: &hashes.stream,
        scoring: &hashes.scoring,
        frozen: spec.frozen,
        arm: arm.name(),
        bins,
        synth,
        rounds: spec.rounds,
        lr: spec.lr(bins),
        schedule: Some(plan.train.schedule)
            .filter(|&schedule| schedule != Schedule::Constant)
            .map(Schedule::name),
        epochs: spec.epochs(),
        patience: plan.patience,
        least_held_out: plan.least_held_out,
        batch: plan.train.batch,
        rank: plan.lora.rank,
        alpha: plan.lora.alpha,
        dropout: plan.lora.dropout,
        targets: plan.lora.targets.iter().map(Target::name).collect(),
        loss: plan.mode.as_str(),
    })
}

fn digest(value: &impl Serialize) -> String {
    // Numbers, strings and lists of fixed names always serialise.
    let text = serde_json::to_string(value).unwrap_or_default();
    format!("{:x}", Sha256::digest(text))[..32].to_owned()
}

/// Whether shard `i` of `n` has the cell: by its key, so that any machine decides alike.
pub fn is_of_shard(key: &str, (i, n): (u64, u64)) -> bool {
    let number = u64::from_str_radix(key.get(..16).unwrap_or_default(), 16).unwrap_or(0);
    number % n.max(1) == i
}
