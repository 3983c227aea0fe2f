//! Borrowed weights of a whole model, named as Hugging Face names them.

use homespun_kernels::{Data, Matrix};

/// A linear layer `y = x weightᵀ + bias`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `(outputs, inputs)`.
    pub weight: Matrix<'a>,
    /// `(outputs)`.
    pub bias: Option<Data<'a>>,
}

/// One decoder block.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// `input_layernorm.weight`, `(D)`.
    pub input_norm: Data<'a>,
    /// `self_attn.q_proj`, `(heads * head_dim, D)`.
    pub q_proj: Linear<'a>,
    /// `self_attn.k_proj`, `(kv_heads * head_dim, D)`.
    pub k_proj: Linear<'a>,
    /// `self_attn.v_proj`, `(kv_heads * head_dim, D)`.
    pub v_proj: Linear<'a>,
    /// `self_attn.o_proj`, `(D, heads * head_dim)`.
    pub o_proj: Linear<'a>,
    /// `self_attn.q_norm.weight`, `(head_dim)`.
    pub q_norm: Option<Data<'a>>,
    /// `self_attn.k_norm.weight`, `(head_dim)`.
    pub k_norm: Option<Data<'a>>,
    /// `post_attention_layernorm.weight`, `(D)`.
    pub post_norm: Data<'a>,
    /// `mlp.gate_proj`, `(H, D)`.
    pub gate_proj: Linear<'a>,
    /// `mlp.up_proj`, `(H, D)`.
    pub up_proj: Linear<'a>,
    /// `mlp.down_proj`, `(D, H)`.
    pub down_proj: Linear<'a>,
}

/// All weights; the layers lie in a slice that the caller lends.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `model.embed_tokens.weight`, `(V, D)`.
    pub embed: Matrix<'a>,
    /// `model.layers`.
    pub layers: &'a [Layer<'a>],
    /// `model.norm.weight`, `(D)`.
    pub norm: Data<'a>,
    /// `lm_head.weight`, `(V, D)`; the embedding where they are tied.
    pub head: Matrix<'a>,
}

/// Where tensors come from: a checkpoint's map, an image in flash, a test's vectors.
pub trait TensorSource<'a> {
    /// Why a tensor cannot be had.
    type Error;

    /// The tensor `name`, whose shape must be `shape`; `Ok(None)` if there is none of that name.
    ///
    /// # Errors
    /// If the tensor is there with another shape or an unreadable element type.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Option<Data<'a>>, Self::Error>;
}
