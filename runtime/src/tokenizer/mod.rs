//! Text to token ids and back, from the `tokenizer.json` of a model's folder.
//!
//! ```text
//! tokenizer.json + tokenizer_config.json -> class (what transformers rebuilds) -> Tokenizer
//! text  -> encode        control tokens recognised, as transformers           -> ids
//! text  -> encode_text   the same, but no text becomes a control token        -> ids
//! ids   -> decode, stream                                                      -> text
//! ```

mod class;
mod config;
mod decode;
mod encode;
mod guard;
mod matcher;

pub use config::Special;
pub use decode::Stream;
pub use encode::Encoded;
pub(crate) use encode::touches;

use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use guard::guarded;
use matcher::Matcher;
use serde_json::Value;
use tokenizers::{AddedToken, Model, PostProcessorWrapper};

/// The longest `tokenizer.json` that is read, in bytes (the largest public ones have 35 MB).
pub const MAX_FILE: usize = 128 << 20;

/// Why a tokenizer cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file is no tokenizer, or no valid configuration of one.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong.
        problem: String,
    },
    /// The tokenizer makes ids that the model has no row for.
    #[error("{}: token id {id} is outside the model's vocabulary (vocab_size {vocab})", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// The largest id.
        id: u32,
        /// V.
        vocab: usize,
    },
    /// The tokenizer fails on a text.
    #[error("{}: cannot encode or decode: {problem}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// The tokenizers crate's word.
        problem: String,
    },
}

/// A tokenizer with what its configuration says of special tokens.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Added tokens that are found in the text, and those found after normalisation.
    raw: Matcher,
    normalized: Matcher,
    /// Control tokens as they are spelled, whatever the normaliser makes of them.
    literal: Matcher,
    /// Ids that stand before and after a plain text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    special: Special,
    eos: Vec<u32>,
    /// Ids that steer the model, sorted: no text of a dialogue may become one.
    control: Vec<u32>,
    unk: Option<u32>,
    largest: u32,
    /// `chat_template` of `tokenizer_config.json`, or why it is none.
    template: Result<Option<String>, String>,
    path: PathBuf,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("largest", &self.largest)
            .field("special", &self.special)
            .field("eos", &self.eos)
            .finish_non_exhaustive()
    }
}

/// Reads a file of at most `cap` bytes; `None` where there is none.
pub(crate) fn read_capped(path: &Path, cap: usize) -> Result<Option<Vec<u8>>, Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io(source)),
    };
    let mut bytes = Vec::new();
    file.take(cap as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > cap {
        let problem = format!("longer than {cap} bytes");
        return Err(Error::Invalid { path: path.into(), problem });
    }
    Ok(Some(bytes))
}

/// Parses a JSON object; a missing file is an empty one.
fn object(path: &Path, bytes: Option<&[u8]>) -> Result<Value, Error> {
    let invalid = |problem| Error::Invalid { path: path.into(), problem };
    let Some(bytes) = bytes else { return Ok(Value::Object(serde_json::Map::new())) };
    match serde_json::from_slice(bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(invalid("must be a JSON object".into())),
        Err(error) => Err(invalid(format!("not JSON: {error}"))),
    }
}

