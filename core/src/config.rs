//! The shape of a model, as plain data, and the checks that make it safe to compute with.
//!
//! After [`Config::validate`] every size is at least 1 and bounded, the heads group evenly, and the
//! bytes of each tensor at 4 bytes an element fit `isize`: no product of two sizes overflows.

use core::fmt;

use crate::family::Family;

/// The largest `num_hidden_layers` that is taken for a model and not for damage.
pub const MAX_LAYERS: usize = 1024;

/// The largest width, head count or vocabulary.
pub const MAX_SIZE: usize = 1 << 24;

/// The largest `max_position_embeddings`.
pub const MAX_CONTEXT: usize = 1 << 27;

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

    /// Checks what the arithmetic relies on; see the module's head.
    ///
    /// # Errors
    /// The first field that is zero, too large, not finite or at odds with another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("hidden_size", self.dim, MAX_SIZE),
            ("intermediate_size", self.hidden, MAX_SIZE),
            ("num_hidden_layers", self.layers, MAX_LAYERS),
            ("num_attention_heads", self.heads, MAX_SIZE),
            ("num_key_value_heads", self.kv_heads, MAX_SIZE),
            ("head_dim", self.head_dim, MAX_SIZE),
            ("vocab_size", self.vocab, MAX_SIZE),
            ("max_position_embeddings", self.max_context, MAX_CONTEXT),
        ];
        for (field, value, limit) in sizes {
            if value == 0 {
                return Err(ConfigError::Zero { field });
            }
            if value > limit {
                return Err(ConfigError::TooLarge { field, value, limit });
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::UnevenHeads { heads: self.heads, kv_heads: self.kv_heads });
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::OddHeadDim { head_dim: self.head_dim });
        }
        let q_dim = product("num_attention_heads * head_dim", self.heads, self.head_dim)?;
        if q_dim > MAX_SIZE {
            let field = "num_attention_heads * head_dim";
            return Err(ConfigError::TooLarge { field, value: q_dim, limit: MAX_SIZE });
        }
        for (field, a, b) in [
            ("vocab_size * hidden_size", self.vocab, self.dim),
            ("intermediate_size * hidden_size", self.hidden, self.dim),
            ("num_attention_heads * head_dim * hidden_size", q_dim, self.dim),
        ] {
            let bytes = product(field, product(field, a, b)?, 4)?;
            if bytes > isize::MAX as usize {
                return Err(ConfigError::Overflow { field });
            }
        }
        positive("rms_norm_eps", self.norm_eps)?;
        positive("rope_theta", self.rope_theta)?;
        match self.rope_scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                positive("factor", factor)?;
                positive("low_freq_factor", low_freq_factor)?;
                positive("high_freq_factor", high_freq_factor)?;
                if high_freq_factor <= low_freq_factor {
                    return Err(ConfigError::FrequencyOrder);
                }
                let (field, value) =
                    ("original_max_position_embeddings", original_max_position_embeddings);
                match value {
                    0 => Err(ConfigError::Zero { field }),
                    1..=MAX_CONTEXT => Ok(()),
                    _ => Err(ConfigError::TooLarge { field, value, limit: MAX_CONTEXT }),
                }
            }
        }
    }
}

fn product(field: &'static str, a: usize, b: usize) -> Result<usize, ConfigError> {
    a.checked_mul(b).ok_or(ConfigError::Overflow { field })
}

fn positive(field: &'static str, value: f32) -> Result<(), ConfigError> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(ConfigError::NotPositive { field, value })
    }
}

