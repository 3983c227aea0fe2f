//! A checkpoint in Hugging Face's layout: its configuration and its weights, borrowed from a map.
//!
//! ```text
//! folder/config.json                     sizes and family        -> core's Config
//!        generation_config.json          end tokens (optional)
//!        model.safetensors               or
//!        model.safetensors.index.json    tensor name -> shard
//!        model-0000k-of-0000n.safetensors
//! ```
//! `quantization.rs` says what a quantised folder has besides; it is mapped and used in place.
//!
//! Files are opened read-only and mapped. A file that another process cuts short while it is mapped
//! kills this one (SIGBUS): replace checkpoints by renaming, never in place.

mod config;
pub(crate) mod fields;
mod fingerprint;
pub(crate) mod header;
mod index;
pub(crate) mod map;
mod parts;
pub(crate) mod quantization;
mod tensors;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use homespun_core::config::{Config, ConfigError};
use homespun_core::model::Model;
use homespun_core::weights::{self, Layer, LoadError, Weights};

pub use parts::{Part, Weight};
pub use quantization::Quantization;
use tensors::Tensors;

/// The largest JSON file that is read.
const MAX_JSON: u64 = 64 << 20;

/// An open checkpoint; the weights it lends live as long as it does.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    config: Config,
    special: SpecialTokens,
    tensors: Tensors,
}

/// The tokens that begin and end a text, as the model's files give them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`, one or several; generation stops at any.
    pub eos: Vec<u32>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The path leads to GGUF.
    #[error("{}: GGUF is not read; use the safetensors folder", path.display())]
    Gguf {
        /// The path.
        path: PathBuf,
    },
    /// The path is no checkpoint folder, or a file is no file of its kind.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file or folder.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is not JSON.
    #[error("{}: is not valid JSON", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A field of a JSON file is missing, wrong or not supported.
    #[error("{}: `{field}` {reason}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The sizes of `config.json` are unusable.
    #[error("{}: {reason}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// The field and what is wrong with it.
        reason: ConfigError,
    },
    /// A tensor is missing, misshapen, unexpected or of an unknown element type.
    #[error("{}: tensor `{tensor}` {reason}", file.display())]
    Tensor {
        /// The file, or the folder of shards.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Checkpoint {
    /// Opens the folder `path`, reads its configuration and checks every tensor's name and shape.
    ///
    /// # Errors
    /// Names the file and the field or tensor that is missing, damaged or not supported.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_path_buf();
        let folder = fs::metadata(&path).map_err(|source| io_error(&path, source))?;
        if !folder.is_dir() {
            return Err(if is_gguf(&path) {
                Error::Gguf { path }
            } else {
                file_error(&path, "is no folder; give the folder that holds config.json")
            });
        }
        if holds_only_gguf(&path)? {
            return Err(Error::Gguf { path });
        }
        let config_file = path.join("config.json");
        let (mut config, mut special, quantization) =
            config::parse(&config_file, &read_json(&config_file)?)?;
        let generation = path.join("generation_config.json");
        if generation.exists() {
            special = config::generation(&generation, &read_json(&generation)?, special)?;
        }
        let tensors = match index::find(&path)? {
            index::Layout::One(file) => Tensors::open(file.clone(), &[file], None)?,
            index::Layout::Sharded(index) => {
                Tensors::open(index.file, &index.shards, Some(&index.weight_map))?
            }
        };
        let tensors = tensors.checked(&mut config, quantization)?;
        Self { path, config, special, tensors }.loadable()
    }

    /// A checkpoint that lies in the program itself, as the contents of `config.json` and of
    /// `model.safetensors`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; files are named `built-in/...`.
    pub fn from_static(
        config_json: &'static [u8],
        safetensors: &'static [u8],
    ) -> Result<Self, Error> {
        Self::parsed(PathBuf::from("built-in"), config_json, |file| {
            Tensors::of_static(file, safetensors)
        })
    }

    /// A checkpoint whose weights lie in an open file that may have no name: the contents of
    /// `config.json`, and `model.safetensors`. Errors name files as if they lay in `path`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_file(path: &Path, config_json: &[u8], safetensors: &File) -> Result<Self, Error> {
        Self::parsed(path.to_path_buf(), config_json, |file| Tensors::of_open(file, safetensors))
    }

    fn parsed(
        path: PathBuf,
        config_json: &[u8],
        tensors: impl FnOnce(PathBuf) -> Result<Tensors, Error>,
    ) -> Result<Self, Error> {
        let config_file = path.join("config.json");
        let json = parse_json(&config_file, config_json)?;
        let (mut config, special, quantization) = config::parse(&config_file, &json)?;
        let tensors =
            tensors(path.join("model.safetensors"))?.checked(&mut config, quantization)?;
        Self { path, config, special, tensors }.loadable()
    }

    /// Loads once for the checks alone, so that later loads cannot fail.
    fn loadable(self) -> Result<Self, Error> {
        let layers = self.layers()?;
        self.weights(&layers)?;
        Ok(self)
    }

    /// The folder; `built-in` for [`Checkpoint::from_static`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's shape. `tied` is as the weights are: false where head and embedding are both
    /// stored and differ, whatever `config.json` says (as transformers 5 does).
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tokens that begin and end a text.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// The bytes of all stored tensors.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.bytes()
    }

    /// The bytes of each stored tensor, where they are mapped.
    pub fn tensor_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.tensors.iter().map(|(_, bytes)| bytes)
    }

    /// Lets the system fetch the weights of `layer` from the disk; for the number of layers, the head's.
    pub(crate) fn will_need(&self, layer: usize) {
        let names = &self.config.family.spec().names;
        if layer < self.config.layers {
            self.tensors.will_need(&format!("{}{layer}.", names.layer));
        } else {
            self.tensors.will_need(if self.config.tied { names.embed } else { names.head });
        }
    }

    /// The weights of each layer, for [`Checkpoint::weights`].
    ///
    /// # Errors
    /// None that [`Checkpoint::open`] has not seen.
    pub fn layers(&self) -> Result<Vec<Layer<'_>>, Error> {
        let mut layers = self.empty_layers();
        weights::load_layers(&&self.tensors, &self.config, &mut layers)
            .map_err(|e| self.tensors.error(e))?;
        Ok(layers)
    }

    fn empty_layers<'s>(&self) -> Vec<Layer<'s>> {
        vec![Layer::empty(); self.config.layers]
    }

    /// How the matrices are packed, `None` where they are dense.
    pub fn quantization(&self) -> Option<Quantization> {
        self.tensors.quantization()
    }

    /// The weights' file, or the index of the shards.
    pub fn weights_file(&self) -> &Path {
        self.tensors.file()
    }

    /// Each stored tensor and its bytes, used or not, in the order of their names.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&header::Entry, &[u8])> {
        self.tensors.iter()
    }

    /// The SHA-256 in hex of each tensor, as the files themselves give it.
    pub(crate) fn stored_hashes(&self) -> Result<BTreeMap<String, String>, Error> {
        self.tensors.hashes()
    }

    /// All weights, beside the layers that [`Checkpoint::layers`] gave.
    ///
    /// # Errors
    /// None that [`Checkpoint::open`] has not seen.
    ///
    /// # Panics
    /// If `layers` has another length than the model.
    pub fn weights<'s>(&'s self, layers: &'s [Layer<'s>]) -> Result<Weights<'s>, Error> {
        weights::assemble(&&self.tensors, &self.config, layers).map_err(|e| self.tensors.error(e))
    }

    /// The model, beside the layers that [`Checkpoint::layers`] gave.
    ///
    /// # Errors
    /// None that [`Checkpoint::open`] has not seen.
    ///
    /// # Panics
    /// If `layers` has another length than the model.
    pub fn model<'s>(&'s self, layers: &'s [Layer<'s>]) -> Result<Model<'s>, Error> {
        Ok(Model { config: self.config, weights: self.weights(layers)? })
    }

    /// What tells this base from another: a SHA-256 in hex over the configuration, every tensor's
    /// name, type and shape, all bytes of small tensors and six samples of 4 KiB of larger ones.
    /// How tensors are spread over files does not matter. No proof against forgery.
    pub fn base_hash(&self) -> String {
        fingerprint::base_hash(&self.config, &self.tensors)
    }
}

