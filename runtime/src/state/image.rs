//! The sample buffer of a state: a flash image whose records are sealed with the state's key.

use super::SAMPLES;
use super::vault::Vault;
use crate::samples::file::{self, FileSamples, OpenError};
use crate::samples::{self, RECORD_BYTES, Seal};
use crate::seal::{Key, system_random};

/// What seals the records of `vault`'s image; nothing where files are plain.
fn seal(vault: &Vault, previous: Option<Key>) -> Option<Seal> {
    vault.key().map(|key| Seal { key: key.clone(), previous, random: system_random })
}

/// Opens the image, or makes one of `bins` bins if there is none. One that is plain, of a version
/// before, or sealed with another key of the state's is sealed with its key first.
///
/// # Errors
/// If it cannot be made, or is no buffer that can be used.
pub(crate) fn open(vault: &Vault, bins: usize) -> Result<FileSamples, OpenError> {
    let (path, ours) = (vault.path(SAMPLES), seal(vault, None));
    if !path.exists() {
        return file::create(&path, bins, ours.as_ref());
    }
    let other = match file::open(&path, ours.as_ref()) {
        Err(OpenError::Samples { error: samples::Error::Key { name }, path }) => {
            let key = vault.find(name).cloned();
            key.ok_or(OpenError::Samples { error: samples::Error::Key { name }, path })?
        }
        opened => return opened,
    };
    let mut samples = file::open(&path, seal(vault, Some(other)).as_ref())?;
    rekey(vault, &mut samples)?;
    Ok(samples)
}

/// Seals every record with the state's key and erases whatever else lies in the image.
///
/// # Errors
/// If it cannot be written; called again, it goes on.
pub(super) fn rekey(vault: &Vault, samples: &mut FileSamples) -> Result<(), OpenError> {
    let error = |error| OpenError::Samples { path: vault.path(SAMPLES), error };
    match vault.key() {
        Some(key) => samples.rekey(key.clone(), &mut vec![0; RECORD_BYTES]).map(drop),
        None => samples.wipe(),
    }
    .map_err(error)
}
