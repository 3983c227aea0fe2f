//! What `tokenizer_class` changes: transformers 5 builds two classes anew from the vocabulary and
//! the merges of `tokenizer.json`, with its own normaliser, pre-tokeniser and decoder.
//!
//! ```text
//! GPT2Tokenizer   BPE, no unknown token; ByteLevel(add_prefix_space)
//! LlamaTokenizer  BPE with byte fallback, no unknown token; Metaspace(first | always | never);
//!                 not where tokenizer.json is byte-level (Llama 3)
//! any other       tokenizer.json as it stands
//! ```

use serde_json::{Value, json};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Gpt2,
    Llama,
}

fn class(config: &Value) -> Option<Class> {
    let name = config.get("tokenizer_class")?.as_str()?;
    match name.strip_suffix("Fast").unwrap_or(name) {
        "GPT2Tokenizer" => Some(Class::Gpt2),
        "LlamaTokenizer" => Some(Class::Llama),
        _ => None,
    }
}

/// The token that a class has where the configuration does not name one.
pub(super) fn default_token(config: &Value, field: &str) -> Option<&'static str> {
    match (class(config)?, field) {
        (Class::Gpt2, "bos_token" | "eos_token" | "unk_token") => Some("<|endoftext|>"),
        (Class::Llama, "bos_token") => Some("<s>"),
        (Class::Llama, "eos_token") => Some("</s>"),
        (Class::Llama, "unk_token") => Some("<unk>"),
        _ => None,
    }
}

/// Whether a part of the file (a pre-tokeniser or a decoder) is byte-level, alone or in a sequence.
fn byte_level(part: &Value) -> bool {
    let kind = part.get("type").and_then(Value::as_str);
    let parts = ["pretokenizers", "decoders"].iter().filter_map(|f| part.get(f)?.as_array());
    kind == Some("ByteLevel") || parts.flatten().any(byte_level)
}

/// The `tokenizer.json` that transformers would in effect use, or `None` where it takes the file.
///
/// # Errors
/// The file is no JSON object.
pub(super) fn rebuild(json: &[u8], config: &Value) -> Result<Option<Vec<u8>>, String> {
    let Some(class) = class(config) else { return Ok(None) };
    let mut file: Value = serde_json::from_slice(json).map_err(|e| format!("not JSON: {e}"))?;
    let model = file.get("model").cloned().unwrap_or(Value::Null);
    let kind = model.get("type").and_then(Value::as_str);
    let bpe = kind == Some("BPE") || (kind.is_none() && model.get("merges").is_some());
    if !bpe || (class == Class::Llama && byte_level(&file["pre_tokenizer"])) {
        return Ok(None);
    }
    let flag =
        |field: &str, default: bool| config.get(field).and_then(Value::as_bool).unwrap_or(default);
    let llama = class == Class::Llama;
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "ignore_merges": false,
        "continuing_subword_prefix": if llama { Value::Null } else { "".into() },
        "end_of_word_suffix": if llama { Value::Null } else { "".into() },
        "fuse_unk": llama, "byte_fallback": llama,
        "vocab": model["vocab"], "merges": model["merges"],
    });
    let space = flag("add_prefix_space", llama);
    let (pre_tokenizer, decoder) = match class {
        Class::Gpt2 => {
            let level = |space| json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": true});
            (level(space), level(true))
        }
        Class::Llama => {
            let scheme = match (space, flag("legacy", false)) {
                (false, _) => "never",
                (true, true) => "always",
                (true, false) => "first",
            };
            let mut decoders = vec![
                json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
                json!({"type": "ByteFallback"}),
                json!({"type": "Fuse"}),
            ];
            if space {
                decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
            }
            let metaspace = json!({
                "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false
            });
            (metaspace, json!({"type": "Sequence", "decoders": decoders}))
        }
    };
    let Some(object) = file.as_object_mut() else { return Err("must be a JSON object".into()) };
    object.insert("normalizer".into(), Value::Null);
    object.insert("pre_tokenizer".into(), pre_tokenizer);
    object.insert("decoder".into(), decoder);
    object.insert("model".into(), model);
    serde_json::to_vec(&file).map(Some).map_err(|e| e.to_string())
}
