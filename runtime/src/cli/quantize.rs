//! `homespun quantize`: a model's folder with its matrices packed in eight or four bits a weight.

use std::path::PathBuf;

use homespun_kernels::quant::Format;
use serde_json::{Value, json};

use super::Outcome;
use super::options::{Machine, is_builtin, open_weights, print_json, say};
use crate::checkpoint::Quantization;
use crate::quantize::{self, Files, Report};

/// Write a model with 8 or 4 bits a weight
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun quantize --model builtin --to q8 --out model-q8")]
pub(crate) struct Args {
    /// A Hugging Face folder (config.json, *.safetensors) in f32, bf16 or f16, or `builtin`
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The format of the linear layers: q8 or q4
    #[arg(long, value_name = "FORMAT")]
    to: String,
    /// The format of the embedding and the head: q8 or q4
    #[arg(long, value_name = "FORMAT", default_value = "q8")]
    head: String,
    /// The folder to write; empty or not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print {"weight_bytes", "source_bytes", "weights", "format", "head", "kinds"}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let format = format("--to", &args.to)?;
    let quantization = Quantization { format, head: self::format("--head", &args.head)? };
    let checkpoint = open_weights(&args.model)?;
    let files = match is_builtin(&args.model) {
        true => Files::built_in()?,
        false => Files::read(&args.model)?,
    };
    let pool = machine.pool()?;
    let report = quantize::quantize(&checkpoint, files, quantization, &args.out, &pool)?;
    if args.json {
        print_json(&as_json(&report, quantization))?;
    } else {
        print(&report)?;
    }
    Ok(())
}

fn format(option: &str, name: &str) -> Result<Format, String> {
    Format::named(name).ok_or_else(|| format!("{option}: {name:?} is not q8 or q4"))
}

fn print(report: &Report) -> Result<(), String> {
    say(format_args!(
        "{:<14} {:>6} {:>7} {:>13}  {:>12}  {:>13}",
        "matrices", "format", "tensors", "weights", "RMS error", "largest error"
    ))?;
    for kind in &report.kinds {
        say(format_args!(
            "{:<14} {:>6} {:>7} {:>13}  {:>11.4}%  {:>13.3e}",
            kind.name,
            kind.format.name(),
            kind.tensors,
            kind.figures.weights,
            100.0 * kind.figures.relative_rms(),
            kind.figures.largest,
        ))?;
    }
    let [before, after] = report.bytes;
    let bits = 8.0 * after as f64 / report.weights.max(1) as f64;
    say(format_args!("{before} bytes of weights -> {after}, {bits:.2} bits a weight"))
}

fn as_json(report: &Report, quantization: Quantization) -> Value {
    let kinds: Vec<Value> = report
        .kinds
        .iter()
        .map(|kind| {
            json!({
                "name": kind.name,
                "format": kind.format.name(),
                "tensors": kind.tensors,
                "weights": kind.figures.weights,
                "relative_rms_error": kind.figures.relative_rms(),
                "largest_error": kind.figures.largest,
            })
        })
        .collect();
    json!({
        "source_bytes": report.bytes[0],
        "weight_bytes": report.bytes[1],
        "weights": report.weights,
        "format": quantization.format.name(),
        "head": quantization.head.name(),
        "kinds": kinds,
    })
}
