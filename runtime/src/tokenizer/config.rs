//! What `tokenizer_config.json` and its siblings say: special tokens, ends of a text, ids that stop.

use serde_json::Value;

/// The special tokens by their role; templates see them under `bos_token` and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Special {
    /// `bos_token`.
    pub bos: Option<String>,
    /// `eos_token`.
    pub eos: Option<String>,
    /// `unk_token`.
    pub unk: Option<String>,
    /// `pad_token`.
    pub pad: Option<String>,
    /// `sep_token`, `cls_token`, `mask_token` by name, for templates.
    pub named: Vec<(String, String)>,
    /// Special tokens without a role of their own.
    pub other: Vec<String>,
}

/// A token is a string or an object with `content`.
fn content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

impl Special {
    /// Reads the tokens that `tokenizer_config.json` names.
    ///
    /// # Errors
    /// The field that is neither a string nor an object with `content`.
    pub(super) fn read(config: &Value) -> Result<Self, String> {
        let named = |field: &str| match config.get(field) {
            None | Some(Value::Null | Value::Bool(false)) => Ok(None),
            Some(value) => match content(value) {
                Some(token) => Ok(Some(token).filter(|t| !t.is_empty()).map(str::to_owned)),
                None => Err(format!("{field}: must be a string or an object with `content`")),
            },
        };
        let default = |field: &str| super::class::default_token(config, field).map(str::to_owned);
        let or_default = |field: &str| match config.get(field) {
            None => Ok(default(field)),
            Some(_) => named(field),
        };
        let mut special = Self {
            bos: or_default("bos_token")?,
            eos: or_default("eos_token")?,
            unk: or_default("unk_token")?,
            pad: or_default("pad_token")?,
            ..Self::default()
        };
        for field in ["sep_token", "cls_token", "mask_token"] {
            if let Some(token) = named(field)? {
                special.named.push((field.to_owned(), token));
            }
        }
        for field in ["additional_special_tokens", "extra_special_tokens"] {
            match config.get(field) {
                Some(Value::Array(list)) => {
                    special.other.extend(list.iter().filter_map(content).map(str::to_owned));
                }
                Some(Value::Object(map)) => {
                    special.other.extend(map.values().filter_map(content).map(str::to_owned));
                }
                _ => {}
            }
        }
        if let Some(Value::Object(added)) = config.get("added_tokens_decoder") {
            let marked = added.values().filter(|t| t.get("special") == Some(&Value::Bool(true)));
            special.other.extend(marked.filter_map(content).map(str::to_owned));
        }
        special.other.retain(|token| !token.is_empty());
        Ok(special)
    }

    /// All of them, possibly more than once.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        let roles = [&self.bos, &self.eos, &self.unk, &self.pad].into_iter().flatten();
        roles
            .chain(self.named.iter().map(|(_, token)| token))
            .chain(&self.other)
            .map(String::as_str)
    }
}

/// Fills what `tokenizer_config.json` leaves out from the older `special_tokens_map.json`.
pub(super) fn merge_special_tokens_map(config: &mut Value, map: &Value) {
    let (Some(config), Some(map)) = (config.as_object_mut(), map.as_object()) else { return };
    for (field, value) in map {
        if !config.contains_key(field) {
            config.insert(field.clone(), value.clone());
        }
    }
}

/// `eos_token_id`: none, one id or a list.
pub(super) fn eos_ids(config: &Value) -> Result<Vec<u32>, String> {
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| "eos_token_id: must be a token id or a list of them".to_owned())
    };
    match config.get("eos_token_id") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        Some(value) => Ok(vec![id(value)?]),
    }
}

/// Whether BOS and EOS surround a text, where the configuration says so outright; transformers
/// then replaces the post-processor of `tokenizer.json`.
pub(super) fn explicit_ends(config: &Value) -> Option<(bool, bool)> {
    let flag = |field: &str| config.get(field).map(|v| v.as_bool().unwrap_or(false));
    let (bos, eos) = (flag("add_bos_token"), flag("add_eos_token"));
    (bos.is_some() || eos.is_some()).then(|| (bos.unwrap_or(false), eos.unwrap_or(false)))
}

/// `chat_template`: a template, or a list of named ones of which `default` is meant.
pub(super) fn chat_template(config: &Value) -> Result<Option<String>, String> {
    match config.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(Value::Array(list)) => {
            let default = list.iter().find(|t| t.get("name") == Some(&Value::from("default")));
            match default.and_then(|t| t.get("template")?.as_str()) {
                Some(template) => Ok(Some(template.to_owned())),
                None => Err("chat_template: has no template named default".to_owned()),
            }
        }
        Some(_) => Err("chat_template: must be a string or a list of named ones".to_owned()),
    }
}
