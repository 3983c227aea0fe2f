//! Options about adapters: which, of which base, and of which variant.

use std::path::{Path, PathBuf};

use clap::Args;
use homespun_core::lora::{LoraConfig, Scaling};

use crate::adapter::{self, Adapter};
use crate::checkpoint::Checkpoint;
use crate::engine::Engine;

/// Why an adapter cannot be used.
type Failure = Box<dyn core::error::Error>;

/// Which adapter.
#[derive(Args)]
pub(crate) struct AdapterArgs {
    /// A PEFT folder (adapter_config.json, adapter_model.safetensors)
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    #[command(flatten)]
    any: AnyBase,
}

/// Which adapters, all of them in memory at once.
#[derive(Args)]
pub(crate) struct AdaptersArgs {
    /// A PEFT folder (adapter_config.json, adapter_model.safetensors); more than one can be given
    #[arg(long, value_name = "DIR")]
    adapter: Vec<PathBuf>,
    #[command(flatten)]
    any: AnyBase,
}

impl AdaptersArgs {
    /// Reads them, each with the name of its folder.
    pub(crate) fn load(&self, engine: &Engine) -> Result<Vec<(String, Adapter)>, Failure> {
        let name = |path: &Path| {
            let name = path.file_name().unwrap_or(path.as_os_str());
            name.to_string_lossy().into_owned()
        };
        let open = |path: &PathBuf| Ok((name(path), self.any.open(path, engine)?));
        self.adapter.iter().map(open).collect()
    }
}

/// Whose adapters.
#[derive(Args)]
pub(crate) struct AnyBase {
    /// Take an adapter that was trained on another base, such as this one before it was quantised
    #[arg(long)]
    any_base: bool,
}

impl AdapterArgs {
    /// Reads it.
    pub(crate) fn load(&self, engine: &Engine) -> Result<Option<Adapter>, Failure> {
        self.adapter.as_deref().map(|path| self.any.open(path, engine)).transpose()
    }

    /// Reads it for a base of which the weights alone are open; it is not prepared.
    pub(crate) fn load_on(&self, base: &Checkpoint) -> Result<Option<Adapter>, adapter::Error> {
        self.adapter.as_deref().map(|path| self.any.open_on(path, base)).transpose()
    }
}

impl AnyBase {
    /// Reads the adapter in the folder `path`, ready to compute; unless any base will do, it belongs to
    /// the engine's.
    pub(crate) fn open(&self, path: &Path, engine: &Engine) -> Result<Adapter, Failure> {
        let base = engine.base();
        let mut adapter = Adapter::open(path, base.config())?;
        if !self.any_base {
            adapter.expect_base(path, &base.hashes())?;
        }
        engine.prepare(&mut adapter)?;
        Ok(adapter)
    }

    /// The same for a base of which the weights alone are open; it is not prepared.
    pub(crate) fn open_on(
        &self,
        path: &Path,
        base: &Checkpoint,
    ) -> Result<Adapter, adapter::Error> {
        let adapter = Adapter::open(path, base.config())?;
        if !self.any_base {
            adapter.expect_weights(path, &base.base_hash())?;
        }
        Ok(adapter)
    }
}

/// Which variant of LoRA.
#[derive(Args)]
pub(crate) struct VariantArgs {
    /// Scale by alpha / sqrt(rank) instead: rsLoRA, for which a higher rank learns more
    #[arg(long)]
    rslora: bool,
    /// Train B alone and leave A as it was drawn: LoRA-FA, with about half the gradients and moments
    #[arg(long)]
    pub(crate) freeze_a: bool,
    /// Train a magnitude of each output beside A and B: DoRA, which is slower and often learns more
    #[arg(long)]
    dora: bool,
}

impl VariantArgs {
    /// `config` of that variant.
    pub(crate) const fn of(&self, config: LoraConfig) -> LoraConfig {
        let scaling = if self.rslora { Scaling::RankStabilised } else { config.scaling };
        LoraConfig { scaling, freeze_a: self.freeze_a, dora: self.dora, ..config }
    }

    /// Whether an adapter that is there, in `folder`, can go on as what is asked for.
    ///
    /// # Errors
    /// Names the option that it cannot become.
    pub(crate) fn goes_on(&self, there: &LoraConfig, folder: &Path) -> Result<(), String> {
        let is_rslora = there.scaling == Scaling::RankStabilised;
        let unlike = [("rslora", self.rslora && !is_rslora), ("dora", self.dora && !there.dora)];
        match unlike.into_iter().find(|(_, unlike)| *unlike) {
            Some((option, _)) => Err(format!(
                "--{option}: the adapter that goes on, {}, is none, and cannot become one",
                folder.display()
            )),
            None => Ok(()),
        }
    }
}
