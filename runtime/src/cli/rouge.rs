//! `homespun rouge`: ROUGE-1 of pairs.

use std::fs;
use std::path::PathBuf;

use homespun_core::rouge;
use serde::Deserialize;
use serde_json::json;

use super::Outcome;
use super::options::print_json;

/// ROUGE-1 F1 of each pair of texts, as Google's rouge_score computes it without stemming
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
    let text = fs::read_to_string(&args.pairs).map_err(|error| format!("{path}: {error}"))?;
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let pair: Pair = serde_json::from_str(line)
            .map_err(|error| format!("{path}: line {}: {error}", i + 1))?;
        let score = rouge::rouge1(&pair.reference, &pair.candidate);
        print_json(&json!({ "rouge1": score.f1 }));
    }
    Ok(())
}
