//! A training run cut at the end of an epoch: what it takes to go on bit-identically.
//!
//! ```text
//! file   [ version: 1 byte ][ postcard of Checkpoint ][ SHA-256 of all before: 32 bytes ]
//! key    SHA-256 of the options, the examples and the adapter that the run started from
//! ```
//! A file of another run, another version or with a wrong sum is as good as none: the run starts
//! again.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Example, Options};
use crate::adapter::Adapter;
use crate::durable;

const VERSION: u8 = 1;

/// The state of a run between two steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub(super) key: [u8; 32],
    pub(super) at: u64,
    pub(super) step: u64,
    pub(super) parameters: Vec<f32>,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
    /// The best parameters so far and their loss, for a run that stops early.
    pub best: Option<(f64, Vec<f32>)>,
    /// Epochs since then.
    pub waited: u64,
}

/// What tells this run from any other.
pub(super) fn key(options: &Options, examples: &[Example], adapter: &Adapter) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("{options:?} {:?}", adapter.config));
    for parameter in &adapter.parameters {
        hash.update(parameter.to_le_bytes());
    }
    for example in examples {
        hash.update(example.id.to_le_bytes());
        hash.update((example.tokens.len() as u64).to_le_bytes());
        for (token, &target) in example.tokens.iter().zip(&example.targets) {
            hash.update(token.to_le_bytes());
            hash.update([u8::from(target)]);
        }
    }
    hash.finalize().into()
}

impl Checkpoint {
    /// Writes it in place of an older one.
    ///
    /// # Errors
    /// If the file cannot be written; the older one is then still there.
    pub fn save(&self, file: &Path) -> Result<(), durable::Error> {
        let mut bytes = vec![VERSION];
        // Serialising numbers to memory cannot fail; an empty checkpoint would be found wanting.
        bytes.extend(postcard::to_stdvec(self).unwrap_or_default());
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        durable::write(file, &bytes)
    }

    /// The checkpoint in `file`, if there is a whole one.
    pub fn load(file: &Path) -> Option<Self> {
        let bytes = std::fs::read(file).ok()?;
        let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if Sha256::digest(content).as_slice() != sum {
            return None;
        }
        let (version, content) = content.split_first()?;
        (*version == VERSION).then(|| postcard::from_bytes(content).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            key: [7; 32],
            at: 3,
            step: 2,
            parameters: vec![1.5, -0.0],
            first: vec![0.25, 1e-30],
            second: vec![f32::MIN_POSITIVE, 3.0],
            best: Some((0.5, vec![1.0])),
            waited: 1,
        }
    }

    #[test]
    fn a_saved_checkpoint_is_read_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("checkpoint");
        checkpoint().save(&file).unwrap();
        assert_eq!(Checkpoint::load(&file), Some(checkpoint()));
    }

    #[test]
    fn a_damaged_or_missing_checkpoint_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("checkpoint");
        assert_eq!(Checkpoint::load(&file), None);
        checkpoint().save(&file).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for i in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[i] ^= 1;
            std::fs::write(&file, &damaged).unwrap();
            assert_eq!(Checkpoint::load(&file), None, "byte {i}");
            std::fs::write(&file, &whole[..i]).unwrap();
            assert_eq!(Checkpoint::load(&file), None, "cut at {i}");
        }
    }
}
