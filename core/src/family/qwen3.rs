//! Qwen3: each head of q and k is normalised before RoPE; heads are 128 wide unless said.

use super::{Bias, Family, LLAMA_NAMES, Spec, Window};

pub(super) const SPEC: Spec = Spec {
    family: Family::Qwen3,
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    qkv_bias: Bias::Field("attention_bias"),
    o_bias: Bias::Field("attention_bias"),
    mlp_bias: Bias::Never,
    qk_norm: true,
    window: Window::Gated,
    head_dim: Some(128),
    names: LLAMA_NAMES,
};
