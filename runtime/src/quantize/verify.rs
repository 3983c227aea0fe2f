//! Reading every byte of a checkpoint: is each value one that a model can have, and the one that was
//! written?
//!
//! ```text
//! each tensor: finite (dense), scales, quants and padding (packed);  SHA-256 against the header's
//! ```

use std::collections::BTreeMap;

use homespun_kernels::{Matrix, Pool, Storage, chunks_mut};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, Error, Weight};

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Each tensor's SHA-256 in hex.
    pub hashes: BTreeMap<String, String>,
    /// Whether the files give hashes, and whether they are these.
    pub given: Hashes,
    /// Each tensor that is not as it should be, and why.
    pub damage: Vec<(String, String)>,
}

/// What the files' own hashes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hashes {
    /// There are none.
    #[default]
    None,
    /// Each is that of its tensor.
    Agree,
    /// Some are not.
    Differ,
}

impl Hashes {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Hashes::None => "none",
            Hashes::Agree => "agree",
            Hashes::Differ => "differ",
        }
    }
}

/// Scans all tensors on all threads.
///
/// # Errors
/// If the checkpoint cannot be read; damage is in the verdict.
pub fn verify(checkpoint: &Checkpoint, pool: &dyn Pool) -> Result<Verdict, Error> {
    let mut verdict = Verdict::default();
    let parts = checkpoint.parts()?;
    let mut faults = vec![None; parts.len()];
    chunks_mut(pool, &mut faults, 1, &|i, fault| fault[0] = fault_of(parts[i].weight));
    for (part, fault) in parts.iter().zip(faults) {
        verdict.damage.extend(fault.map(|fault| (part.name.clone(), fault)));
    }
    let stored: Vec<_> = checkpoint.stored().collect();
    let mut hashes = vec![String::new(); stored.len()];
    chunks_mut(pool, &mut hashes, 1, &|i, hash| {
        hash[0] = format!("{:x}", Sha256::digest(stored[i].1));
    });
    let mut given = checkpoint.stored_hashes()?;
    let some = !given.is_empty();
    verdict.given = if some { Hashes::Agree } else { Hashes::None };
    let mut differ = |name: &str, reason: &str| {
        verdict.given = Hashes::Differ;
        verdict.damage.push((name.to_owned(), reason.to_owned()));
    };
    for ((entry, _), hash) in stored.iter().zip(&hashes) {
        match given.remove(&entry.name) {
            Some(written) if written != *hash => {
                differ(&entry.name, &format!("has the SHA-256 {hash}, not {written} as written"));
            }
            Some(_) => {}
            None if some => {
                differ(&entry.name, "has no SHA-256 in the header");
            }
            None => {}
        }
    }
    for name in given.keys() {
        differ(name, "has a SHA-256 in the header and is missing");
    }
    verdict.hashes = stored.iter().map(|(entry, _)| entry.name.clone()).zip(hashes).collect();
    Ok(verdict)
}

/// What is wrong with the values.
fn fault_of(weight: Weight) -> Option<String> {
    let data = match weight {
        Weight::Vector(data) => data,
        Weight::Matrix(matrix) => match matrix.storage() {
            Storage::Packed(packed) => return packed.check().err().map(|fault| fault.to_string()),
            Storage::Dense(data) => data,
        },
    };
    let at = (0..data.len()).find(|&at| !data.get(at).is_finite())?;
    Some(match weight {
        Weight::Vector(_) => format!("has a value that is not finite, at {at}"),
        Weight::Matrix(matrix) => place(&matrix, at),
    })
}

fn place(matrix: &Matrix, at: usize) -> String {
    let (row, col) = (at / matrix.cols(), at % matrix.cols());
    format!("has a weight that is not finite, in row {row}, column {col}")
}
