//! `config.json` in the styles of transformers 4 and 5, and `generation_config.json`.
//!
//! ```text
//!              version 4                                     version 5
//! rope         "rope_theta", "rope_scaling": null or {...}   "rope_parameters": {"rope_theta", ...}
//! dtype        "torch_dtype"                                 "dtype"
//! ```
//! What would change the arithmetic and is not implemented is refused by its name.

use std::path::Path;

use homespun_core::config::{Config, RopeScaling};
use homespun_core::family::{Bias, Family, Window};
use serde_json::Value;

use super::fields::Fields;
use super::quantization::Quantization;
use super::{Error, Object, SpecialTokens};

/// Reads `config.json`.
///
/// # Errors
/// Names the field that is missing, wrong or not supported.
pub(super) fn parse(
    file: &Path,
    json: &Object,
) -> Result<(Config, SpecialTokens, Option<Quantization>), Error> {
    let fields = Fields::new(file, json);
    let family = family(&fields)?;
    refuse_unsupported(&fields)?;
    let quantization = Quantization::parse(file, json)?;
    let spec = family.spec();
    let (dim, heads) = (fields.required("hidden_size")?, fields.required("num_attention_heads")?);
    let max_context = fields.required("max_position_embeddings")?;
    let (rope_theta, rope_scaling) = rope(&fields, max_context)?;
    let bias = |bias| match bias {
        Bias::Never => Ok(false),
        Bias::Always => Ok(true),
        Bias::Field(field) => fields.flag(field).map(|flag| flag.unwrap_or(false)),
    };
    let config = Config {
        family,
        dim,
        hidden: fields.required("intermediate_size")?,
        layers: fields.required("num_hidden_layers")?,
        heads,
        kv_heads: fields.size("num_key_value_heads")?.unwrap_or(heads),
        head_dim: head_dim(&fields, family, dim, heads)?,
        vocab: fields.required("vocab_size")?,
        max_context,
        norm_eps: fields.float("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        tied: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        qkv_bias: bias(spec.qkv_bias)?,
        o_bias: bias(spec.o_bias)?,
        mlp_bias: bias(spec.mlp_bias)?,
        qk_norm: spec.qk_norm,
    };
    config.validate().map_err(|reason| Error::Config { file: file.to_path_buf(), reason })?;
    refuse_window(&fields, &config)?;
    let special = SpecialTokens {
        bos: tokens(&fields, "bos_token_id")?.first().copied(),
        eos: tokens(&fields, "eos_token_id")?,
    };
    Ok((config, special, quantization))
}

/// Reads `generation_config.json`, whose tokens go before those of `config.json`.
///
/// # Errors
/// Names the field that is wrong.
pub(super) fn generation(
    file: &Path,
    json: &Object,
    config: SpecialTokens,
) -> Result<SpecialTokens, Error> {
    let fields = Fields::new(file, json);
    let eos = tokens(&fields, "eos_token_id")?;
    Ok(SpecialTokens {
        bos: tokens(&fields, "bos_token_id")?.first().copied().or(config.bos),
        eos: if eos.is_empty() { config.eos } else { eos },
    })
}

fn head_dim(fields: &Fields<'_>, family: Family, dim: usize, heads: usize) -> Result<usize, Error> {
    let usual = family.spec().head_dim.filter(|_| !fields.object.contains_key("head_dim"));
    match fields.size("head_dim")?.or(usual) {
        Some(head_dim) => Ok(head_dim),
        None if heads == 0 => Ok(0), // refused by `validate`
        None if dim.is_multiple_of(heads) => Ok(dim / heads),
        None => {
            let reason = format!("is {heads}, which does not divide `hidden_size` {dim}");
            Err(fields.error("num_attention_heads", reason))
        }
    }
}

/// One token or a list of them.
fn tokens(fields: &Fields<'_>, field: &str) -> Result<Vec<u32>, Error> {
    let token = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    let list = fields.read(field, "a token or a list of tokens", |value| match value {
        Value::Array(list) => list.iter().map(token).collect(),
        one => token(one).map(|id| vec![id]),
    })?;
    Ok(list.unwrap_or_default())
}

fn family(fields: &Fields<'_>) -> Result<Family, Error> {
    let list = fields.read("architectures", "a list of names", |value| {
        value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()
    })?;
    let listed = list.as_ref().and_then(|l| l.iter().find_map(|a| Family::from_architecture(a)));
    if let Some(list) = &list
        && listed.is_none()
        && !list.is_empty()
    {
        let reason = format!("is {}: not a family that is supported", list.join(", "));
        return Err(fields.error("architectures", reason));
    }
    match (fields.text("model_type")?, listed) {
        (None, None) => Err(fields.error("model_type", "is missing")),
        (None, Some(family)) => Ok(family),
        (Some(model_type), listed) => match Family::from_model_type(model_type) {
            None => {
                let reason = format!("is {model_type:?}: not a family that is supported");
                Err(fields.error("model_type", reason))
            }
            Some(family) if listed.is_some_and(|l| l != family) => {
                let reason = format!("is {model_type:?}, but `architectures` names another family");
                Err(fields.error("model_type", reason))
            }
            Some(family) => Ok(family),
        },
    }
}

fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), Error> {
    if let Some(act) = fields.text("hidden_act")?
        && act != "silu"
    {
        return Err(fields.error("hidden_act", format!("is {act:?}; only \"silu\" is supported")));
    }
    for field in ["torch_dtype", "dtype"] {
        if let Some(dtype) = fields.text(field)?
            && !["float32", "bfloat16", "float16"].contains(&dtype)
        {
            let reason = format!("is {dtype:?}; float32, bfloat16 and float16 are supported");
            return Err(fields.error(field, reason));
        }
    }
    Ok(())
}

