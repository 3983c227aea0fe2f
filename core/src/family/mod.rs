//! Model families: what differs between them, as data.

/// A family of decoder-only models that share one block structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama, and what is stored as one: SmolLM2, TinyLlama, OpenLLaMA, Llama 3.x.
    Llama,
    /// Mistral without a sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Qwen3: norms on q and k.
    Qwen3,
}
