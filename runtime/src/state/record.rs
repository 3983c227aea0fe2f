//! `state.json`: what a state was made with, and where its stream stands.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::forget::Pending;
use super::vault::Vault;
use super::{Error, RECORD};

/// The layout that is written; 1 is the same, plain, and is read too.
pub(super) const VERSION: u32 = 2;

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
    /// The newest adapter generation; 0 is the base. It never goes back.
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
    /// The generation at which the adapter started again from the base.
    #[serde(default)]
    pub restarted_at: u64,
    /// The generation that is used, where that is not the newest; 0 is the base.
    #[serde(default)]
    pub using: Option<u64>,
    /// The key of the hashes of what adapters saw; empty before the first.
    #[serde(default)]
    pub seen_key: String,
    /// A forgetting that has begun.
    #[serde(default)]
    pub forgetting: Option<Pending>,
    /// The name of the key that still seals some files; empty where none does.
    #[serde(default)]
    pub previous_key: String,
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
            restarted_at: 0,
            using: None,
            seen_key: String::new(),
            forgetting: None,
            previous_key: String::new(),
        }
    }

    /// Refuses another base than the record's, in a message that names `path`.
    ///
    /// # Errors
    /// If a hash differs; the message names which.
    pub(crate) fn expect_base(&self, path: &Path, base: &Base) -> Result<(), Error> {
        let ours = &self.base;
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
                    path: path.into(),
                    field: field.into(),
                    reason: format!("the state belongs to {ours}, the model is {theirs}{hint}"),
                });
            }
        }
        Ok(())
    }

    /// The record in `vault`.
    ///
    /// # Errors
    /// If it is not there, or not what this program or one before wrote.
    pub(super) fn read(vault: &Vault) -> Result<Self, Error> {
        let path = vault.path(RECORD);
        let missing = || Error::io(&path)(std::io::ErrorKind::NotFound.into());
        let text = vault.read(RECORD)?.ok_or_else(missing)?;
        let record: Self = serde_json::from_slice(&text).map_err(|error| Error::Invalid {
            path: path.clone(),
            field: format!("line {}", error.line()),
            reason: error.to_string(),
        })?;
        if !(1..=VERSION).contains(&record.version) {
            return Err(Error::Invalid {
                path,
                field: "version".into(),
                reason: format!("{} is not {VERSION}, which this program reads", record.version),
            });
        }
        Ok(record)
    }

    /// Replaces the record in `vault`.
    ///
    /// # Errors
    /// If it cannot be written; the old one is then still there.
    pub(super) fn write(&self, vault: &Vault) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| Error::Invalid {
            path: vault.path(RECORD),
            field: "record".into(),
            reason: error.to_string(),
        })?;
        text.push('\n');
        Ok(vault.write(RECORD, text.as_bytes())?)
    }
}
