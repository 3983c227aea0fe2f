//! The shape of a model, as plain data, and the checks that make it safe to compute with.

use crate::family::Family;

/// How RoPE's frequencies are scaled beyond the trained context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// `rope_type` "default".
    None,
    /// `rope_type` "llama3" (Llama 3.1 model card; transformers' `_compute_llama3_parameters`).
    Llama3 {
        /// `factor`.
        factor: f32,
        /// `low_freq_factor`.
        low_freq_factor: f32,
        /// `high_freq_factor`.
        high_freq_factor: f32,
        /// `original_max_position_embeddings`.
        original_max_position_embeddings: usize,
    },
}

/// Everything of `config.json` that the arithmetic needs; names as in the file where they differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// `model_type`.
    pub family: Family,
    /// `hidden_size`, D.
    pub dim: usize,
    /// `intermediate_size`, H.
    pub hidden: usize,
    /// `num_hidden_layers`, L.
    pub layers: usize,
    /// `num_attention_heads`.
    pub heads: usize,
    /// `num_key_value_heads`.
    pub kv_heads: usize,
    /// `head_dim`; even.
    pub head_dim: usize,
    /// `vocab_size`, V.
    pub vocab: usize,
    /// `max_position_embeddings`.
    pub max_context: usize,
    /// `rms_norm_eps`.
    pub norm_eps: f32,
    /// `rope_theta`.
    pub rope_theta: f32,
    /// `rope_scaling` or `rope_parameters`.
    pub rope_scaling: RopeScaling,
    /// `tie_word_embeddings`.
    pub tied: bool,
    /// Biases on q, k and v (`attention_bias`; always in Qwen2).
    pub qkv_bias: bool,
    /// Bias on o (`attention_bias` of Llama and Qwen3).
    pub o_bias: bool,
    /// Biases on gate, up and down (`mlp_bias`).
    pub mlp_bias: bool,
    /// RMSNorm of each head of q and k before RoPE (Qwen3).
    pub qk_norm: bool,
}

impl Config {
    /// Width of q and of the attention's output: `heads * head_dim`.
    pub const fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of k and v: `kv_heads * head_dim`.
    pub const fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}
