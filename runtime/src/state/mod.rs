//! The state directory: all that a device knows of its person, in one place.
//!
//! ```text
//! STATE/
//!   lock              an advisory lock; holds the pid of the process that uses the directory
//!   state.json        version, hashes of base, tokenizer and template, where the stream stands
//!   samples.img       the sample buffer: a flash image (see `samples`)
//!   queue.jsonl       annotation requests that wait for the person (see `queue`)
//!   synthesised.jsonl questions that the model wrote, each with the sample it came from
//!   adapters/0001/    adapter generations, plain PEFT; `state.json` names the current one
//!   training/         two generations of the checkpoint of a round that was interrupted
//! ```
//! Every file but the image and the lock is replaced whole (temp, fsync, rename); `state.json` is
//! written last, so what it names is there.

mod lock;
pub mod queue;
pub mod vault;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;
pub use lock::Lock;
pub(crate) use queue::{json_lines, read_json_lines};

const VERSION: u32 = 1;

/// What can be wrong with a state directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error("{path}: in use by pid {pid}")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, as the lock file says.
        pid: String,
    },
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// `state.json` is not what this program writes.
    #[error("{path}: {field}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field, or the line.
        field: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What a state belongs to: it is of no use with another base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Hash of the base's weights.
    pub weights: String,
    /// Hash of the tokenizer.
    pub tokenizer: String,
    /// Hash of the chat template.
    pub template: String,
}

/// `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Layout of the directory.
    pub version: u32,
    /// What the state was made with.
    pub base: Base,
    /// Bins of the buffer.
    pub bins: usize,
    /// Replacement policy.
    pub policy: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Dialogues seen so far, of all streams.
    pub seen: u64,
    /// Of those, the ones of the current stream.
    pub stream_seen: u64,
    /// SHA-256 of the dialogues of the current stream that were seen.
    pub stream_hash: String,
    /// Dialogues that were stored at once or replaced another.
    pub accepted: u64,
    /// Dialogues that were not stored.
    pub dropped: u64,
    /// Annotation requests made.
    pub annotations: u64,
    /// Answers that no round has learned from yet.
    #[serde(default)]
    pub new_annotations: u64,
    /// Rounds of fine-tuning done.
    pub rounds: u64,
    /// `seen` at the end of the last round.
    pub seen_at_round: u64,
    /// Whether a round has begun and not ended: the next run begins with it.
    #[serde(default)]
    pub in_round: bool,
    /// Current adapter generation; 0 is the base.
    pub generation: u64,
    /// Synthesised questions kept.
    pub synth_kept: u64,
    /// Synthesised questions that the gate rejected.
    pub synth_rejected: u64,
    /// ROUGE-1 of the base on held-out dialogues.
    #[serde(default)]
    pub rouge1_before: Option<f64>,
    /// SHA-256 of those dialogues and of how replies to them were written.
    #[serde(default)]
    pub held_out_hash: String,
    /// What dialogues are scored by: the entropy and a hash of the lexicons.
    #[serde(default)]
    pub scoring: String,
}

impl Record {
    /// The record of a state that has seen nothing.
    pub fn new(base: Base, bins: usize, policy: &str, seed: u64) -> Self {
        Self {
            version: VERSION,
            base,
            bins,
            policy: policy.into(),
            seed,
            seen: 0,
            stream_seen: 0,
            stream_hash: String::new(),
            accepted: 0,
            dropped: 0,
            annotations: 0,
            new_annotations: 0,
            rounds: 0,
            seen_at_round: 0,
            in_round: false,
            generation: 0,
            synth_kept: 0,
            synth_rejected: 0,
            rouge1_before: None,
            held_out_hash: String::new(),
            scoring: String::new(),
        }
    }
}

/// An opened, locked state directory.
#[derive(Debug)]
pub struct State {
    root: PathBuf,
    /// What `state.json` says, or will say once [`save`](Self::save) is called.
    pub record: Record,
    _lock: Lock,
}

