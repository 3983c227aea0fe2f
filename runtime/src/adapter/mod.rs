//! LoRA adapters as PEFT stores them: read, checked against a base, and written.
//!
//! ```text
//! folder/adapter_config.json          peft_type LORA, r, lora_alpha, lora_dropout, target_modules
//!        adapter_model.safetensors    base_model.model.model.layers.{i}.{part}.{module}
//!                                         .lora_A.weight (R, inputs)
//!                                         .lora_B.weight (outputs, R)
//!                                         .lora_magnitude_vector (outputs), DoRA's
//!                                     `__metadata__`: the base that ours were trained on (`identity.rs`)
//! ```
//! `y = W x + lora_alpha / r * B (A x)`, with `use_rslora` over the root of r; `use_dora`
//! scales each output (see core's `dora`). Tensors of f32, bf16 and f16 are read, f32 is written.

mod config;
mod identity;
mod magnitude;
mod sealed;
mod tensors;

use std::path::{Path, PathBuf};

use homespun_core::config::Config;
use homespun_core::lora::{Lora, LoraConfig};
use homespun_core::rng::Rng;

pub use sealed::export;

use crate::{checkpoint, durable, state};

/// The name of the configuration.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// The name of the tensors' file.
pub const TENSORS_FILE: &str = "adapter_model.safetensors";

/// An adapter in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// Its rank, scale and targets.
    pub config: LoraConfig,
    /// Its parameters, flat, laid out as [`LoraConfig::offset`] says; DoRA's norms among them are made
    /// by [`prepare`](Self::prepare).
    pub parameters: Vec<f32>,
    /// `base_model_name_or_path`: for people, never followed.
    pub base: Option<String>,
    /// The base it was trained on, where the file says: see [`expect_base`](Self::expect_base).
    pub trained_on: Option<state::Base>,
}

/// Why an adapter cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing, damaged, or says something that is not supported.
    #[error(transparent)]
    Read(#[from] checkpoint::Error),
    /// A tensor does not fit the base model.
    #[error(
        "{}: the adapter is for another base: tensor `{tensor}` has shape {found:?}, \
         this base needs {expected:?}",
        file.display()
    )]
    OtherBase {
        /// The tensors' file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the base needs.
        expected: Vec<usize>,
    },
    /// The adapter belongs to another base.
    #[error(
        "{}: `{}`: the adapter was trained on base {own}, this one is {found}: {differing}; \
         train one for this base, or take it all the same with --any-base",
        file.display(),
        identity::FIELD
    )]
    NotItsBase {
        /// The tensors' file.
        file: PathBuf,
        /// The beginning of its base's identity.
        own: String,
        /// That of the base at hand.
        found: String,
        /// What differs.
        differing: String,
    },
    /// The folder cannot be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// A file of a state cannot be read.
    #[error(transparent)]
    Vault(#[from] state::vault::Error),
}

impl Adapter {
    /// An adapter that changes nothing yet, of the base called `name`.
    pub fn fresh(config: LoraConfig, base: &Config, name: &str, seed: u64) -> Self {
        let mut parameters = vec![0.0; config.parameters(base)];
        config.init(base, &mut Rng::new(seed), &mut parameters);
        Self { config, parameters, base: Some(name.to_owned()), trained_on: None }
    }

    /// Reads the folder `path` as an adapter of a base of this shape.
    ///
    /// # Errors
    /// Names the file and the field or tensor that is missing, damaged, not supported, not finite
    /// or made for another base.
    pub fn open(path: &Path, base: &Config) -> Result<Self, Error> {
        let (config, base_name) = config::open(path)?;
        let (parameters, trained_on) = tensors::open(path, &config, base)?;
        Ok(Self { config, parameters, base: base_name, trained_on })
    }

    /// Writes the folder `path`: the old one or the new one, never half.
    ///
    /// # Errors
    /// If `path` holds other files than an adapter's, or cannot be written.
    ///
    /// # Panics
    /// If the parameters are not those of `config` on `base`.
    pub fn save(&self, path: &Path, base: &Config) -> Result<(), Error> {
        self.assert_fits(base);
        let config = config::render(self);
        let files: [(&str, durable::Fill<'_>); 2] = [
            (CONFIG_FILE, &|out| out.write_all(&config)),
            (TENSORS_FILE, &|out| tensors::write(self, base, out)),
        ];
        Ok(durable::write_folder_with(path, &files, &mut durable::go_on)?)
    }

    /// The contents of the folder's two files, [`CONFIG_FILE`] and [`TENSORS_FILE`].
    ///
    /// # Errors
    /// None: memory takes what is written.
    ///
    /// # Panics
    /// If the parameters are not those of `config` on `base`.
    pub fn files(&self, base: &Config) -> Result<[Vec<u8>; 2], Error> {
        self.assert_fits(base);
        let mut tensors = Vec::new();
        tensors::write(self, base, &mut tensors).map_err(|source| {
            Error::Read(checkpoint::Error::Io { file: TENSORS_FILE.into(), source })
        })?;
        Ok([config::render(self), tensors])
    }

    fn assert_fits(&self, base: &Config) {
        assert_eq!(self.parameters.len(), self.config.parameters(base), "parameters and config");
    }

    /// The adapter as the model takes it.
    pub fn lora(&self) -> Lora<'_> {
        Lora { config: self.config, parameters: &self.parameters }
    }
}

#[cfg(test)]
mod tests;
