//! `homespun verify`: reads every byte of a model, and measures it against the one it was made from.

use std::path::{Path, PathBuf};

use homespun_core::compute::Compute;
use serde_json::{Value, json};

use super::Outcome;
use super::options::{Machine, open_weights, print_json, say};
use crate::checkpoint::Checkpoint;
use crate::quantize::{self, Comparison, Hashes, Verdict};

/// Check every weight of a model; compare it with another by its text
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun verify --model model-q8 --against model --tokens 20000 --json"
)]
pub(crate) struct Args {
    /// A Hugging Face folder (config.json, *.safetensors), quantised or not, or `builtin`
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The model that it was made from; it writes the text to compare on
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Tokens of that text
    #[arg(long, value_name = "N", default_value_t = 20_000, requires = "against")]
    tokens: usize,
    /// Seed of that text
    #[arg(long, value_name = "N", default_value_t = 0, requires = "against")]
    seed: u64,
    /// Print {"sound", "hashes", "tensors", "weight_bytes", "damage", "sha256", "against"}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    if args.tokens == 0 {
        return Err("--tokens: must be at least 1".into());
    }
    let checkpoint = open_weights(&args.model)?;
    let reference = args.against.as_deref().map(open_weights).transpose()?;
    let (kernels, pool) = (machine.kernels()?, machine.pool()?);
    let verdict = quantize::verify(&checkpoint, &pool)?;
    let sound = verdict.damage.is_empty();
    let rows = match &reference {
        Some(reference) if sound => {
            let compute = Compute::new(kernels, &pool);
            compare(reference, &checkpoint, compute, args.tokens, args.seed)?
        }
        Some(_) | None => Vec::new(),
    };
    if args.json {
        print_json(&as_json(&checkpoint, &verdict, &rows))?;
    } else {
        print(&checkpoint, &verdict, &rows)?;
    }
    if sound { Ok(()) } else { Err(damaged(&args.model, &verdict).into()) }
}

/// A comparison and the type of the activations in it.
type Row = (&'static str, Comparison);

fn compare(
    reference: &Checkpoint,
    checkpoint: &Checkpoint,
    compute: Compute,
    tokens: usize,
    seed: u64,
) -> Result<Vec<Row>, Box<dyn core::error::Error>> {
    let [theirs, ours] = [reference, checkpoint].map(|c| c.path().display());
    let [v, w] = [reference, checkpoint].map(|c| c.config().vocab);
    if v != w {
        return Err(format!("{ours}: `vocab_size` is {w}, that of {theirs} is {v}").into());
    }
    let (reference_layers, layers) = (reference.layers()?, checkpoint.layers()?);
    let (model, writer) = (checkpoint.model(&layers)?, reference.model(&reference_layers)?);
    let fail = |error| format!("{theirs} or {ours}: {error}");
    let texts = quantize::write(reference, &writer, compute, tokens, seed)?;
    let mut rows = Vec::new();
    for (activations, int8) in [("f32", false), ("i8", true)] {
        if int8 && checkpoint.quantization().is_none() {
            break;
        }
        let ours = compute.with_int8(int8);
        let row = quantize::compare((&writer, compute), (&model, ours), &texts).map_err(fail)?;
        rows.push((activations, row));
    }
    Ok(rows)
}

fn damaged(model: &Path, verdict: &Verdict) -> String {
    let shown: Vec<_> = verdict
        .damage
        .iter()
        .take(5)
        .map(|(tensor, reason)| format!("tensor `{tensor}` {reason}"))
        .collect();
    let rest = verdict.damage.len() - shown.len();
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    format!("{}: {}{more}", model.display(), shown.join("; "))
}

fn print(checkpoint: &Checkpoint, verdict: &Verdict, rows: &[Row]) -> Result<(), String> {
    if verdict.given == Hashes::None {
        for (name, hash) in &verdict.hashes {
            say(format_args!("{hash}  {name}"))?;
        }
    }
    say(format_args!(
        "{} tensors, {} bytes, {} damaged; hashes in the file: {}",
        verdict.hashes.len(),
        checkpoint.weight_bytes(),
        verdict.damage.len(),
        verdict.given.name()
    ))?;
    if !rows.is_empty() {
        say("activations   tokens  perplexity  of the other   excess  same likeliest token")?;
    }
    for (activations, row) in rows {
        say(format_args!(
            "{activations:<11} {:>8} {:>11.4} {:>13.4} {:>7.3}% {:>21.2}%",
            row.tokens,
            row.perplexity,
            row.reference_perplexity,
            100.0 * row.excess(),
            100.0 * row.agreement
        ))?;
    }
    Ok(())
}

fn as_json(checkpoint: &Checkpoint, verdict: &Verdict, rows: &[Row]) -> Value {
    let damage: Vec<Value> = verdict
        .damage
        .iter()
        .map(|(tensor, reason)| json!({"tensor": tensor, "reason": reason}))
        .collect();
    let rows: Vec<Value> = rows
        .iter()
        .map(|(activations, row)| {
            json!({
                "activations": activations,
                "tokens": row.tokens,
                "perplexity": row.perplexity,
                "reference_perplexity": row.reference_perplexity,
                "excess": row.excess(),
                "agreement": row.agreement,
            })
        })
        .collect();
    json!({
        "sound": verdict.damage.is_empty(),
        "hashes": verdict.given.name(),
        "tensors": verdict.hashes.len(),
        "weight_bytes": checkpoint.weight_bytes(),
        "damage": damage,
        "sha256": verdict.hashes,
        "against": rows,
    })
}