/// `(rope_theta, rope_scaling)`; inner values go before those beside them, as in transformers.
fn rope(fields: &Fields<'_>, max_context: usize) -> Result<(f32, RopeScaling), Error> {
    let scaling = fields.object("rope_scaling", "rope_scaling.")?;
    let scaling = scaling.filter(|s| !s.object.is_empty());
    let inner = match scaling {
        Some(scaling) => Some(scaling),
        None => fields.object("rope_parameters", "rope_parameters.")?,
    };
    for place in inner.iter().chain([fields]) {
        if let Some(part) = place.float("partial_rotary_factor")?
            && part != 1.0
        {
            let reason = format!("is {part}; only whole heads are turned");
            return Err(place.error("partial_rotary_factor", reason));
        }
    }
    let outer_theta = fields.float("rope_theta")?;
    let Some(inner) = inner else {
        return Ok((outer_theta.unwrap_or(10_000.0), RopeScaling::None));
    };
    if let Some(nested) = inner.object.iter().find(|(_, v)| v.is_object()) {
        return Err(inner.error(nested.0, "is an object: RoPE by layer type is not supported"));
    }
    let theta = inner.float("rope_theta")?.or(outer_theta).unwrap_or(10_000.0);
    let (field, kind) = match inner.text("rope_type")? {
        Some(kind) => ("rope_type", kind),
        None => ("type", inner.text("type")?.unwrap_or("default")),
    };
    let need = |field| inner.float(field)?.ok_or_else(|| inner.error(field, "is missing"));
    match kind {
        "default" => Ok((theta, RopeScaling::None)),
        "llama3" => {
            let trained = "original_max_position_embeddings";
            let original = match fields.size(trained)? {
                Some(outer) => outer,
                None => inner.size(trained)?.unwrap_or(max_context),
            };
            let scaling = RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_max_position_embeddings: original,
            };
            Ok((theta, scaling))
        }
        other => {
            let reason = format!("is {other:?}; \"default\" and \"llama3\" are supported");
            Err(inner.error(field, reason))
        }
    }
}

/// A window that is as long as the context changes nothing; a shorter one is refused.
fn refuse_window(fields: &Fields<'_>, config: &Config) -> Result<(), Error> {
    let types = fields.read("layer_types", "a list of names", |value| {
        value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()
    })?;
    let known = ["full_attention", "sliding_attention"];
    if let Some(other) = types.iter().flatten().find(|t| !known.contains(t)) {
        return Err(fields.error("layer_types", format!("has {other:?}, which is not supported")));
    }
    let sliding_type = types.as_ref().map(|t| t.contains(&"sliding_attention"));
    let switch = fields.flag("use_sliding_window")?;
    let given = fields.size("sliding_window")?;
    let absent = !fields.object.contains_key("sliding_window");
    let window = match config.family.spec().window {
        Window::Never => given.filter(|_| switch != Some(false)),
        Window::Absent(usual) => given.or(absent.then_some(usual)),
        Window::Gated => {
            let from = fields.size("max_window_layers")?.unwrap_or(28);
            let layers = sliding_type.unwrap_or(from < config.layers);
            let window = given.or(absent.then_some(4096));
            window.filter(|_| switch == Some(true) && layers)
        }
    };
    match window {
        Some(window) if window < config.max_context => {
            let reason = format!(
                "is {window}, less than `max_position_embeddings` {}: a sliding window in use is \
                 not supported",
                config.max_context
            );
            Err(fields.error("sliding_window", reason))
        }
        None if sliding_type == Some(true) => {
            let reason = "has \"sliding_attention\": a sliding window is not supported";
            Err(fields.error("layer_types", reason))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
