//! A new key for a state, the old one destroyed.
//!
//! ```text
//! 1  there is a new key                               cut: nobody uses it
//! 2  state.json is sealed with it and names the old one   cut: the next opening goes on at 3
//! 3  every other file and record is sealed with it
//! 4  the old key is destroyed
//! 5  state.json names no other key
//! ```

use super::vault::Keys;
use super::{Error, State, image, upgrade};
use crate::seal::KeyName;

impl State {
    /// Makes a new key and seals `state.json` with it; `false` where the key cannot be changed.
    pub(super) fn change_key(&mut self, keys: &Keys) -> Result<bool, Error> {
        let Some(old) = self.vault.key().filter(|_| keys.change()).cloned() else {
            return Ok(false);
        };
        let Some(new) = keys.make()? else { return Ok(false) };
        self.vault.seal_with(new);
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
        keys.destroy(old)?;
        self.vault.drop_key(old);
        self.record.previous_key.clear();
        self.save()
    }
}