impl Tensors {
    fn error(&self, error: LoadError<Error>) -> Error {
        let (tensor, reason) = match error {
            LoadError::Source(error) => return error,
            LoadError::Missing { name } => (name, "is missing".to_owned()),
            LoadError::Length { name, found, expected } => {
                (name, format!("has {found} elements, not {expected}"))
            }
        };
        Error::Tensor { file: self.file().to_path_buf(), tensor: tensor.to_string(), reason }
    }
}

pub(crate) fn io_error(file: &Path, source: io::Error) -> Error {
    Error::Io { file: file.to_path_buf(), source }
}

pub(crate) fn file_error(file: &Path, reason: impl Into<String>) -> Error {
    Error::File { file: file.to_path_buf(), reason: reason.into() }
}

fn field_error(file: &Path, field: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Field { file: file.to_path_buf(), field: field.into(), reason: reason.into() }
}

/// Whether a path leads to GGUF by its name or its first bytes.
fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = |mut file: fs::File| file.read_exact(&mut magic);
    let regular = fs::metadata(path).is_ok_and(|m| m.is_file());
    named_gguf(path) || regular && fs::File::open(path).and_then(read).is_ok() && magic == *b"GGUF"
}

fn named_gguf(file: &Path) -> bool {
    file.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

/// Whether a folder holds a GGUF file and no safetensors.
fn holds_only_gguf(folder: &Path) -> Result<bool, Error> {
    let mut gguf = false;
    for entry in fs::read_dir(folder).map_err(|e| io_error(folder, e))? {
        let file = entry.map_err(|e| io_error(folder, e))?.path();
        if file.extension().is_some_and(|e| e == "safetensors") {
            return Ok(false);
        }
        gguf |= named_gguf(&file);
    }
    Ok(gguf)
}

/// An object in a JSON file of at most [`MAX_JSON`] bytes.
pub(crate) type Object = serde_json::Map<String, serde_json::Value>;

pub(crate) fn read_json(file: &Path) -> Result<Object, Error> {
    parse_json(file, &read_bytes(file)?)
}

/// What a file of JSON holds, or a little more than may be parsed of it.
pub(crate) fn read_bytes(file: &Path) -> Result<Vec<u8>, Error> {
    let kind = fs::metadata(file).map_err(|e| io_error(file, e))?;
    if !kind.is_file() {
        return Err(file_error(file, "is not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|f| f.take(MAX_JSON + 1).read_to_end(&mut bytes))
        .map_err(|e| io_error(file, e))?;
    Ok(bytes)
}

pub(crate) fn parse_json(file: &Path, bytes: &[u8]) -> Result<Object, Error> {
    if bytes.len() as u64 > MAX_JSON {
        return Err(file_error(file, format!("is longer than {MAX_JSON} bytes")));
    }
    let value = serde_json::from_slice(bytes)
        .map_err(|source| Error::Json { file: file.to_path_buf(), source })?;
    match value {
        serde_json::Value::Object(object) => Ok(object),
        _ => Err(file_error(file, "is no JSON object")),
    }
}

#[cfg(test)]
mod tests;
