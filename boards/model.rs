//! The model that a board runs by default, and what it needs: sums that are done while compiling.
//!
//! ```text
//! weights     matrices in q8, norms in f32                     <= the partition, where there is one
//! memory      adapter, gradient, two moments, a step at least  <= the budget <= RAM
//! ```

use homespun_core::config::{Config, RopeScaling};
use homespun_core::family::Family;
use homespun_core::lora::{LoraConfig, Target, Targets};
use homespun_core::train::{Memory, Pieces};
use homespun_kernels::quant::Format;

/// A model, how it is trained, and the memory that this may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// What `--model` is given: `builtin`, or a name on the Hugging Face Hub.
    pub name: &'static str,
    /// Its shape.
    pub config: Config,
    /// T: the most tokens of a dialogue.
    pub context: usize,
    /// The adapter.
    pub lora: LoraConfig,
    /// Bytes of memory for weights that do not lie in flash, and for training.
    pub budget: u64,
}

impl Model {
    /// Bytes of the weights in q8.
    pub const fn weight_bytes(&self) -> u64 {
        let c = &self.config;
        let (mut layer, mut i) = (4 * 2 * c.dim, 0);
        while i < Target::ALL.len() {
            let (outputs, inputs) = Target::ALL[i].shape(c);
            layer += q8(outputs, inputs);
            i += 1;
        }
        let head = q8(c.vocab, c.dim) * if c.tied { 1 } else { 2 };
        (c.layers * layer + head + 4 * c.dim) as u64
    }

    /// Bytes of memory that training takes at least, with `threads` threads and the weights elsewhere.
    pub const fn training_bytes(&self, threads: usize) -> u64 {
        let pieces = Pieces { mlp_rows: 8, head_rows: 4, half_inputs: false };
        let parameters = self.lora.parameters(&self.config);
        let memory = Memory::new(&self.config, &self.lora, self.context, pieces, threads);
        (4 * 4 * parameters + memory.least()) as u64
    }
}

const fn q8(rows: usize, cols: usize) -> usize {
    match Format::Q8.bytes(rows, cols) {
        Some(bytes) => bytes,
        None => panic!("a matrix that is too large"),
    }
}

/// Of Llama's family, tied, without biases.
const LLAMA: Config = Config {
    family: Family::Llama,
    dim: 0,
    hidden: 0,
    layers: 0,
    heads: 0,
    kv_heads: 0,
    head_dim: 0,
    vocab: 0,
    max_context: 0,
    norm_eps: 1e-5,
    rope_theta: 10_000.0,
    rope_scaling: RopeScaling::None,
    tied: true,
    qkv_bias: false,
    o_bias: false,
    mlp_bias: false,
    qk_norm: false,
};

/// The built-in model's shape.
pub const BUILTIN: Config = Config {
    dim: 128,
    hidden: 384,
    layers: 6,
    heads: 4,
    kv_heads: 2,
    head_dim: 32,
    vocab: 1024,
    max_context: 512,
    ..LLAMA
};

/// SmolLM2-135M-Instruct.
const SMOLLM2_135M: Config = Config {
    dim: 576,
    hidden: 1536,
    layers: 30,
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
    vocab: 49_152,
    max_context: 8192,
    rope_theta: 100_000.0,
    ..LLAMA
};

/// The built-in model in half a megabyte: rank 4 on q and v, 32 tokens.
pub const SMALL: Model = Model {
    name: "builtin",
    config: BUILTIN,
    context: 32,
    lora: LoraConfig::new(4, 8.0, 0.0, Targets::NONE.with(Target::Q).with(Target::V)),
    budget: 477_184,
};

/// The built-in model in megabytes: rank 8 on attention, 256 tokens.
pub const LARGE: Model = Model {
    context: 256,
    lora: LoraConfig::new(8, 16.0, 0.0, Targets::ATTENTION),
    budget: 15 << 20,
    ..SMALL
};

/// A small model for a person, on a board with an operating system.
pub(crate) const PERSON: Model = Model {
    name: "HuggingFaceTB/SmolLM2-135M-Instruct",
    config: SMOLLM2_135M,
    context: 512,
    lora: LoraConfig::new(8, 16.0, 0.05, Targets::ATTENTION),
    budget: 1 << 30,
};