impl State {
    /// Locks `root` and reads its record.
    ///
    /// # Errors
    /// If there is no state, if it is in use, or if its record cannot be read.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let path = root.join("state.json");
        if !path.exists() {
            return Err(Error::Invalid {
                path,
                field: "file".into(),
                reason: "there is no state here; `homespun personalize` makes one".into(),
            });
        }
        let lock = Lock::take(root)?;
        let record = read_record(&path)?;
        let state = Self { root: root.into(), record, _lock: lock };
        state.sweep()?;
        Ok(state)
    }

    /// Opens the state in `root`, or starts one with `fresh` if there is none. `any_bins` takes the
    /// state's own number of bins whatever `fresh` says.
    ///
    /// # Errors
    /// As [`open`](Self::open); if the state belongs to another base, or has other bins or another
    /// policy; if the directory cannot be written.
    pub fn open_or_create(root: &Path, fresh: Record, any_bins: bool) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(Error::io(root))?;
        let path = root.join("state.json");
        let lock = Lock::take(root)?;
        if !path.exists() {
            let state = Self { root: root.into(), record: fresh, _lock: lock };
            state.save()?;
            return Ok(state);
        }
        let record = read_record(&path)?;
        let state = Self { root: root.into(), record, _lock: lock };
        state.expect_base(&fresh.base)?;
        state.sweep()?;
        for (field, ours, asked) in [
            ("bins", state.record.bins.to_string(), fresh.bins.to_string()),
            ("policy", state.record.policy.clone(), fresh.policy.clone()),
            ("scoring", state.record.scoring.clone(), fresh.scoring.clone()),
            ("seed", state.record.seed.to_string(), fresh.seed.to_string()),
        ] {
            if ours != asked && !(field == "bins" && any_bins) {
                let reason = format!("the state was made with {ours}, not {asked}");
                return Err(Error::Invalid { path, field: field.into(), reason });
            }
        }
        Ok(state)
    }

    /// Removes what writes that were cut left behind: it holds what the person said.
    fn sweep(&self) -> Result<(), Error> {
        let folders = [self.root.clone(), self.root.join("adapters"), self.training()];
        Ok(folders.iter().filter(|folder| folder.is_dir()).try_for_each(|f| durable::sweep(f))?)
    }

    /// Refuses another base than the state's.
    ///
    /// # Errors
    /// If a hash differs; the message names which.
    pub fn expect_base(&self, base: &Base) -> Result<(), Error> {
        let ours = &self.record.base;
        for (field, ours, theirs) in [
            ("base.weights", &ours.weights, &base.weights),
            ("base.tokenizer", &ours.tokenizer, &base.tokenizer),
            ("base.template", &ours.template, &base.template),
        ] {
            if ours != theirs {
                let hint = if field == "base.weights" {
                    " (a quantised copy is another model)"
                } else {
                    ""
                };
                return Err(Error::Invalid {
                    path: self.root.join("state.json"),
                    field: field.into(),
                    reason: format!("the state belongs to {ours}, the model is {theirs}{hint}"),
                });
            }
        }
        Ok(())
    }

    /// Writes `state.json`.
    ///
    /// # Errors
    /// If it cannot be written; the old one is then still there.
    pub fn save(&self) -> Result<(), Error> {
        let mut text =
            serde_json::to_string_pretty(&self.record).map_err(|error| Error::Invalid {
                path: self.root.join("state.json"),
                field: "record".into(),
                reason: error.to_string(),
            })?;
        text.push('\n');
        Ok(durable::write(&self.root.join("state.json"), text.as_bytes())?)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The sample buffer's flash image.
    pub fn samples(&self) -> PathBuf {
        self.root.join("samples.img")
    }

    /// The annotation queue.
    pub fn queue(&self) -> PathBuf {
        self.root.join("queue.jsonl")
    }

    /// Synthesised pairs with their lineage.
    pub fn synthesised(&self) -> PathBuf {
        self.root.join("synthesised.jsonl")
    }

    /// The checkpoint of an interrupted round.
    pub fn training(&self) -> PathBuf {
        self.root.join("training")
    }

    /// The folder of an adapter generation.
    pub fn adapter(&self, generation: u64) -> PathBuf {
        self.root.join("adapters").join(format!("{generation:04}"))
    }

    /// The current adapter, if a round has made one.
    pub fn current_adapter(&self) -> Option<PathBuf> {
        (self.record.generation > 0).then(|| self.adapter(self.record.generation))
    }
}

fn read_record(path: &Path) -> Result<Record, Error> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let record: Record = serde_json::from_str(&text).map_err(|error| Error::Invalid {
        path: path.into(),
        field: format!("line {}", error.line()),
        reason: error.to_string(),
    })?;
    if record.version != VERSION {
        return Err(Error::Invalid {
            path: path.into(),
            field: "version".into(),
            reason: format!("{} is not {VERSION}, which this program reads", record.version),
        });
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let hash = |s: &str| s.to_owned();
        let base = Base { weights: hash("w"), tokenizer: hash("t"), template: hash("c") };
        Record::new(base, 4, "quality", 7)
    }

    #[test]
    fn a_saved_state_opens_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::open_or_create(dir.path(), record(), false).unwrap();
        state.record.seen = 12;
        state.save().unwrap();
        drop(state);
        assert_eq!(State::open(dir.path()).unwrap().record.seen, 12);
    }

    #[test]
    fn a_second_user_is_told_the_first_ones_pid() {
        let dir = tempfile::tempdir().unwrap();
        let _state = State::open_or_create(dir.path(), record(), false).unwrap();
        let error = State::open(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("in use by pid {}", std::process::id())), "{error}");
    }

    #[test]
    fn another_base_is_refused_by_field() {
        let dir = tempfile::tempdir().unwrap();
        drop(State::open_or_create(dir.path(), record(), false).unwrap());
        let mut other = record();
        other.base.tokenizer = "x".into();
        let error = State::open_or_create(dir.path(), other, false).unwrap_err().to_string();
        assert!(error.contains("state.json: base.tokenizer"), "{error}");
    }

    #[test]
    fn a_broken_record_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("state.json"), "{\n\"version\": }").unwrap();
        let error = State::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("state.json: line 2"), "{error}");
    }

    #[test]
    fn an_unwritable_place_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error =
            State::open_or_create(&file.join("state"), record(), false).unwrap_err().to_string();
        assert!(error.contains("file/state"), "{error}");
    }
}
