//! Model families: what differs between them, as data.
//!
//! A family is one file with one [`Spec`]: its names in `config.json`, the flags of its block and
//! the names of its tensors. To add one: its file, a line in [`ALL`], a variant of [`Family`].

mod llama;
mod mistral;
mod qwen2;
mod qwen3;

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

/// Whether a group of layers has biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// It has none, whatever `config.json` says.
    Never,
    /// It has them, whatever `config.json` says.
    Always,
    /// As this field of `config.json` says; absent means no.
    Field(&'static str),
}

/// How a family's `config.json` turns a sliding window on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// There is none.
    Never,
    /// `sliding_window`, unless null; absent means this many tokens.
    Absent(usize),
    /// `sliding_window` from layer `max_window_layers` on, if `use_sliding_window`.
    Gated,
}

/// Everything that sets one family apart.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The family.
    pub family: Family,
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The entry of `architectures`.
    pub architecture: &'static str,
    /// Biases on q, k and v.
    pub qkv_bias: Bias,
    /// Bias on o.
    pub o_bias: Bias,
    /// Biases on gate, up and down.
    pub mlp_bias: Bias,
    /// RMSNorm of each head of q and k.
    pub qk_norm: bool,
    /// How a sliding window is turned on.
    pub window: Window,
    /// `head_dim` where the file gives none; `None`: `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    /// Tensor names.
    pub names: Names,
}

/// Names of tensors: `head`, `embed` and `norm` whole; those of a layer follow `layer`, its number
/// and a dot. Linear layers add `.weight` and `.bias`.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The embedding.
    pub embed: &'static str,
    /// The last norm.
    pub norm: &'static str,
    /// The output matrix.
    pub head: &'static str,
    /// Before a layer's number.
    pub layer: &'static str,
    /// The norm before attention.
    pub input_norm: &'static str,
    /// The norm before the MLP.
    pub post_norm: &'static str,
    /// The norm of q's heads.
    pub q_norm: &'static str,
    /// The norm of k's heads.
    pub k_norm: &'static str,
    /// q.
    pub q_proj: &'static str,
    /// k.
    pub k_proj: &'static str,
    /// v.
    pub v_proj: &'static str,
    /// o.
    pub o_proj: &'static str,
    /// gate.
    pub gate_proj: &'static str,
    /// up.
    pub up_proj: &'static str,
    /// down.
    pub down_proj: &'static str,
    /// Ends of names that hold no weight and are passed over.
    pub ignored: &'static [&'static str],
}

/// The names that Hugging Face gave Llama and that most families kept.
pub const LLAMA_NAMES: Names = Names {
    embed: "model.embed_tokens.weight",
    norm: "model.norm.weight",
    head: "lm_head.weight",
    layer: "model.layers.",
    input_norm: "input_layernorm.weight",
    post_norm: "post_attention_layernorm.weight",
    q_norm: "self_attn.q_norm.weight",
    k_norm: "self_attn.k_norm.weight",
    q_proj: "self_attn.q_proj",
    k_proj: "self_attn.k_proj",
    v_proj: "self_attn.v_proj",
    o_proj: "self_attn.o_proj",
    gate_proj: "mlp.gate_proj",
    up_proj: "mlp.up_proj",
    down_proj: "mlp.down_proj",
    ignored: &["self_attn.rotary_emb.inv_freq"],
};

/// Every family.
pub const ALL: [&Spec; 4] = [&llama::SPEC, &mistral::SPEC, &qwen2::SPEC, &qwen3::SPEC];

impl Family {
    /// The family's data.
    pub const fn spec(self) -> &'static Spec {
        match self {
            Family::Llama => &llama::SPEC,
            Family::Mistral => &mistral::SPEC,
            Family::Qwen2 => &qwen2::SPEC,
            Family::Qwen3 => &qwen3::SPEC,
        }
    }

    /// The family of this `model_type`.
    pub fn from_model_type(model_type: &str) -> Option<Family> {
        ALL.into_iter().find(|s| s.model_type == model_type).map(|s| s.family)
    }

    /// The family of this entry of `architectures`.
    pub fn from_architecture(architecture: &str) -> Option<Family> {
        ALL.into_iter().find(|s| s.architecture == architecture).map(|s| s.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_found_by_its_names() {
        for spec in ALL {
            assert_eq!(spec.family.spec().model_type, spec.model_type);
            assert_eq!(Family::from_model_type(spec.model_type), Some(spec.family));
            assert_eq!(Family::from_architecture(spec.architecture), Some(spec.family));
        }
        assert_eq!(Family::from_model_type("gpt2"), None);
        assert_eq!(Family::from_architecture("LlamaForSequenceClassification"), None);
    }

    #[test]
    fn each_file_of_the_folder_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/family");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect(folder)
            .filter_map(|e| Some(e.ok()?.path().file_stem()?.to_str()?.to_owned()))
            .filter(|name| name != "mod")
            .collect();
        files.sort();
        let mut listed: Vec<_> = ALL.iter().map(|s| s.model_type).collect();
        listed.sort_unstable();
        assert_eq!(files, listed);
    }
}
