//! Mistral, as far as its sliding window is off or as long as its context.

use super::{Bias, Family, LLAMA_NAMES, Spec, Window};

pub(super) const SPEC: Spec = Spec {
    family: Family::Mistral,
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    qkv_bias: Bias::Never,
    o_bias: Bias::Never,
    mlp_bias: Bias::Never,
    qk_norm: false,
    window: Window::Absent(4096),
    head_dim: None,
    names: LLAMA_NAMES,
};
