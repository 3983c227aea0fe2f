//! `homespun observe`: one dialogue, as it happens.

use std::io::Read;
use std::path::PathBuf;

use homespun_core::select::Verdict;
use serde_json::json;

use super::Outcome;
use super::options::{Machine, ModelArgs, print_json};
use super::person::PersonArgs;
use crate::dialogue;
use crate::engine::Engine;
use crate::state;
use crate::state::queue::Answer;

/// Score a finished dialogue and offer it to a state's buffer
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun observe --model builtin --state me\n\nThe dialogue comes on standard input, as JSON: {\"messages\": [{\"role\", \"content\"}, ...]}. Its `preferred`, if it has one, is what the reply should have been. The verdict is printed as JSON."
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The state directory; made if it is not there
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    person: PersonArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).map_err(|error| format!("stdin: {error}"))?;
    let dialogue = dialogue::parse(text.trim()).map_err(|reason| format!("stdin: {reason}"))?;
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?;
    let book = args.person.book()?;
    let mut live = args.person.live(&args.state, engine, &base, &book)?;
    let observed = match &dialogue.preferred {
        Some(text) => live.judge(&dialogue, &Answer::Preferred(text.clone()), state::now())?,
        None => live.observe(&dialogue)?,
    };
    let scores = observed.scores;
    let (verdict, bin) = match observed.verdict {
        Verdict::Store(bin) => ("store", Some(bin)),
        Verdict::Replace(bin) => ("replace", Some(bin)),
        Verdict::Drop => ("drop", None),
    };
    Ok(print_json(&json!({
        "arrival": observed.arrival,
        "verdict": verdict,
        "bin": bin,
        "entropy": scores.entropy,
        "domain_score": scores.domain_score,
        "domain": book.lexicons().name(scores.domain),
        "dissimilarity": scores.dissimilarity,
        "lost_turns": observed.lost_turns,
        "waiting": live.waiting(),
    }))?)
}
