//! `homespun rouge`: ROUGE-1 of pairs.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::Outcome;
use super::options::print_json;
use crate::personalize::evaluate::rouge1;

/// ROUGE-1 F1 of each pair of texts, as Google's rouge_score has it without stemming
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun rouge --pairs pairs.jsonl")]
pub(crate) struct Args {
    /// JSON Lines of {"reference", "candidate"}
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
}

#[derive(Deserialize)]
struct Pair {
    reference: String,
    candidate: String,
}

pub(crate) fn run(args: Args) -> Outcome {
    let path = args.pairs.display();
    let bytes = fs::read(&args.pairs).map_err(|error| format!("{path}: {error}"))?;
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    // All are read before the first is answered.
    let pairs = lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(i, line)| {
            serde_json::from_slice(line).map_err(|error| format!("{path}: line {}: {error}", i + 1))
        })
        .collect::<Result<Vec<Pair>, _>>()?;
    for pair in pairs {
        print_json(&json!({ "rouge1": rouge1(&pair.reference, &pair.candidate) }))?;
    }
    Ok(())
}
