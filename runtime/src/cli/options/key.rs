//! `--key`: what opens a state directory.

use std::path::PathBuf;

use clap::Args;

use crate::seal::ring;
use crate::state::vault::Keys;

/// Where the key is.
#[derive(Args)]
pub(crate) struct KeyArgs {
    /// The file of the keys that seal state directories; made with the first one [default:
    /// $XDG_CONFIG_HOME/homespun/key, else ~/.config/homespun/key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl KeyArgs {
    /// The keys of that file.
    pub(crate) const fn of(file: PathBuf) -> Self {
        Self { key: Some(file) }
    }

    /// As a state takes it.
    pub(crate) fn get(&self) -> Result<Keys, ring::Error> {
        Ok(Keys::File(self.key.clone().map_or_else(ring::default_path, Ok)?))
    }
}
