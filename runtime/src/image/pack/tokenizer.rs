//! The tables of a byte-pair tokenizer, from what the tokenizers crate made of `tokenizer.json`.

use std::collections::BTreeMap;

use regex_syntax::hir::{Class, HirKind};
use serde_json::Value;

use super::Error;
use super::body::Body;
use crate::image::bpe::{NONE, flag};
use crate::image::header::{Prepend, Split, Tokenizer as Header};
use crate::tokenizer::Tokenizer;

/// What a field has that an image cannot say.
type Refused = (String, String);

fn refused<T>(field: &str, reason: impl Into<String>) -> Result<T, Refused> {
    Err((field.into(), reason.into()))
}

/// Packs the tables into `body`.
pub(super) fn pack(tokenizer: &Tokenizer, body: &mut Body) -> Result<Header, Error> {
    tables(tokenizer, body).map_err(|(field, reason)| Error::Tokenizer {
        file: tokenizer.path().display().to_string(),
        field,
        reason,
    })
}

fn tables(tokenizer: &Tokenizer, body: &mut Body) -> Result<Header, Refused> {
    let json = tokenizer.to_json().map_err(|reason| ("tokenizer".to_owned(), reason))?;
    let model = &json["model"];
    plain_model(model)?;
    let split = split(&json)?;
    let level = matches!(split, Split::Level { .. });
    let bytes_of = byte_level();
    let vocab: BTreeMap<String, u32> = serde_json::from_value(model["vocab"].clone())
        .map_err(|error| ("model.vocab".to_owned(), error.to_string()))?;
    let fallback = model["byte_fallback"] == true;
    let decodes_bytes = !level;

    let mut spelled = vec![String::new(); tokenizer.vocab()];
    let mut flags = vec![0_u8; spelled.len()];
    for (token, &id) in &vocab {
        spelled[id as usize].clone_from(token);
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let (content, id) = (added["content"].as_str().unwrap_or_default(), &added["id"]);
        if added["special"] != true {
            return refused("added_tokens", format!("has {content:?}, which is no control token"));
        }
        if ["lstrip", "rstrip", "single_word"].iter().any(|&field| added[field] == true) {
            return refused("added_tokens", format!("has {content:?}, which takes spaces along"));
        }
        if let Some(id) = id.as_u64().and_then(|id| usize::try_from(id).ok())
            && let Some(spelled) = spelled.get_mut(id)
        {
            content.clone_into(spelled);
            flags[id] |= flag::HIDDEN;
        }
    }
    let mut of_byte = vec![NONE; 256];
    let mut of_char: BTreeMap<u32, u32> = BTreeMap::new();
    let mut all = Vec::new();
    let mut offsets = vec![0_u32];
    for (id, token) in spelled.iter().enumerate() {
        let control = tokenizer.is_control(id as u32);
        flags[id] |= if control { flag::CONTROL } else { 0 };
        let mut chars = token.chars();
        let single = chars.next().filter(|_| chars.next().is_none());
        let of_model = vocab.get(token) == Some(&(id as u32));
        if level {
            let bytes: Option<Vec<u8>> = token.chars().map(|c| bytes_of.get(&c).copied()).collect();
            if let (Some(c), true) = (single, of_model)
                && let Some(&byte) = bytes_of.get(&c)
            {
                of_byte[usize::from(byte)] = id as u32;
            }
            all.extend(bytes.unwrap_or_else(|| token.as_bytes().to_vec()));
        } else if let Some(byte) = lone_byte(token).filter(|_| decodes_bytes) {
            flags[id] |= flag::BYTE;
            if fallback && of_model {
                of_byte[usize::from(byte)] = id as u32;
            }
            all.push(byte);
        } else {
            if let (Some(c), true) = (single, of_model) {
                of_char.insert(c.into(), id as u32);
            }
            all.extend_from_slice(token.as_bytes());
        }
        offsets.push(all.len() as u32);
    }
    let unk = model["unk_token"].as_str().and_then(|token| vocab.get(token)).copied();
    let symbols = of_byte.iter().chain(of_char.values()).copied();
    if let Some(id) = symbols.filter(|&id| Some(id) != unk).find(|&id| tokenizer.is_control(id)) {
        return refused("model.vocab", format!("spells the control token {id} as a character"));
    }
    let merges = merges(model, &vocab, tokenizer)?;
    let ends = tokenizer.with_ends(&[u32::MAX]);
    let [begins_with, ends_with] = match ends[..] {
        [u32::MAX] => [None, None],
        [begin, u32::MAX] => [Some(begin), None],
        [u32::MAX, end] => [None, Some(end)],
        [begin, u32::MAX, end] => [Some(begin), Some(end)],
        _ => return refused("post_processor", "puts more than a token around a text"),
    };
    let class = |letters| if level { class(letters) } else { Vec::new() };
    let of_char: Vec<[u32; 2]> = of_char.into_iter().map(|(c, id)| [c, id]).collect();
    Ok(Header {
        split,
        begins_with,
        ends_with,
        unk,
        fuse_unk: model["fuse_unk"] == true,
        offsets: body.push_words(&offsets),
        bytes: body.push(&all),
        flags: body.push(&flags),
        merges: body.push_words(&merges),
        of_byte: body.push_words(&of_byte),
        of_char: body.push_words(&of_char),
        letters: body.push_words(&class(r"\p{L}")),
        numbers: body.push_words(&class(r"\p{N}")),
    })
}

