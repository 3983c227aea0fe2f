//! `homespun round`: learn now from what is annotated.

use std::path::PathBuf;

use serde_json::json;

use super::Outcome;
use super::options::{KeyArgs, Machine, print_json, say};
use super::plug::PlugArgs;
use super::relearn::{RelearnArgs, Relearned};
use crate::state::State;

/// Learn now from what is annotated in a state's buffer
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun round --model builtin --state me")]
pub(crate) struct Args {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    relearn: RelearnArgs,
    #[command(flatten)]
    plug: PlugArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    args.relearn.check()?;
    args.plug.arm(&args.state)?;
    let base = args.relearn.base()?.ok_or("--model: which base?")?;
    let mut state = State::open(&args.state, &args.key.get()?)?;
    state.expect_base(&base.hashes())?;
    let report = match args.relearn.run(Some(&base), &mut state, machine)? {
        Relearned::Round(report) => report,
        stopped => return stopped.end(&args.state, args.json),
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
            "why": report.why.map(|why| why.to_string()),
            "general_before": report.general.map(|(before, _)| before),
            "general_after": report.general.map(|(_, after)| after),
            "share": report.share,
            "seconds": report.seconds,
            "joules": report.joules,
            "rouge1_before": report.rouge1.map(|(before, _)| before),
            "rouge1_after": report.rouge1.map(|(_, after)| after),
            "generation": state.record.generation,
        }))?);
    }
    let energy = match report.joules {
        Some(joules) => format!("{joules:.1} J"),
        None => "no energy sensor".to_owned(),
    };
    let line = super::personalize::round_line(&state, &report);
    Ok(say(format_args!("{line}; {:.1} s, {energy}", report.seconds))?)
}