/// Why a [`Config`] cannot be computed with; fields are named as in `config.json`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConfigError {
    /// A size is 0.
    Zero {
        /// The field.
        field: &'static str,
    },
    /// A size is beyond what any model has.
    TooLarge {
        /// The field.
        field: &'static str,
        /// What it says.
        value: usize,
        /// The largest value that is taken.
        limit: usize,
    },
    /// A tensor of these sizes does not fit the address space.
    Overflow {
        /// The product.
        field: &'static str,
    },
    /// `num_attention_heads` is no multiple of `num_key_value_heads`.
    UnevenHeads {
        /// `num_attention_heads`.
        heads: usize,
        /// `num_key_value_heads`.
        kv_heads: usize,
    },
    /// RoPE turns pairs, so `head_dim` must be even.
    OddHeadDim {
        /// `head_dim`.
        head_dim: usize,
    },
    /// A number is zero, negative, infinite or not a number.
    NotPositive {
        /// The field.
        field: &'static str,
        /// What it says.
        value: f32,
    },
    /// `high_freq_factor` is not above `low_freq_factor`.
    FrequencyOrder,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ConfigError::Zero { field } => write!(f, "`{field}` is 0"),
            ConfigError::TooLarge { field, value, limit } => {
                write!(f, "`{field}` is {value}, more than {limit}")
            }
            ConfigError::Overflow { field } => {
                write!(f, "`{field}` does not fit the address space")
            }
            ConfigError::UnevenHeads { heads, kv_heads } => write!(
                f,
                "`num_attention_heads` ({heads}) is no multiple of `num_key_value_heads` ({kv_heads})"
            ),
            ConfigError::OddHeadDim { head_dim } => {
                write!(f, "`head_dim` is {head_dim}, which is odd")
            }
            ConfigError::NotPositive { field, value } => {
                write!(f, "`{field}` is {value}, not a finite number above 0")
            }
            ConfigError::FrequencyOrder => {
                write!(f, "`high_freq_factor` is not above `low_freq_factor`")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Config {
        Config {
            family: Family::Llama,
            dim: 8,
            hidden: 12,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 2,
            vocab: 16,
            max_context: 32,
            norm_eps: 1e-5,
            rope_theta: 1e4,
            rope_scaling: RopeScaling::None,
            tied: true,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
        }
    }

    type Change = fn(&mut Config);

    #[test]
    fn a_sound_configuration_passes() {
        assert_eq!(small().validate(), Ok(()));
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        assert_eq!(Config { rope_scaling: llama3, ..small() }.validate(), Ok(()));
    }

    #[test]
    fn each_bad_size_is_refused_by_its_field() {
        let cases: [(&str, Change, Change); 8] = [
            ("hidden_size", |c| c.dim = 0, |c| c.dim = usize::MAX),
            ("intermediate_size", |c| c.hidden = 0, |c| c.hidden = usize::MAX),
            ("num_hidden_layers", |c| c.layers = 0, |c| c.layers = MAX_LAYERS + 1),
            ("num_attention_heads", |c| c.heads = 0, |c| c.heads = usize::MAX),
            ("num_key_value_heads", |c| c.kv_heads = 0, |c| c.kv_heads = usize::MAX),
            ("head_dim", |c| c.head_dim = 0, |c| c.head_dim = usize::MAX - 1),
            ("vocab_size", |c| c.vocab = 0, |c| c.vocab = MAX_SIZE + 1),
            ("max_position_embeddings", |c| c.max_context = 0, |c| c.max_context = usize::MAX),
        ];
        for (name, zero, huge) in cases {
            let mut config = small();
            zero(&mut config);
            assert_eq!(config.validate(), Err(ConfigError::Zero { field: name }));
            let mut config = small();
            huge(&mut config);
            let Err(ConfigError::TooLarge { field, .. }) = config.validate() else {
                panic!("a huge {name} passed: {:?}", config.validate());
            };
            assert_eq!(field, name);
        }
    }

    #[test]
    fn inconsistent_values_are_refused() {
        let cases: [(&str, Change); 9] = [
            ("num_key_value_heads", |c| c.kv_heads = 3),
            ("num_key_value_heads", |c| c.kv_heads = 8),
            ("head_dim", |c| c.head_dim = 3),
            ("num_attention_heads * head_dim", |c| {
                c.heads = MAX_SIZE;
                c.head_dim = 2;
            }),
            ("rms_norm_eps", |c| c.norm_eps = f32::NAN),
            ("rms_norm_eps", |c| c.norm_eps = 0.0),
            ("rope_theta", |c| c.rope_theta = f32::INFINITY),
            ("rope_theta", |c| c.rope_theta = -1.0),
            ("high_freq_factor", |c| {
                c.rope_scaling = RopeScaling::Llama3 {
                    factor: 8.0,
                    low_freq_factor: 4.0,
                    high_freq_factor: 4.0,
                    original_max_position_embeddings: 8192,
                };
            }),
        ];
        for (field, change) in cases {
            let mut config = small();
            change(&mut config);
            let message = config.validate().expect_err(field).to_string();
            assert!(message.contains(field), "{message}");
        }
    }

    #[cfg(target_pointer_width = "32")]
    #[test]
    fn a_tensor_beyond_the_address_space_is_refused() {
        let config = Config { vocab: MAX_SIZE, dim: 4096, ..small() };
        let field = "vocab_size * hidden_size";
        assert_eq!(config.validate(), Err(ConfigError::Overflow { field }));
    }
}
