//! Llama, and what is stored as one: SmolLM2, TinyLlama, OpenLLaMA, Llama 3.x.

use super::{Bias, Family, LLAMA_NAMES, Spec, Window};

pub(super) const SPEC: Spec = Spec {
    family: Family::Llama,
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    qkv_bias: Bias::Field("attention_bias"),
    o_bias: Bias::Field("attention_bias"),
    mlp_bias: Bias::Field("mlp_bias"),
    qk_norm: false,
    window: Window::Never,
    head_dim: None,
    names: LLAMA_NAMES,
};
