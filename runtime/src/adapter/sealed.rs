//! Adapters of a state directory: the two files of PEFT, each sealed.
//!
//! ```text
//! save_in   NAME/adapter_config.json, NAME/adapter_model.safetensors, written a piece at a time
//! open_in   the same, opened in memory alone
//! export    the same as a plain folder, byte for byte what was sealed
//! ```

use std::fs;
use std::io;
use std::path::Path;

use homespun_core::config::Config;
use zeroize::Zeroizing;

use super::{Adapter, CONFIG_FILE, Error, TENSORS_FILE, config, tensors};
use crate::checkpoint::io_error;
use crate::durable::{self, go_on};
use crate::state::vault::Vault;

impl Adapter {
    /// Reads the folder that `vault` calls `folder` as an adapter of a base of this shape.
    ///
    /// # Errors
    /// As [`open`](Self::open); and if a file does not open with the key.
    pub fn open_in(vault: &Vault, folder: &str, base: &Config) -> Result<Self, Error> {
        let (file, bytes) = read(vault, folder, CONFIG_FILE)?;
        let (config, base_name) = config::parse(&file, &bytes)?;
        let (file, bytes) = read(vault, folder, TENSORS_FILE)?;
        let (parameters, trained_on) = tensors::parse(&file, &bytes, &config, base)?;
        Ok(Self { config, parameters, base: base_name, trained_on })
    }

    /// Writes the folder that `vault` calls `folder`, which is made if it is not there. A cut, and no
    /// failure, can leave one file of the two: an adapter counts once something names it.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Panics
    /// If the parameters are not those of `config` on `base`.
    pub fn save_in(&self, vault: &Vault, folder: &str, base: &Config) -> Result<(), Error> {
        self.assert_fits(base);
        let config = config::render(self);
        let name = |file: &str| format!("{folder}/{file}");
        let (config_name, tensors_name) = (name(CONFIG_FILE), name(TENSORS_FILE));
        let tensors = |out: &mut dyn io::Write| tensors::write(self, base, out);
        let new = !vault.path(folder).exists();
        let written = vault
            .make_folder(folder, &mut go_on)
            .and_then(|()| vault.write_with(&config_name, |out| out.write_all(&config), &mut go_on))
            .and_then(|()| vault.write_with(&tensors_name, tensors, &mut go_on));
        if new && written.is_err() {
            // The first error is the one to tell.
            vault.remove(&config_name).and_then(|()| vault.remove(&tensors_name)).ok();
            fs::remove_dir(vault.path(folder)).ok();
        }
        Ok(written?)
    }
}

/// Writes the adapter that `vault` calls `folder` as the plain folder `to`: the old `to` or the whole
/// adapter, never half.
///
/// # Errors
/// If a file cannot be read, or `to` holds other files or cannot be written.
pub fn export(vault: &Vault, folder: &str, to: &Path) -> Result<(), Error> {
    let (_, config) = read(vault, folder, CONFIG_FILE)?;
    let (_, tensors) = read(vault, folder, TENSORS_FILE)?;
    durable::write_folder(to, &[(CONFIG_FILE, &config), (TENSORS_FILE, &tensors)])?;
    Ok(())
}

/// Where a file is, for messages, and what it holds.
fn read(
    vault: &Vault,
    folder: &str,
    file: &str,
) -> Result<(std::path::PathBuf, Zeroizing<Vec<u8>>), Error> {
    let name = format!("{folder}/{file}");
    let path = vault.path(&name);
    let missing = || io_error(&path, io::ErrorKind::NotFound.into());
    let bytes = vault.read(&name)?.ok_or_else(missing)?;
    Ok((path, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::tests::{adapter, base};
    use crate::seal::Key;
    use crate::state::vault::Keys;
    use homespun_core::lora::Targets;

    #[test]
    fn a_sealed_adapter_comes_back_and_is_exported_as_it_would_have_been_saved() {
        let folder = tempfile::tempdir().unwrap();
        let key = |byte| Keys::Given(Key::new([byte; 32]));
        let vault = Vault::open(folder.path(), &key(1), "state.json").unwrap();
        let adapter = adapter(Targets::ALL);
        adapter.save_in(&vault, "0001", &base()).unwrap();
        assert_eq!(Adapter::open_in(&vault, "0001", &base()).unwrap(), adapter);
        let bytes = std::fs::read(vault.path("0001/adapter_model.safetensors")).unwrap();
        assert!(!bytes.windows(6).any(|six| six == b"lora_A"));
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        export(&vault, "0001", &ours).unwrap();
        adapter.save(&plain, &base()).unwrap();
        for file in [CONFIG_FILE, TENSORS_FILE] {
            let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
            assert!(read(&ours) == read(&plain), "{file}");
        }
        // Another key; no key; nothing there.
        let other = Vault::open(folder.path(), &key(2), "state.json").unwrap();
        let error = Adapter::open_in(&other, "0001", &base()).unwrap_err().to_string();
        assert!(error.contains("0001/adapter_config.json") && error.contains("key"), "{error}");
        let error = Adapter::open(&vault.path("0001"), &base()).unwrap_err().to_string();
        assert!(error.contains("adapter export"), "{error}");
        let error = Adapter::open_in(&vault, "0002", &base()).unwrap_err().to_string();
        assert!(error.contains("0002/adapter_config.json"), "{error}");
    }
}
