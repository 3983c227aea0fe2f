//! `homespun bench`: how fast a model runs here, beside what this machine can do.

use std::path::PathBuf;

use clap::ArgGroup;
use homespun_kernels::DType;

use super::Outcome;
use super::options::{FastArgs, Machine, MemoryArgs, is_builtin, print_json, say};
use crate::bench::shape::{self, Shape};
use crate::bench::{self, Settings, Subject, Train, saved, synthetic};

/// Measure speed, load time and memory beside this machine's own limits
#[derive(clap::Args)]
#[command(
    group(ArgGroup::new("subject").required(true).args(["model", "synthetic"])),
    after_help = "Example:\n  homespun bench --synthetic smollm2-135m --dtype bf16 --threads 2 --train"
)]
pub(crate) struct Args {
    /// A Hugging Face folder (config.json, tokenizer.json, *.safetensors), or `builtin`
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Random weights of a known shape: stories-15m, smollm2-135m, smollm2-360m, qwen2.5-0.5b or
    /// llama-3.2-1b
    #[arg(long, value_name = "SHAPE")]
    synthetic: Option<String>,
    /// How random weights are stored: f32, bf16, f16, q8 or q4 (with a q8 embedding and head)
    #[arg(long, value_name = "NAME", default_value = "bf16", conflicts_with = "model")]
    dtype: String,
    /// Where random weights are written, to a file without a name; not in memory [default: the user's
    /// cache folder]
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    cache: Option<PathBuf>,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512)]
    prefill: usize,
    /// Tokens to decode, from an empty cache
    #[arg(long, value_name = "N", default_value_t = 64)]
    decode: usize,
    /// Measure training as well: LoRA of rank 8 on all seven projections, every token a target
    #[arg(long)]
    train: bool,
    /// Tokens of a training example
    #[arg(long, value_name = "N", default_value_t = 256, requires = "train")]
    length: usize,
    /// Examples of a training step
    #[arg(long, value_name = "N", default_value_t = 4, requires = "train")]
    batch: usize,
    /// Such batches whose gradients are added up for one step
    #[arg(long, value_name = "N", default_value_t = 1, requires = "train")]
    accumulate: usize,
    #[command(flatten)]
    memory: MemoryArgs,
    /// The folder of a tokenizer to load beside random weights, for its memory
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    tokenizer: Option<PathBuf>,
    /// Repetitions of each; the best counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Keep the report in the user's cache folder, where `plan` finds it
    #[arg(long)]
    save: bool,
    /// Print one JSON object instead of the table
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the table as Markdown
    #[arg(long)]
    markdown: bool,
    #[command(flatten)]
    precision: FastArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let (length, batch, accumulate) = (args.length, args.batch, args.accumulate);
    let budget = args.memory.get()?;
    let settings = Settings {
        prefill: args.prefill,
        decode: args.decode,
        train: args.train.then_some(Train { length, batch, accumulate, budget }),
        repeat: args.repeat,
        precision: args.precision.get()?,
    };
    let (kernels, pool) = (machine.kernels()?, machine.pool()?);
    let subject = match (&args.model, &args.synthetic) {
        (Some(model), _) if is_builtin(model) => Subject::BuiltIn,
        (Some(model), _) => Subject::Folder(model.clone()),
        (None, Some(name)) => {
            let (shape, dtype) = (shape(name)?, dtype(&args.dtype)?);
            settings.check(shape::CONTEXT)?;
            let dir = args.cache.clone().map_or_else(synthetic::default_cache, Ok)?;
            let weights = synthetic::write(&shape, dtype, &dir, &pool)?;
            Subject::Synthetic { shape, dtype, weights, tokenizer: args.tokenizer.clone() }
        }
        (None, None) => return Err("--model or --synthetic: one is needed".into()),
    };
    let report = bench::run(&subject, kernels, &pool, settings)?;
    if args.save {
        let (weights, isa) = (&report.weights, report.isa);
        let saved = saved::Subject { weights, threads: report.threads, isa };
        let file = saved.save(&synthetic::default_cache()?, &report)?;
        eprintln!("saved in {}", file.display());
    }
    match args.json {
        true => print_json(&report.json())?,
        false => say(report.table(args.markdown).trim_end())?,
    }
    Ok(())
}

pub(super) fn shape(name: &str) -> Result<Shape, String> {
    let known = || shape::ALL.map(|shape| shape.name).join(", ");
    let shape = shape::ALL.into_iter().find(|shape| shape.name == name);
    shape.ok_or_else(|| format!("--synthetic: unknown shape {name:?}; there are {}", known()))
}

pub(super) fn dtype(name: &str) -> Result<DType, String> {
    let known = || synthetic::DTYPES.map(DType::name).join(", ");
    let dtype = synthetic::DTYPES.into_iter().find(|dtype| dtype.name() == name);
    dtype.ok_or_else(|| format!("--dtype: {name:?} is not one of {}", known()))
}
