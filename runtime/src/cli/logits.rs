//! `homespun logits`: the raw logits of a token sequence, for comparison with other programs.

use std::path::PathBuf;

use bytemuck::cast_slice;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::Outcome;
use super::options::{AdapterArgs, Machine, ModelArgs};
use crate::durable;
use crate::engine::Engine;

/// Write the logits of given tokens as a safetensors file with the tensor `logits` (T, V)
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
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?;
    let adapter = args.adapter.load(&base)?;
    let logits = engine.logits(adapter.as_ref(), &args.tokens)?;
    let shape = vec![args.tokens.len(), engine.model().config.vocab];
    let view = TensorView::new(Dtype::F32, shape, cast_slice(&logits))?;
    let bytes = safetensors::serialize([("logits", view)], None)?;
    durable::write(&args.out, &bytes)?;
    Ok(())
}
