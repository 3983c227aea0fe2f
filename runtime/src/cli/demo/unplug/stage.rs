//! Where the story's processes run: a state, the key that seals it, and rounds over copies of it.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Result;
use super::child::{self, Ended};
use crate::cli::Outcome;
use crate::cli::options::Machine;
use crate::cli::temporary::Temporary;
use crate::dialogue::Dialogue;
use crate::state::vault::Keys;
use crate::state::{State, TRAINING};
use crate::tune::store::{Reached, Store};

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
        words.extend(["--checkpoint-every", checkpoints, "--unguarded"]);
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

    /// How far the training that was begun in a state of that name has come, if there is one.
    pub fn reached(&self, state: &str) -> Result<Option<Reached>> {
        let state = State::open(&self.path(state), &Keys::File(self.path("key")))?;
        Ok(Store::sealed(state.vault(), TRAINING, String::new()).reached())
    }

    /// Runs a round that nothing cuts.
    pub fn unbroken(&self, budget: u64) -> Result<(Ended, Learned)> {
        self.copy("state", "unbroken")?;
        let ended = self.round("unbroken", budget, self.learn.lr, &[])?;
        let learned = self.learned("unbroken", &ended)?;
        Ok((ended, learned))
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

fn hash(file: &Path) -> Result<String> {
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}
