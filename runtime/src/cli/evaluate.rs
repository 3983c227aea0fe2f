//! `homespun evaluate`: how well a model answers held-out dialogues.

use std::path::PathBuf;

use homespun_core::sampler;
use serde_json::json;

use super::Outcome;
use super::options::{AdapterArgs, LossArgs, Machine, ModelArgs, print_json, say};
use crate::engine::{Engine, Sampling};
use crate::personalize::evaluate;
use crate::progress::Progress;

/// ROUGE-1 and loss of the replies to held-out dialogues
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun evaluate --model builtin --data held_out.jsonl --json"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Dialogues as JSON Lines
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// 0 takes the likeliest token
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    temperature: f32,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// At most this many tokens a reply
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: usize,
    /// At most this many tokens a dialogue; the oldest turns go first
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_length: usize,
    /// Stop at the first line that cannot be read
    #[arg(long)]
    strict: bool,
    /// Print {"rouge1", "loss", "perplexity", "dialogues"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    precision: LossArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let precision = args.precision.get()?;
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?.with_precision(precision);
    let adapter = args.adapter.load(&engine)?;
    let dialogues = super::read_held_out(&args.data, args.strict)?;
    let draw = sampler::Sampling { temperature: args.temperature, ..Default::default() };
    let sampling = Sampling { max_tokens: args.max_tokens, draw, seed: args.seed };
    let mut progress = Progress::new("evaluate", dialogues.len());
    let (result, _) = evaluate::evaluate(
        &engine,
        adapter.as_ref(),
        &dialogues,
        &sampling,
        args.max_length,
        &mut progress,
    )?;
    drop(progress);
    if args.json {
        print_json(&json!({
            "rouge1": result.rouge1,
            "loss": result.loss,
            "perplexity": result.loss.exp(),
            "dialogues": result.dialogues,
        }))?;
    } else {
        say(format_args!("dialogues   {}", result.dialogues))?;
        say(format_args!("ROUGE-1     {:.4}", result.rouge1))?;
        say(format_args!("loss        {:.4}", result.loss))?;
        say(format_args!("perplexity  {:.3}", result.loss.exp()))?;
    }
    Ok(())
}
