//! `homespun score`: the three quality metrics of every dialogue of a stream.

use std::path::PathBuf;

use bytemuck::cast_slice;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use super::Outcome;
use super::options::{
    ExactArgs, KeyArgs, LexiconArgs, Machine, ModelArgs, ScoringArgs, print_json, say,
};
use crate::durable;
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
    key: KeyArgs,
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
    /// Write what the figures were taken of, as a safetensors file: `last` (N, D), the last token's
    /// state after the final norm, and `embedding` (N, D), a row a dialogue
    #[arg(long, value_name = "FILE")]
    states: Option<PathBuf>,
    #[command(flatten)]
    precision: ExactArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    args.states.as_deref().map_or(Ok(()), durable::check_file)?;
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
            let state = State::open(root, &args.key.get()?)?;
            state.expect_base(&base.hashes())?;
            Some(Buffer::open(&state, engine.model().config.dim)?)
        }
        None => None,
    };
    let dim = engine.model().config.dim;
    let mut scorer = Scorer::new(engine, book.lexicons(), scoring);
    let names = book.lexicons();
    let mut earlier = Earlier::default();
    if !args.json_lines {
        say("  entropy domain_score dissimilarity tokens  domain")?;
    }
    let mut states = args.states.as_ref().map(|_| (Vec::new(), Vec::new()));
    let mut progress = Progress::new("score", dialogues.len());
    for dialogue in &dialogues {
        let reading = scorer.read(dialogue)?;
        let features = reading.features();
        let dissimilarity = match &mut buffer {
            Some(buffer) => buffer.dissimilarity(&features)?,
            None => earlier.dissimilarity(&features),
        };
        let scores = reading.measured;
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
        if let Some((last, embedding)) = &mut states {
            last.extend_from_slice(&reading.last);
            embedding.extend_from_slice(&reading.embedding);
        }
        if buffer.is_none() {
            earlier.remember(features);
        }
    }
    if let (Some(path), Some((last, embedding))) = (&args.states, &states) {
        let shape = || vec![dialogues.len(), dim];
        let tensors = [("embedding", embedding), ("last", last)].map(|(name, rows)| {
            TensorView::new(Dtype::F32, shape(), cast_slice(rows)).map(|view| (name, view))
        });
        let tensors = tensors.into_iter().collect::<Result<Vec<_>, _>>()?;
        durable::write(path, &safetensors::serialize(tensors, None)?)?;
    }
    Ok(())
}
