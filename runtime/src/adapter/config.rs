//! `adapter_config.json`, as PEFT 0.21 writes and reads it.

use std::path::Path;

use homespun_core::lora::{LoraConfig, Scaling, Target, Targets};
use serde_json::{Value, json};

use super::{Adapter, CONFIG_FILE};
use crate::checkpoint::fields::{Fields, short};
use crate::checkpoint::{Error, file_error, parse_json, read_bytes};
use crate::seal::stream::is_sealed;

/// The largest rank that is taken.
const MAX_RANK: usize = 4096;

/// Fields that change what an adapter computes in ways that are not implemented; unset, false or
/// empty they are harmless.
const UNSUPPORTED: [&str; 20] = [
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "exclude_modules",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
    "megatron_config",
    "loftq_config",
];

/// Initialisations that leave the base's weights alone; others change them when PEFT loads.
const PLAIN_INITIALISATIONS: [&str; 2] = ["gaussian", "orthogonal"];

/// Reads the configuration in the folder `path`; also gives `base_model_name_or_path`.
///
/// # Errors
/// Names the field that is missing, wrong or not supported.
pub(super) fn open(path: &Path) -> Result<(LoraConfig, Option<String>), Error> {
    let file = path.join(CONFIG_FILE);
    let bytes = read_bytes(&file)?;
    if is_sealed(&bytes) {
        let reason = "is sealed, of a state; `homespun adapter export` writes a plain copy";
        return Err(file_error(&file, reason));
    }
    parse(&file, &bytes)
}

/// Reads the contents of `file`, a configuration.
///
/// # Errors
/// As [`open`].
pub(super) fn parse(file: &Path, bytes: &[u8]) -> Result<(LoraConfig, Option<String>), Error> {
    let json = parse_json(file, bytes)?;
    let fields = Fields::new(file, &json);
    refuse_unsupported(&fields)?;
    let rank = fields.required("r")?;
    if !(1..=MAX_RANK).contains(&rank) {
        return Err(fields.error("r", format!("is {rank}, not 1 to {MAX_RANK}")));
    }
    let alpha = fields.float("lora_alpha")?.unwrap_or(8.0);
    if !alpha.is_finite() {
        return Err(fields.error("lora_alpha", "is too large"));
    }
    let dropout = fields.float("lora_dropout")?.unwrap_or(0.0);
    if !(0.0..1.0).contains(&dropout) {
        return Err(fields.error("lora_dropout", format!("is {dropout}, not in 0 to 1")));
    }
    let targets = targets(&fields)?;
    let scaling = match flag(&fields, "use_rslora")? {
        false => Scaling::Standard,
        true => Scaling::RankStabilised,
    };
    let dora = flag(&fields, "use_dora")?;
    let base = fields.text("base_model_name_or_path")?.map(str::to_owned);
    Ok((LoraConfig { scaling, dora, ..LoraConfig::new(rank, alpha, dropout, targets) }, base))
}

/// A field that is true, false or left out.
fn flag(fields: &Fields<'_>, field: &str) -> Result<bool, Error> {
    match fields.get(field) {
        None => Ok(false),
        Some(&Value::Bool(set)) => Ok(set),
        Some(other) => Err(fields.error(field, format!("is {}, not true or false", short(other)))),
    }
}

fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), Error> {
    match fields.text("peft_type")? {
        Some("LORA") => {}
        Some(other) => {
            return Err(fields.error("peft_type", format!("is {other:?}; only \"LORA\" is read")));
        }
        None => return Err(fields.error("peft_type", "is missing")),
    }
    for (field, only) in [("task_type", "CAUSAL_LM"), ("bias", "none")] {
        if let Some(value) = fields.text(field)?
            && value != only
        {
            return Err(fields.error(field, format!("is {value:?}; only {only:?} is read")));
        }
    }
    for field in UNSUPPORTED {
        let harmless = match fields.get(field) {
            None | Some(Value::Bool(false)) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(object)) => object.is_empty(),
            Some(Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Null) => false,
        };
        if !harmless {
            return Err(fields.error(field, "is set, which is not supported"));
        }
    }
    match fields.get("init_lora_weights") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(name)) if PLAIN_INITIALISATIONS.contains(&name.as_str()) => Ok(()),
        Some(other) => {
            let reason = format!("is {}: it changes the base's weights", short(other));
            Err(fields.error("init_lora_weights", reason))
        }
    }
}

