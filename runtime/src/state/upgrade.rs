//! A state directory made private: modes of what is in it, and plain files of a program before sealed.
//!
//! ```text
//! version 1   every file plain, modes as the process's mask left them
//! version 2   every file but the lock sealed, or none where there is no key
//! ```
//! Each file is replaced whole and `state.json` is the last: cut anywhere, the next opening goes on. What
//! the old files held stays on the disk until their blocks are used again.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::keys::Keys;
use super::vault::Vault;
use super::{ADAPTERS, Error, LOCK, RECORD, ROWS, SAMPLES, TRAINING, seen};
use crate::adapter::{CONFIG_FILE, TENSORS_FILE};
use crate::durable::go_on;
use crate::samples::file;
use crate::tune::store;

/// Seals what another key or none sealed, `state.json` excepted.
pub(super) fn seal_all(vault: &Vault) -> Result<(), Error> {
    let Some(key) = vault.key() else { return Ok(()) };
    let ours = Some(key.name());
    for name in names(vault.root())? {
        if vault.sealed_with(&name)? == ours {
            continue;
        }
        let Some(mut from) = vault.reader(&name)? else { continue };
        vault.write_with(&name, |out| io::copy(&mut from, out).map(drop), &mut go_on)?;
    }
    Ok(())
}

/// Takes in the keys of files that an earlier sealing sealed, before it was cut.
pub(super) fn find_keys(vault: &mut Vault, keys: &Keys) -> Result<(), Error> {
    let mut sealed_with = Vec::new();
    for name in names(vault.root())? {
        sealed_with.extend(vault.sealed_with(&name)?);
    }
    // An image of a version before, or a broken one, has no key to be found.
    if let Ok(image) = file::open_blind(&vault.path(SAMPLES)) {
        sealed_with.extend(image.entries().map(|(_, info)| info.header().key));
    }
    for name in sealed_with {
        if vault.find(name).is_none()
            && let Some(key) = keys.find(name)?
        {
            vault.read_with(key);
        }
    }
    Ok(())
}

/// What a state can hold beside `state.json` and what is sealed elsewhere.
fn names(root: &Path) -> Result<Vec<String>, Error> {
    let mut names = ROWS.map(str::to_owned).to_vec();
    names.extend(store::FILES.map(|file| format!("{TRAINING}/{file}")));
    for generation in generations(root)? {
        names.extend(
            [CONFIG_FILE, TENSORS_FILE, seen::FILE].map(|file| format!("{generation}/{file}")),
        );
    }
    Ok(names)
}

/// The folders of adapter generations, `adapters/0001` and so on.
pub(super) fn generations(root: &Path) -> Result<Vec<String>, Error> {
    let folder = root.join(ADAPTERS);
    let mut names = Vec::new();
    if !folder.is_dir() {
        return Ok(names);
    }
    for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
        let entry = entry.map_err(Error::io(&folder))?;
        if let (true, Some(name)) = (entry.path().is_dir(), entry.file_name().to_str()) {
            names.push(format!("{ADAPTERS}/{name}"));
        }
    }
    names.sort();
    Ok(names)
}

/// Makes what a state holds the person's alone. A directory that holds other things too, such as
/// a home, keeps its mode.
pub(super) fn make_private(root: &Path) -> Result<(), Error> {
    let known = [RECORD, SAMPLES, ADAPTERS, TRAINING, LOCK];
    let mut own = true;
    for entry in fs::read_dir(root).map_err(Error::io(root))? {
        let name = entry.map_err(Error::io(root))?.file_name();
        let name = name.to_string_lossy();
        own &= known.iter().chain(&ROWS).any(|known| *known == name) || name.starts_with('.');
    }
    let mut folders: Vec<String> = own.then(String::new).into_iter().collect();
    folders.extend([ADAPTERS.to_owned(), TRAINING.to_owned()]);
    folders.extend(generations(root)?);
    let files = [LOCK, SAMPLES, RECORD].iter().chain(&ROWS).map(|&name| name.to_owned());
    let modes = [(folders, 0o700), (files.collect(), 0o600)];
    for (name, mode) in modes.iter().flat_map(|(names, mode)| names.iter().map(|n| (n, *mode))) {
        let path = if name.is_empty() { root.to_owned() } else { root.join(name) };
        match fs::set_permissions(&path, Permissions::from_mode(mode)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}
