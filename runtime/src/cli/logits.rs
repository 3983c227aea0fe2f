//! `homespun logits`: the raw logits of a token sequence, for comparison with other programs.

use std::path::PathBuf;

use bytemuck::cast_slice;
use homespun_core::compute::Compute;
use homespun_core::model::Model;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::Outcome;
use super::options::{AdapterArgs, ExactArgs, Machine, ModelArgs};
use crate::adapter::Adapter;
use crate::durable;
use crate::engine::{self};

/// Write the logits of given tokens as a safetensors file
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun logits --model builtin --tokens 1,2,3 --out logits.safetensors"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Token ids
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    precision: ExactArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let precision = args.precision.get()?;
    let checkpoint = args.model.checkpoint()?;
    let layers = checkpoint.layers()?;
    let model = Model { config: *checkpoint.config(), weights: checkpoint.weights(&layers)? };
    let mut adapter = args.adapter.load_on(&checkpoint)?;
    let pool = machine.pool()?;
    let compute = Compute::new(machine.kernels()?, &pool).with_int8(precision.int8);
    if let Some(adapter) = &mut adapter {
        adapter.prepare(&model, compute)?;
    }
    let lora = adapter.as_ref().map(Adapter::lora);
    let logits = engine::logits(&model, compute, precision.kv, lora, &args.tokens)
        .map_err(|error| format!("{}: {error}", checkpoint.path().display()))?;
    let shape = vec![args.tokens.len(), model.config.vocab];
    let view = TensorView::new(Dtype::F32, shape, cast_slice(&logits))?;
    let bytes = safetensors::serialize([("logits", view)], None)?;
    durable::write(&args.out, &bytes)?;
    Ok(())
}