fn targets(fields: &Fields<'_>) -> Result<Targets, Error> {
    let field = "target_modules";
    let names: Vec<&str> = match fields.get(field) {
        None => return Err(fields.error(field, "is missing")),
        Some(Value::Array(list)) => {
            let texts: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
            texts.ok_or_else(|| fields.error(field, "is not a list of names"))?
        }
        Some(Value::String(pattern)) => alternation(pattern).ok_or_else(|| {
            let reason = format!("is {pattern:?}: of patterns only `.*(a|b)` is read");
            fields.error(field, reason)
        })?,
        Some(_) => return Err(fields.error(field, "is not a list of names")),
    };
    let mut targets = Targets::NONE;
    for name in names {
        let Some(target) = Target::ALL.into_iter().find(|t| is_name_of(name, *t)) else {
            let reason = format!("has {name:?}; q, k, v, o, gate, up and down_proj are supported");
            return Err(fields.error(field, reason));
        };
        targets = targets.with(target);
    }
    if targets == Targets::NONE {
        return Err(fields.error(field, "is empty"));
    }
    Ok(targets)
}

/// `q_proj` or `self_attn.q_proj`.
fn is_name_of(name: &str, target: Target) -> bool {
    match name.rsplit_once('.') {
        None => name == target.name(),
        Some((parent, module)) => parent == target.parent() && module == target.name(),
    }
}

/// The names in `.*\.(a|b)`, `.*self_attn\.(?:a|b)$` or `.*a`; PEFT matches module paths whole.
fn alternation(pattern: &str) -> Option<Vec<&str>> {
    let rest = pattern.strip_prefix('^').unwrap_or(pattern).strip_prefix(".*")?;
    let rest = rest.strip_suffix('$').unwrap_or(rest);
    let rest = rest.strip_prefix("\\.").unwrap_or(rest);
    let parents = ["self_attn", "mlp"];
    let parent = parents.into_iter().find(|p| rest.starts_with(p));
    let rest = match parent {
        Some(parent) => rest[parent.len()..].strip_prefix("\\.")?,
        None => rest,
    };
    let names: Vec<_> = match rest.strip_prefix("(?:").or_else(|| rest.strip_prefix('(')) {
        Some(inside) => inside.strip_suffix(')')?.split('|').collect(),
        None => vec![rest],
    };
    let target = |name: &str| Target::ALL.into_iter().find(|t| t.name() == name);
    let fits = |name: &&str| target(name).is_some_and(|t| parent.is_none_or(|p| p == t.parent()));
    names.iter().all(fits).then_some(names)
}

/// The file's contents.
pub(super) fn render(adapter: &Adapter) -> Vec<u8> {
    let config = &adapter.config;
    let targets: Vec<_> = config.targets.iter().map(Target::name).collect();
    let value = json!({
        "alpha_pattern": {},
        "base_model_name_or_path": adapter.base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": number(config.alpha),
        "lora_dropout": number(config.dropout),
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": config.dora,
        "use_rslora": config.scaling == Scaling::RankStabilised,
    });
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    text
}

/// The shortest decimal that reads back as `x`: 0.05 and not 0.05000000074505806; 16 and not 16.0.
fn number(x: f32) -> Value {
    if x.fract() == 0.0 && x.abs() < 16_777_216.0 {
        return Value::from(x as i64);
    }
    Value::from(x.to_string().parse::<f64>().unwrap_or(f64::from(x)))
}
