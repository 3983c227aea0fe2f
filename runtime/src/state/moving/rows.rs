//! The dialogues of a buffer as rows of JSON.

use std::path::Path;

use homespun_core::select::{Domain, Scores};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::invalid;
use crate::dialogue::{Dialogue, Message, Role};
use crate::samples::file::{FileSamples, OpenError};
use crate::samples::{self, Embedding, Flags, Messages, RECORD_BYTES, Sample};
use crate::state::{Error, State, image};

/// A dialogue of the buffer with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its bin.
    pub bin: usize,
    /// Arrival number, which is its name too.
    pub arrival: u64,
    /// When the person was last asked, in the caller's clock.
    pub asked_at: u64,
    /// What the person did, as the buffer keeps it.
    pub flags: u16,
    /// Messages that had no room.
    pub lost_turns: u32,
    /// Entropy of its embedding.
    pub entropy: f32,
    /// Domain-specific score.
    pub domain_score: f32,
    /// Domain, in the order of the lexicons; 65,535 for none.
    pub domain: u16,
    /// In-domain dissimilarity.
    pub dissimilarity: f32,
    /// Tokens that were looked at.
    pub tokens: u32,
    /// What was said, oldest first.
    pub messages: Vec<Message>,
    /// What the reply should have been.
    pub preferred: Option<String>,
    /// `(D)`.
    pub embedding: Vec<f32>,
}

impl Row {
    /// What was said and preferred.
    pub fn dialogue(&self) -> Dialogue {
        Dialogue { preferred: self.preferred.clone(), ..Dialogue::new(self.messages.clone()) }
    }

    /// Other scores and another embedding.
    pub fn score(&mut self, scores: Scores, embedding: Vec<f32>) {
        let Scores { entropy, domain_score, domain, dissimilarity, tokens } = scores;
        (self.entropy, self.domain_score, self.domain) = (entropy, domain_score, domain.0);
        (self.dissimilarity, self.tokens, self.embedding) = (dissimilarity, tokens, embedding);
    }

    pub(super) fn put(&self, samples: &mut FileSamples, state: &State) -> Result<(), Error> {
        let messages: Vec<samples::Message<'_>> = self
            .messages
            .iter()
            .map(|m| samples::Message { role: m.role.as_str(), content: &m.content })
            .collect();
        let sample = Sample {
            id: self.arrival,
            arrival: self.arrival,
            scores: Scores {
                entropy: self.entropy,
                domain_score: self.domain_score,
                domain: Domain(self.domain),
                dissimilarity: self.dissimilarity,
                tokens: self.tokens,
            },
            flags: Flags::from_bits(self.flags),
            asked_at: self.asked_at,
            lost_turns: self.lost_turns,
            messages: Messages::Given(&messages),
            preferred: self.preferred.as_deref(),
            embedding: Embedding::Floats(&self.embedding),
        };
        let error = |error| OpenError::Samples { path: state.samples(), error };
        samples.put(self.bin, &sample).map_err(error)?;
        Ok(())
    }
}

/// The dialogues of a state's buffer, oldest put first; one that is damaged is left out.
pub(super) fn read(state: &State) -> Result<Vec<Row>, Error> {
    let mut samples = image::open(state.vault(), state.record.bins)?;
    let mut used: Vec<(u64, usize)> =
        samples.entries().map(|(bin, info)| (info.header().generation, bin)).collect();
    used.sort_unstable();
    let (mut record, mut rows) = (vec![0; RECORD_BYTES], Vec::new());
    for (_, bin) in used {
        let sample = match samples.read(bin, &mut record) {
            Err(samples::Error::Corrupt { .. }) => {
                eprintln!(
                    "{}: the record in bin {bin} is damaged and left out",
                    state.samples().display()
                );
                continue;
            }
            sample => {
                sample.map_err(|error| OpenError::Samples { path: state.samples(), error })?
            }
        };
        let Scores { entropy, domain_score, domain, dissimilarity, tokens } = sample.scores;
        let messages = sample.messages.iter();
        rows.push(Row {
            bin,
            arrival: sample.arrival,
            asked_at: sample.asked_at,
            flags: sample.flags.bits(),
            lost_turns: sample.lost_turns,
            entropy,
            domain_score,
            domain: domain.0,
            dissimilarity,
            tokens,
            messages: messages
                .map(|m| Message::new(Role::from_name(m.role).unwrap_or(Role::User), m.content))
                .collect(),
            preferred: sample.preferred.map(str::to_owned),
            embedding: sample.embedding.iter().collect(),
        });
    }
    Ok(rows)
}

/// Rows as JSON Lines.
pub(super) fn write(rows: &[Row]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::new());
    for row in rows {
        // Numbers and texts: there is nothing that cannot be written.
        if serde_json::to_writer(&mut *text, row).is_ok() {
            text.push(b'\n');
        }
    }
    text
}

/// The rows of JSON Lines. Errors do not quote what was said.
pub(super) fn parse(file: &Path, text: &[u8]) -> Result<Vec<Row>, Error> {
    let lines = text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(i, line)| {
            serde_json::from_slice(line).map_err(|error| {
                let at = format!("samples.jsonl, line {}", i + 1);
                invalid(
                    file,
                    &at,
                    format!("is no dialogue of a buffer, at column {}", error.column()),
                )
            })
        })
        .collect()
}
