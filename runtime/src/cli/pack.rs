//! `homespun pack`: a model as one image, for a device without a file system.

use std::path::PathBuf;

use serde_json::json;

use super::Outcome;
use super::options::{Machine, is_builtin, print_json, say};
use crate::durable;
use crate::engine::Base;
use crate::image::pack::{self, Weights};

/// Write a model as one image that a firmware uses where it lies
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun pack --model builtin --dtype q8 --out builtin.img\n\nThe image holds weights, tokenizer and chat template; what they do that an image cannot say is refused."
)]
pub(crate) struct Args {
    /// A Hugging Face folder (config.json, *.safetensors, tokenizer.json), or `builtin`
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// How matrices are stored: q8, q4 (embedding and head in q8), or f32
    #[arg(long, value_name = "FORMAT")]
    dtype: String,
    /// A chat template in place of the model's own
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// The file to write; replaced if it is there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print {"bytes", "weight_bytes", "tokenizer_bytes", "tensors", "proved", "sha256"}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, _machine: &Machine) -> Outcome {
    let weights = Weights::named(&args.dtype)
        .ok_or_else(|| format!("--dtype: {:?} is not q8, q4 or f32", args.dtype))?;
    durable::check_file(&args.out)?;
    let template = args.template.as_deref();
    let base = match is_builtin(&args.model) {
        true => Base::builtin(template)?,
        false => Base::open(&args.model, template)?,
    };
    let packing = pack::pack(&base, weights)?;
    durable::write(&args.out, &packing.bytes)?;
    if args.json {
        print_json(&json!({
            "bytes": packing.bytes.len(),
            "weight_bytes": packing.weight_bytes,
            "tokenizer_bytes": packing.tokenizer_bytes,
            "tensors": packing.tensors,
            "proved": packing.proved,
            "sha256": packing.hash,
        }))?;
    } else {
        say(format_args!(
            "{}: {} bytes, {} of them weights in {} tensors, {} the tokenizer's; the same as {} on {} \
             dialogues and texts",
            args.out.display(),
            packing.bytes.len(),
            packing.weight_bytes,
            packing.tensors,
            packing.tokenizer_bytes,
            base.name(),
            packing.proved,
        ))?;
    }
    Ok(())
}
