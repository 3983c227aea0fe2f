//! What an adapter has learned from: keyed hashes of the dialogues that it saw, those that left the
//! buffer since among them. They say of a dialogue that is to be forgotten whether an adapter knows it,
//! and nothing else.
//!
//! ```text
//! adapters/0002/seen    a hash a line, 32 hexadecimal digits: SHA-256 of key | arrival, its first half
//! ```
//! A generation goes on from the one before, so it has seen what that one saw. The key is random, in the
//! record, and made anew when the adapter starts again.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::vault::Vault;
use super::{Error, Record};
use crate::seal::system_random;

/// The file in an adapter's folder.
pub(super) const FILE: &str = "seen";

/// Hashes of dialogues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeSet<String>);

impl Seen {
    /// What the adapter in `folder` has seen; `None` if it does not say.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(vault: &Vault, folder: &str) -> Result<Option<Self>, Error> {
        let Some(bytes) = vault.read(&format!("{folder}/{FILE}"))? else { return Ok(None) };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(Some(Seen(lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect())))
    }

    /// Writes it beside the adapter in `folder`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, vault: &Vault, folder: &str) -> Result<(), Error> {
        let lines: String = self.0.iter().map(|hash| format!("{hash}\n")).collect();
        Ok(vault.write(&format!("{folder}/{FILE}"), lines.as_bytes())?)
    }

    /// Adds a dialogue.
    ///
    /// # Errors
    /// If the system has no random bytes for a first key.
    pub fn add(&mut self, record: &mut Record, arrival: u64) -> Result<(), Error> {
        if record.seen_key.is_empty() {
            let mut key = [0; 32];
            system_random(&mut key).map_err(|error| Error::Invalid {
                path: super::RECORD.into(),
                field: "seen_key".into(),
                reason: error.to_string(),
            })?;
            record.seen_key = key.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        self.0.insert(hash(record, arrival));
        Ok(())
    }

    /// Adds those of another adapter.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether a dialogue is among them.
    pub fn has(&self, record: &Record, arrival: u64) -> bool {
        self.0.contains(&hash(record, arrival))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn hash(record: &Record, arrival: u64) -> String {
    let digest = Sha256::new()
        .chain_update(record.seen_key.as_bytes())
        .chain_update(arrival.to_le_bytes())
        .finalize();
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
