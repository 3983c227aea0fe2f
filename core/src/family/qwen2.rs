//! Qwen2 and Qwen2.5: biases on q, k and v, none on o.

use super::{Bias, Family, LLAMA_NAMES, Spec, Window};

pub(super) const SPEC: Spec = Spec {
    family: Family::Qwen2,
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    qkv_bias: Bias::Always,
    o_bias: Bias::Never,
    mlp_bias: Bias::Never,
    qk_norm: false,
    window: Window::Gated,
    head_dim: None,
    names: LLAMA_NAMES,
};
