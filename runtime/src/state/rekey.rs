//! A new key for a state, the old one destroyed.
//!
//! ```text
//! 1  the new key is in the key file                   cut: nobody uses it
//! 2  state.json is sealed with it and names the old one   cut: the next opening goes on at 3
//! 3  every other file and record is sealed with it
//! 4  the old key is taken out of the key file
//! 5  state.json names no other key
//! ```

use super::vault::Keys;
use super::{Error, State, image, upgrade, vault};
use crate::seal::KeyName;
use crate::seal::ring::Ring;

impl State {
    /// Makes a new key and seals `state.json` with it; `false` where there is no key file, so that a
    /// key of the caller's stays.
    pub(super) fn change_key(&mut self, keys: &Keys) -> Result<bool, Error> {
        let (Keys::File(file), Some(old)) = (keys, self.vault.key().cloned()) else {
            return Ok(false);
        };
        let mut ring = Ring::open(file).map_err(vault::Error::Ring)?;
        self.vault.seal_with(ring.add().map_err(vault::Error::Ring)?);
        self.record.previous_key = old.name().to_string();
        self.save()?;
        Ok(true)
    }

    /// Ends a change of the key that has begun.
    pub(super) fn end_key_change(&mut self, keys: &Keys) -> Result<(), Error> {
        let Some(old) = KeyName::parse(&self.record.previous_key) else { return Ok(()) };
        upgrade::seal_all(&self.vault)?;
        if self.samples().exists() {
            let mut samples = image::open(&self.vault, self.record.bins)?;
            image::rekey(&self.vault, &mut samples)?;
        }
        if let Keys::File(file) = keys {
            let mut ring = Ring::open(file).map_err(vault::Error::Ring)?;
            ring.remove(old).map_err(vault::Error::Ring)?;
        }
        self.vault.drop_key(old);
        self.record.previous_key.clear();
        self.save()
    }
}
