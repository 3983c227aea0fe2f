//! Shapes of known models, for measurements without their weights.
//!
//! ```text
//!                 dim  hidden layers heads kv head_dim vocab
//! stories-15m     288    768     6     6   6    48     32000
//! smollm2-135m    576   1536    30     9   3    64     49152
//! smollm2-360m    960   2560    32    15   5    64     49152
//! qwen2.5-0.5b    896   4864    24    14   2    64    151936   biases on q, k, v
//! llama-3.2-1b   2048   8192    16    32   8    64    128256
//! ```
//! All tie the head to the embedding. The context is 2048 for each, whatever the model was trained on.

use homespun_core::family::{Bias, Family, Names};
use serde_json::{Value, json};

use crate::checkpoint::Quantization;

/// Tokens of the context of each.
pub const CONTEXT: usize = 2048;

/// A model's sizes, named as in [`Config`](homespun_core::config::Config).
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What `--synthetic` calls it.
    pub name: &'static str,
    family: Family,
    dim: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocab: usize,
    rope_theta: f64,
}

const STORIES_15M: Shape = Shape {
    name: "stories-15m",
    family: Family::Llama,
    dim: 288,
    hidden: 768,
    layers: 6,
    heads: 6,
    kv_heads: 6,
    head_dim: 48,
    vocab: 32_000,
    rope_theta: 1e4,
};

const SMOLLM2_135M: Shape = Shape {
    name: "smollm2-135m",
    dim: 576,
    hidden: 1536,
    layers: 30,
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
    vocab: 49_152,
    rope_theta: 1e5,
    ..STORIES_15M
};

const SMOLLM2_360M: Shape = Shape {
    name: "smollm2-360m",
    dim: 960,
    hidden: 2560,
    layers: 32,
    heads: 15,
    kv_heads: 5,
    ..SMOLLM2_135M
};

const QWEN2_5_HALF_B: Shape = Shape {
    name: "qwen2.5-0.5b",
    family: Family::Qwen2,
    dim: 896,
    hidden: 4864,
    layers: 24,
    heads: 14,
    kv_heads: 2,
    head_dim: 64,
    vocab: 151_936,
    rope_theta: 1e6,
};

const LLAMA_3_2_1B: Shape = Shape {
    name: "llama-3.2-1b",
    family: Family::Llama,
    dim: 2048,
    hidden: 8192,
    layers: 16,
    heads: 32,
    kv_heads: 8,
    head_dim: 64,
    vocab: 128_256,
    rope_theta: 5e5,
};

/// Every shape, from the smallest.
pub const ALL: [Shape; 5] = [STORIES_15M, SMOLLM2_135M, SMOLLM2_360M, QWEN2_5_HALF_B, LLAMA_3_2_1B];

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A matrix `(rows, cols)` of random numbers.
    Matrix(usize, usize),
    /// A bias: random numbers.
    Bias(usize),
    /// The weights of a norm: ones.
    Norm(usize),
}

impl Shape {
    /// The contents of its `config.json`, with matrices packed in this way.
    pub(crate) fn config_json(&self, quantization: Option<Quantization>) -> Value {
        let spec = self.family.spec();
        json!({
            "quantization_config": quantization.map(Quantization::to_json),
            "architectures": [spec.architecture],
            "model_type": spec.model_type,
            "hidden_size": self.dim,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": true,
        })
    }

    /// Names of its tensors.
    pub(super) const fn names(&self) -> &'static Names {
        &self.family.spec().names
    }

    /// Its tensors, matrices first: their sizes keep those after them aligned.
    pub(super) fn tensors(&self) -> Vec<(String, Kind)> {
        let spec = self.family.spec();
        let names = &spec.names;
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let bias = |bias: Bias| bias == Bias::Always;
        let linears = [
            (names.q_proj, q, self.dim, bias(spec.qkv_bias)),
            (names.k_proj, kv, self.dim, bias(spec.qkv_bias)),
            (names.v_proj, kv, self.dim, bias(spec.qkv_bias)),
            (names.o_proj, self.dim, q, bias(spec.o_bias)),
            (names.gate_proj, self.hidden, self.dim, bias(spec.mlp_bias)),
            (names.up_proj, self.hidden, self.dim, bias(spec.mlp_bias)),
            (names.down_proj, self.dim, self.hidden, bias(spec.mlp_bias)),
        ];
        let mut matrices = vec![(names.embed.to_owned(), Kind::Matrix(self.vocab, self.dim))];
        let mut vectors = vec![(names.norm.to_owned(), Kind::Norm(self.dim))];
        for i in 0..self.layers {
            let of_layer = |part: &str, end: &str| format!("{}{i}.{part}{end}", names.layer);
            for (part, outputs, inputs, bias) in linears {
                matrices.push((of_layer(part, ".weight"), Kind::Matrix(outputs, inputs)));
                if bias {
                    vectors.push((of_layer(part, ".bias"), Kind::Bias(outputs)));
                }
            }
            for part in [names.input_norm, names.post_norm] {
                vectors.push((of_layer(part, ""), Kind::Norm(self.dim)));
            }
            if spec.qk_norm {
                for part in [names.q_norm, names.k_norm] {
                    vectors.push((of_layer(part, ""), Kind::Norm(self.head_dim)));
                }
            }
        }
        matrices.append(&mut vectors);
        matrices
    }
}
