//! `homespun score`: the three quality metrics of every dialogue of a stream.

use std::path::PathBuf;

use serde_json::json;

use super::Outcome;
use super::options::{ExactArgs, LexiconArgs, Machine, ModelArgs, ScoringArgs, print_json, say};
use crate::engine::Engine;
use crate::personalize::buffer::Buffer;
use crate::personalize::score::{Earlier, Scorer};
use crate::progress::Progress;
use crate::state::State;

/// Score dialogues without labels: entropy of the embedding, domain score, dissimilarity
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun score --model builtin --stream stream.jsonl --json-lines"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Dialogues as JSON Lines
    #[arg(long, value_name = "FILE")]
    stream: PathBuf,
    /// Take dissimilarity against this state's buffer instead of the stream's earlier dialogues
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    lexicons: LexiconArgs,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Stop at the first line that cannot be read
    #[arg(long)]
    strict: bool,
    /// Print a JSON object a dialogue
    #[arg(long)]
    json_lines: bool,
    #[command(flatten)]
    precision: ExactArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let precision = args.precision.get()?;
    let scoring = args.scoring.get()?;
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?.with_precision(precision);
    let book = args.lexicons.open()?;
    let dialogues = super::read_dialogues(&args.stream, args.strict)?;
    let mut buffer = match &args.state {
        Some(root) => {
            let state = State::open(root)?;
            state.expect_base(&base.hashes())?;
            Some(Buffer::open(&state, engine.model().config.dim)?)
        }
        None => None,
    };
    let mut scorer = Scorer::new(engine, book.lexicons(), scoring);
    let names = book.lexicons();
    let mut earlier = Earlier::default();
    if !args.json_lines {
        say("  entropy domain_score dissimilarity tokens  domain")?;
    }
    let mut progress = Progress::new("score", dialogues.len());
    for dialogue in &dialogues {
        let features = scorer.features(dialogue)?;
        let dissimilarity = match &mut buffer {
            Some(buffer) => buffer.dissimilarity(&features)?,
            None => earlier.dissimilarity(&features),
        };
        let scores = features.scores;
        let domain = names.name(scores.domain);
        if args.json_lines {
            print_json(&json!({
                "entropy": scores.entropy,
                "domain_score": scores.domain_score,
                "domain": domain,
                "dissimilarity": dissimilarity,
                "tokens": scores.tokens,
            }))?;
        } else {
            say(format_args!(
                "{:>9.4} {:>12.4} {:>13.4} {:>6}  {domain}",
                scores.entropy, scores.domain_score, dissimilarity, scores.tokens
            ))?;
        }
        progress.advance(1, scores.tokens as usize);
        if buffer.is_none() {
            earlier.remember(features);
        }
    }
    Ok(())
}