impl Tokenizer {
    /// Loads the tokenizer of a model's folder: `tokenizer.json`, and where they are there
    /// `tokenizer_config.json`, `special_tokens_map.json`, `config.json`, `generation_config.json`.
    ///
    /// # Errors
    /// A file is missing, unreadable, too long or invalid; the message names it.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("tokenizer.json");
        let json = read_capped(&path, MAX_FILE)?.ok_or_else(|| Error::Io {
            path: path.clone(),
            source: io::Error::from(io::ErrorKind::NotFound),
        })?;
        let read = |name: &str| {
            let path = dir.join(name);
            let bytes = read_capped(&path, MAX_FILE)?;
            object(&path, bytes.as_deref())
        };
        let mut config = read("tokenizer_config.json")?;
        config::merge_special_tokens_map(&mut config, &read("special_tokens_map.json")?);
        let mut tokenizer = Self::build(path, &json, &config)?;
        for name in ["generation_config.json", "config.json"] {
            let value = read(name)?;
            let ids = config::eos_ids(&value)
                .map_err(|problem| Error::Invalid { path: dir.join(name), problem })?;
            tokenizer.add_eos(&ids);
        }
        Ok(tokenizer)
    }

    /// A tokenizer from the bytes of `tokenizer.json` and, where there is one, `tokenizer_config.json`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes(json: &[u8], config: Option<&[u8]>) -> Result<Self, Error> {
        let config = object(Path::new("tokenizer_config.json"), config)?;
        Self::build(PathBuf::from("tokenizer.json"), json, &config)
    }

    fn build(path: PathBuf, json: &[u8], config: &Value) -> Result<Self, Error> {
        let invalid = |problem: String| Error::Invalid { path: path.clone(), problem };
        if json.is_empty() {
            return Err(invalid("the file is empty".into()));
        }
        // The crate itself panics on some files that are cut short.
        serde_json::from_slice::<serde::de::IgnoredAny>(json)
            .map_err(|e| invalid(format!("not a tokenizer: not JSON: {e}")))?;
        let special = Special::read(config).map_err(|problem| Error::Invalid {
            path: path.with_file_name("tokenizer_config.json"),
            problem,
        })?;
        let rebuilt = class::rebuild(json, config).map_err(invalid)?;
        let json = rebuilt.as_deref().unwrap_or(json);
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(json))
            .map_err(|problem| invalid(format!("not a tokenizer: {problem}")))?;
        guarded(|| {
            inner.with_truncation(None)?;
            inner.with_padding(None);
            for token in special.all() {
                let known = inner.token_to_id(token);
                let listed = known.is_some_and(|id| {
                    inner.get_added_tokens_decoder().get(&id).is_some_and(|t| t.content == token)
                });
                if known.is_some() && !listed {
                    inner.add_special_tokens([AddedToken::from(token, true)])?;
                }
            }
            Ok(())
        })
        .map_err(invalid)?;
        let template = config::chat_template(config);
        let post = inner.get_post_processor().cloned();
        inner.with_post_processor(None::<PostProcessorWrapper>);
        let mut tokenizer = guarded(|| Self::assemble(inner, special, &path)).map_err(invalid)?;
        tokenizer.template = template;
        (tokenizer.prefix, tokenizer.suffix) = match config::explicit_ends(config) {
            Some((bos, eos)) => {
                let id = |on: bool, token: Option<&String>| {
                    token.filter(|_| on).and_then(|token| tokenizer.id(token)).into_iter().collect()
                };
                (id(bos, tokenizer.special.bos.as_ref()), id(eos, tokenizer.special.eos.as_ref()))
            }
            None => guarded(|| encode::ends(&tokenizer, post.as_ref())).map_err(invalid)?,
        };
        Ok(tokenizer)
    }

    fn assemble(
        inner: tokenizers::Tokenizer,
        special: Special,
        path: &Path,
    ) -> tokenizers::Result<Self> {
        let added = inner.get_added_tokens_decoder();
        let raw = Matcher::new(added.iter().filter(|(_, t)| !t.normalized), None);
        let normalizer = inner.get_normalizer();
        let normalized = Matcher::new(added.iter().filter(|(_, t)| t.normalized), normalizer);
        let literal = Matcher::new(added.iter().filter(|(_, t)| t.special), None);
        let mut control: Vec<u32> =
            added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        control.extend(special.all().filter_map(|token| inner.token_to_id(token)));
        control.sort_unstable();
        control.dedup();
        let largest = inner.get_vocab(true).into_values().max();
        let Some(largest) = largest else { return Err("model.vocab: is empty".into()) };
        let unk = encode::unk(inner.get_model()).and_then(|t| inner.get_model().token_to_id(&t));
        let eos = special.eos.as_deref().and_then(|t| inner.token_to_id(t)).into_iter().collect();
        let (prefix, suffix) = (Vec::new(), Vec::new());
        let path = path.into();
        Ok(Self {
            inner,
            raw,
            normalized,
            literal,
            template: Ok(None),
            prefix,
            suffix,
            special,
            eos,
            control,
            unk,
            largest,
            path,
        })
    }

    /// Names further ids that end a reply (an `eos_token_id` kept elsewhere).
    pub fn add_eos(&mut self, ids: &[u32]) {
        for &id in ids {
            if !self.eos.contains(&id) {
                self.eos.push(id);
            }
            if let Err(at) = self.control.binary_search(&id) {
                self.control.insert(at, id);
            }
        }
    }

    /// Checks that the model, of `vocab` rows (V), has a row for each id.
    ///
    /// # Errors
    /// The tokenizer has a larger id.
    pub fn check_vocab(&self, vocab: usize) -> Result<(), Error> {
        let largest = self.eos.iter().copied().fold(self.largest, u32::max);
        if (largest as usize) < vocab {
            return Ok(());
        }
        Err(Error::Vocabulary { path: self.path.clone(), id: largest, vocab })
    }

    /// One more than the largest id.
    pub fn vocab(&self) -> usize {
        self.largest as usize + 1
    }

    /// The special tokens that the configuration names.
    pub fn special(&self) -> &Special {
        &self.special
    }

    /// The id of the token that begins a text, where there is one.
    pub fn bos(&self) -> Option<u32> {
        self.special.bos.as_deref().and_then(|token| self.id(token))
    }

    /// The ids that end a reply: the tokenizer's `eos_token`, then `eos_token_id` (one or a list)
    /// of `generation_config.json` and `config.json`.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Whether `id` ends a reply.
    pub fn is_eos(&self, id: u32) -> bool {
        self.eos.contains(&id)
    }

    /// Whether `id` steers the model, so that no text of a dialogue may become it.
    pub fn is_control(&self, id: u32) -> bool {
        self.control.binary_search(&id).is_ok()
    }

    /// The id of a token as the vocabulary or the added tokens spell it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id, as it is spelled in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// What the tokenizers crate made of `tokenizer.json`, as that file.
    ///
    /// # Errors
    /// The crate's word.
    pub(crate) fn to_json(&self) -> Result<Value, String> {
        let json = self.inner.to_string(false).map_err(|error| error.to_string())?;
        serde_json::from_str(&json).map_err(|error| error.to_string())
    }

    /// The template in `tokenizer_config.json`.
    pub(crate) fn config_template(&self) -> Result<Option<&str>, String> {
        self.template.as_ref().map(Option::as_deref).map_err(Clone::clone)
    }

    /// The file that it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn text_error(&self, problem: String) -> Error {
        Error::Text { path: self.path.clone(), problem }
    }
}

#[cfg(test)]
pub(crate) mod tests;