/// That the model is byte-pair encoding without more.
fn plain_model(model: &Value) -> Result<(), Refused> {
    if model["type"] != "BPE" {
        let kind = model["type"].as_str().unwrap_or("unknown").to_owned();
        return refused("model.type", format!("is {kind}; an image has BPE alone"));
    }
    for field in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[field].as_str().is_some_and(|text| !text.is_empty()) {
            return refused(&format!("model.{field}"), "is not empty");
        }
    }
    if model["ignore_merges"] == true {
        return refused("model.ignore_merges", "is true");
    }
    if model["dropout"].as_f64().is_some_and(|dropout| dropout > 0.0) {
        return refused("model.dropout", "is above 0");
    }
    Ok(())
}

/// How text is cut, from normaliser, pre-tokeniser and decoder.
fn split(json: &Value) -> Result<Split, Refused> {
    let (normalizer, pre, decoder) =
        (&json["normalizer"], &json["pre_tokenizer"], &json["decoder"]);
    let level = |part: &Value| {
        part["type"] == "ByteLevel"
            && part["use_regex"] == true
            && part["add_prefix_space"] == false
    };
    let parts = |part: &Value, field: &str| part[field].as_array().cloned().unwrap_or_default();
    let strips = || {
        let decoders = parts(decoder, "decoders");
        let kinds: Vec<&str> = decoders.iter().filter_map(|one| one["type"].as_str()).collect();
        match kinds[..] {
            ["Replace", "ByteFallback", "Fuse"] => Ok(false),
            ["Replace", "ByteFallback", "Fuse", "Strip"] => Ok(true),
            _ => refused("decoder", "is neither byte-level nor one of spaces and bytes"),
        }
    };
    let metaspace = |prepend: Prepend| {
        if strips()? == (prepend != Prepend::Never) {
            Ok(Split::Metaspace(prepend))
        } else {
            refused("decoder", "does not take away the space that is put before a text")
        }
    };
    if normalizer.is_null() {
        let sequence = parts(pre, "pretokenizers");
        let digits = match &sequence[..] {
            [] if level(pre) => Some(false),
            [one] if level(one) => Some(false),
            [first, second]
                if first["type"] == "Digits"
                    && first["individual_digits"] == true
                    && level(second) =>
            {
                Some(true)
            }
            _ => None,
        };
        if let Some(digits) = digits {
            if decoder["type"] != "ByteLevel" {
                return refused("decoder", "is not byte-level as the pre-tokenizer is");
            }
            return Ok(Split::Level { digits });
        }
        if pre["type"] == "Metaspace" && pre["split"] == false && pre["replacement"] == "▁" {
            return match pre["prepend_scheme"].as_str() {
                Some("never") => metaspace(Prepend::Never),
                Some("first") => metaspace(Prepend::First),
                Some("always") => metaspace(Prepend::Always),
                _ => refused("pre_tokenizer.prepend_scheme", "is not known"),
            };
        }
        return refused(
            "pre_tokenizer",
            "is none that an image has: byte-level as GPT-2's, digits \
            one by one before it, or Metaspace without a split",
        );
    }
    let sequence = parts(normalizer, "normalizers");
    let spaces = matches!(&sequence[..], [prepend, replace]
        if prepend["type"] == "Prepend" && prepend["prepend"] == "▁"
        && replace["type"] == "Replace" && replace["pattern"]["String"] == " "
        && replace["content"] == "▁");
    if spaces && pre.is_null() {
        return metaspace(Prepend::Anyway);
    }
    refused("normalizer", "is none that an image has: only spaces written as U+2581")
}

/// `left, right, rank, merged` of each merge, sorted.
fn merges(
    model: &Value,
    vocab: &BTreeMap<String, u32>,
    tokenizer: &Tokenizer,
) -> Result<Vec<[u32; 4]>, Refused> {
    let mut merges = BTreeMap::new();
    for (rank, merge) in model["merges"].as_array().into_iter().flatten().enumerate() {
        let pair = match merge {
            Value::String(pair) => pair.split_once(' '),
            pair => pair[0].as_str().zip(pair[1].as_str()),
        };
        let ids = pair.and_then(|(left, right)| {
            let merged = vocab.get(&format!("{left}{right}"))?;
            Some((*vocab.get(left)?, *vocab.get(right)?, *merged))
        });
        let Some((left, right, merged)) = ids else {
            return refused("model.merges", format!("number {rank} is of no tokens"));
        };
        if tokenizer.is_control(merged) {
            return refused("model.merges", format!("make the control token {merged} of text"));
        }
        // The last of equal pairs counts.
        merges.insert((left, right), (rank as u32, merged));
    }
    Ok(merges.into_iter().map(|((left, right), (rank, id))| [left, right, rank, id]).collect())
}

/// The byte of a token such as `<0x0A>`.
fn lone_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok()).flatten()
}

/// The characters that stand for bytes in byte-level tokenizers: printable ones for themselves, the
/// others from U+0100 on.
fn byte_level() -> BTreeMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let own = (0..=255_u8).filter(printable).map(|byte| (char::from(byte), byte));
    let others = (0..=255_u8).filter(|byte| !printable(byte));
    let others = ('\u{100}'..).zip(others);
    own.chain(others).collect()
}

/// The ranges of a class of characters, as the expressions of tokenizers see it.
fn class(expression: &str) -> Vec<[u32; 2]> {
    let Ok(parsed) = regex_syntax::parse(expression) else { return Vec::new() };
    match parsed.into_kind() {
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().map(|range| [range.start().into(), range.end().into()]).collect()
        }
        _ => Vec::new(),
    }
}
