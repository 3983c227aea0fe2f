//! Where the story's processes run: a state, the key that seals it, and rounds over copies of it.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Result;
use super::child::{self, Ended};
use crate::cli::Outcome;
use crate::cli::options::{Machine, say};
use crate::cli::temporary::Temporary;
use crate::dialogue::Dialogue;

/// How a round learns, as options of `round`.
pub(super) struct Learn {
    pub lr: &'static str,
    pub epochs: &'static str,
    pub batch: &'static str,
    /// How often it writes a checkpoint.
    pub checkpoints: &'static str,
}

/// Where and how the story's processes run.
pub(super) struct Stage<'s> {
    pub place: &'s Temporary,
    pub learn: &'s Learn,
    pub machine: &'s Machine,
}

/// A round that came to its end.
pub(super) struct Learned {
    /// SHA-256 of the exported tensors.
    pub hash: String,
    /// The exported folder.
    pub adapter: PathBuf,
    /// What the round printed.
    pub report: serde_json::Value,
}

impl Stage<'_> {
    /// A path of the story's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Runs `homespun WORDS` on a state of that name.
    fn homespun(&self, words: &[&str], state: &str, input: &str) -> Result<Ended> {
        let (state, key) = (self.path(state), self.path("key"));
        let mut all: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        for (option, path) in [("--state", &state), ("--key", &key)] {
            all.extend([option.to_owned(), path.display().to_string()]);
        }
        child::run(self.place, &all, input, &state)
    }

    /// Offers the dialogues to the buffer of a new state, with what the user said of them.
    pub fn observe(&self, talk: &[Dialogue]) -> Outcome {
        for dialogue in talk {
            let words = ["observe", "--model", "builtin", "--bins", "8"];
            let verdict = self.homespun(&words, "state", &dialogue.to_json())?.json()?;
            if verdict["verdict"] == "drop" {
                return Err("a dialogue was dropped, though there is room".into());
            }
        }
        Ok(())
    }

    /// Runs a round on a state of that name at the learning rate `lr`.
    pub fn round(&self, state: &str, budget: u64, lr: &str, more: &[&str]) -> Result<Ended> {
        let (memory, machine) = (format!("{budget}M"), self.machine.words());
        let mut words = vec!["round", "--model", "builtin", "--json", "--memory", &memory];
        let Learn { epochs, batch, checkpoints, .. } = *self.learn;
        words.extend(["--lr", lr, "--epochs", epochs, "--batch", batch]);
        words.extend(["--checkpoint-every", checkpoints]);
        words.extend(machine.iter().map(String::as_str));
        words.extend(more);
        self.homespun(&words, state, "")
    }

    /// What came of a round on a state of that name.
    pub fn learned(&self, state: &str, ended: &Ended) -> Result<Learned> {
        let (report, adapter) = (ended.json()?, self.path(&format!("{state}-adapter")));
        if report["installed"] != true {
            return Err(format!("the round installed no adapter: {report}").into());
        }
        let out = adapter.display().to_string();
        let exported = self.homespun(&["adapter", "export", "--out", &out], state, "")?;
        if !exported.status.success() {
            return Err(exported.stderr.into());
        }
        let hash = hash(&adapter.join("adapter_model.safetensors"))?;
        Ok(Learned { hash, adapter, report })
    }

    /// Runs a round that nothing cuts, in as little memory as the plan takes; the megabytes.
    pub fn unbroken(&self) -> Result<(u64, Ended, Learned)> {
        let mut budget = 1;
        loop {
            self.copy("state", "unbroken")?;
            let ended = self.round("unbroken", budget, self.learn.lr, &[])?;
            if let Some(needed) = needed(&ended.stderr).filter(|&needed| needed > budget) {
                say(format_args!("   refused      {}", ended.stderr.trim()))?;
                budget = needed;
                continue;
            }
            let learned = self.learned("unbroken", &ended)?;
            return Ok((budget, ended, learned));
        }
    }

    /// Copies a state; what was there goes.
    pub fn copy(&self, from: &str, to: &str) -> Outcome {
        let (from, to) = (self.path(from), self.path(to));
        if to.exists() {
            fs::remove_dir_all(&to).map_err(|error| format!("{}: {error}", to.display()))?;
        }
        child::copy(&from, &to)
    }
}

/// The megabytes that a round which was refused asks for.
fn needed(stderr: &str) -> Option<u64> {
    let words: Vec<&str> = stderr.split(" MB are needed").next()?.split(' ').collect();
    let found = stderr.contains(" MB are needed").then(|| words.last()?.parse::<f64>().ok())?;
    found.map(|needed| needed.ceil() as u64)
}

fn hash(file: &Path) -> Result<String> {
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_that_a_refusal_asks_for_is_read() {
        let refused = "homespun: --memory: 1.0 MB are too little to train in; 13.2 MB are needed\n";
        assert_eq!(needed(refused), Some(14));
        assert_eq!(needed("homespun: no state there"), None);
    }
}
