//! `homespun merge`: a base and an adapter as one plain model.

use std::path::PathBuf;

use super::Outcome;
use super::options::{AnyBase, Machine, is_builtin, open_weights, say};
use crate::merge::{self, Float};
use crate::quantize::Files;

/// Write a base with an adapter merged into its weights as a plain model
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun merge --model builtin --adapter adapter --out merged --dtype f32\n\nIn 16 bits an update that is small beside its weight is rounded away; f32 keeps it. A quantised base is unpacked."
)]
pub(crate) struct Args {
    /// A Hugging Face folder (config.json, *.safetensors), or `builtin`
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A PEFT folder (adapter_config.json, adapter_model.safetensors)
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    #[command(flatten)]
    any: AnyBase,
    /// The folder to write; empty or not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How weights are stored: f32, bf16 or f16 [default: as the base's; of a quantised base bf16]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let float = args.dtype.as_deref().map(float).transpose()?;
    let checkpoint = open_weights(&args.model)?;
    let adapter = args.any.open_on(&args.adapter, &checkpoint)?;
    let files = match is_builtin(&args.model) {
        true => Files::built_in()?,
        false => Files::read(&args.model)?,
    };
    if checkpoint.quantization().is_some() {
        let float = float.unwrap_or(Float::Bf16).name();
        eprintln!("{}: is quantised; its weights are unpacked to {float}", args.model.display());
    }
    let pool = machine.pool()?;
    let on = (machine.kernels()?, &pool as &dyn homespun_kernels::Pool);
    let report = merge::merge(&checkpoint, &adapter, files, float, &args.out, on)?;
    say(format_args!(
        "{} tensors, {} of them adapted, {} bytes",
        report.tensors, report.adapted, report.bytes
    ))?;
    Ok(())
}

fn float(name: &str) -> Result<Float, String> {
    let known = Float::ALL.into_iter().find(|float| float.name() == name);
    known.ok_or_else(|| format!("--dtype: {name:?} is not f32, bf16 or f16"))
}
