//! `homespun round`: learn now from what is annotated.

use std::path::PathBuf;

use serde_json::json;

use super::Outcome;
use super::interrupt::{InterruptArgs, stopped};
use super::options::{KeyArgs, LearnArgs, Machine, MemoryArgs, ModelArgs, print_json, say};
use crate::engine::Engine;
use crate::personalize::annotate::Person;
use crate::personalize::buffer::Buffer;
use crate::personalize::{self, Rounds, round};
use crate::state::State;

/// Learn now from what is annotated in a state's buffer
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun round --model builtin --state me")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    learn: LearnArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    interrupt: InterruptArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let plan = args.learn.plan()?;
    let stop = args.interrupt.stop()?;
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine =
        Engine::new(&base, &layers, machine.kernels()?, &pool)?.with_budget(args.memory.get()?);
    let mut state = State::open(&args.state, &args.key.get()?)?;
    state.expect_base(&base.hashes())?;
    let mut buffer = Buffer::open(&state, engine.model().config.dim)?;
    let mut person = Person::queue(state.vault())?;
    let rounds = Rounds { plan: &plan, pace: args.interrupt.pace(&stop) };
    let report = match round::round(engine, &mut state, &mut buffer, &mut person, rounds) {
        Err(personalize::Error::Stopped(cause)) => {
            return stopped(cause, args.state.display(), false);
        }
        ran => ran?,
    };
    if args.json {
        return Ok(print_json(&json!({
            "asked": report.asked,
            "learned_from": report.learned_from,
            "synth_kept": report.synth_kept,
            "steps": report.steps,
            "loss_before": report.loss_before,
            "loss_after": report.loss_after,
            "installed": report.installed,
            "generation": state.record.generation,
        }))?);
    }
    Ok(say(super::personalize::round_line(&state, &report))?)
}
