//! The sample buffer with owned dialogues: what the rounds of a device with a file system use.

use std::collections::HashSet;

use homespun_core::select::Setting;
use homespun_core::select::policy::scratch_len;

use super::Selection;
use super::annotate::Question;
use super::score::Features;
use crate::dialogue::{Dialogue, Message, Role};
use crate::samples::file::{self, FileSamples, OpenError};
use crate::samples::{self, BinInfo, Embedding, Flags, Messages, Observed, RECORD_BYTES, Sample};
use crate::state::queue::Answer;
use crate::state::{State, image};

/// Why the buffer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A record of it.
    #[error("{path}: {source}")]
    Samples {
        /// The image.
        path: std::path::PathBuf,
        /// What is wrong.
        source: samples::Error<crate::flash::FileError>,
    },
}

impl Error {
    /// Whether a message was too long for a bin; the buffer is as it was.
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Samples { source: samples::Error::TooLong { .. }, .. })
    }
}

/// A buffered dialogue, owned.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Its bin.
    pub bin: usize,
    /// Arrival number.
    pub arrival: u64,
    /// Messages, and what the person preferred.
    pub dialogue: Dialogue,
    /// What the person did with it.
    pub flags: Flags,
    /// Messages that did not fit.
    pub lost_turns: u32,
}

impl Held {
    /// Whether the person answered, so that it is a target.
    pub fn is_annotated(&self) -> bool {
        self.flags.contains(Flags::ANNOTATED)
    }

    /// The last thing that the person said before the response.
    pub fn question_text(&self) -> &str {
        let mut before = self.dialogue.question().iter().rev();
        before.find(|message| message.role == Role::User).map_or("", |message| &message.content)
    }

    /// What the person is asked.
    pub fn question(&self) -> Question {
        Question {
            arrival: self.arrival,
            messages: self.dialogue.question().to_vec(),
            response: self.dialogue.response().unwrap_or_default().to_owned(),
        }
    }
}

/// Bytes of memory that a buffer takes: its index, a decision's scratch and one record. Dialogues and
/// their embeddings, of `dim` numbers each, stay in the image.
pub const fn bytes(bins: usize, dim: usize) -> usize {
    (bins + file::spare(bins)) * size_of::<BinInfo>()
        + size_of::<f32>() * scratch_len(bins, dim)
        + RECORD_BYTES
}

/// The buffer of a state directory.
pub struct Buffer {
    samples: FileSamples,
    path: std::path::PathBuf,
    scratch: Vec<f32>,
    record: Vec<u8>,
}

impl Buffer {
    /// Opens the image of `state`, or makes one with as many bins as its record says; `dim` is D.
    ///
    /// # Errors
    /// If the image cannot be made, or is no buffer of this geometry.
    pub fn open(state: &State, dim: usize) -> Result<Self, Error> {
        let (path, bins) = (state.samples(), state.record.bins);
        let samples = image::open(state.vault(), bins)?;
        let scratch = vec![0.0; scratch_len(samples.bins(), dim)];
        Ok(Self { samples, path, scratch, record: vec![0; RECORD_BYTES] })
    }

    /// How many bins there are.
    pub fn bins(&self) -> usize {
        self.samples.bins()
    }

    /// How many bins wait for an annotation.
    pub fn unannotated(&self) -> usize {
        let done =
            |flags: Flags| flags.contains(Flags::ANNOTATED) || flags.contains(Flags::SKIPPED);
        self.samples.entries().filter(|(_, info)| !done(info.header().flags)).count()
    }

    /// One more than the last arrival that is in the buffer.
    pub fn next_arrival(&self) -> u64 {
        self.samples.entries().map(|(_, info)| info.header().arrival + 1).max().unwrap_or(0)
    }

    /// IDD of `features` against the buffer.
    ///
    /// # Errors
    /// If an embedding cannot be read.
    pub fn dissimilarity(&mut self, features: &Features) -> Result<f32, Error> {
        let Self { samples, path, scratch, .. } = self;
        samples
            .dissimilarity(features.scores.domain, &features.embedding, scratch)
            .map_err(|source| Error::Samples { path: path.clone(), source })
    }

    /// Offers a dialogue.
    ///
    /// # Errors
    /// If the image cannot be read or written; the buffer is then as it was.
    pub fn observe(
        &mut self,
        selection: &Selection,
        seed: u64,
        arrival: u64,
        dialogue: &Dialogue,
        features: &Features,
    ) -> Result<Observed, Error> {
        let messages = lend(&dialogue.messages);
        let sample = Sample {
            id: arrival,
            arrival,
            scores: features.scores,
            messages: Messages::Given(&messages),
            ..Sample::default()
        };
        let Self { samples, path, scratch, .. } = self;
        let mut setting = Setting { seed, frozen: selection.frozen, scratch };
        samples
            .observe(selection.policy, &sample, &features.embedding, &mut setting)
            .map_err(|source| Error::Samples { path: path.clone(), source })
    }

    /// Puts a dialogue into a bin whatever the policy says: a free one, or that of the oldest dialogue
    /// that the person said nothing of, or accepted, or corrected. Gives the bin, and whether it was
    /// free.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub fn keep(
        &mut self,
        arrival: u64,
        dialogue: &Dialogue,
        features: &Features,
    ) -> Result<(usize, bool), Error> {
        let used: HashSet<usize> = self.entries().map(|(bin, _)| bin).collect();
        let free = (0..self.bins()).find(|bin| !used.contains(bin));
        let worth =
            |flags: Flags| [Flags::ANNOTATED, Flags::CORRECTED].map(|flag| flags.contains(flag));
        let oldest = self
            .entries()
            .min_by_key(|(_, header)| (worth(header.flags), header.arrival))
            .map_or(0, |(bin, _)| bin);
        let bin = free.unwrap_or(oldest);
        let mut scores = features.scores;
        scores.dissimilarity = self.dissimilarity(features)?;
        let messages = lend(&dialogue.messages);
        let sample = Sample {
            id: arrival,
            arrival,
            scores,
            messages: Messages::Given(&messages),
            embedding: Embedding::Floats(&features.embedding),
            ..Sample::default()
        };
        let Self { samples, path, .. } = self;
        let put = samples.put(bin, &sample);
        put.map_err(|source| Error::Samples { path: path.clone(), source })?;
        Ok((bin, free.is_some()))
    }

    /// What is in `bin`.
    ///
    /// # Errors
    /// If the bin is free or its record is corrupt.
    pub fn read(&mut self, bin: usize) -> Result<Held, Error> {
        let Self { samples, path, record, .. } = self;
        let sample = samples
            .read(bin, record)
            .map_err(|source| Error::Samples { path: path.clone(), source })?;
        let messages = sample.messages.iter().map(|message| {
            // A record holds the roles that dialogues have; what else it says, the user said.
            let role = Role::from_name(message.role).unwrap_or(Role::User);
            Message::new(role, message.content)
        });
        let dialogue = Dialogue {
            messages: messages.collect(),
            preferred: sample.preferred.map(str::to_owned),
            id: None,
        };
        let (arrival, flags) = (sample.arrival, sample.flags);
        Ok(Held { bin, arrival, dialogue, flags, lost_turns: sample.lost_turns })
    }

    /// Everything in the buffer, by bin; a corrupt record is left out and `say` hears of it.
    pub fn read_all(&mut self, mut say: impl FnMut(&Error)) -> Vec<Held> {
        let bins: Vec<usize> = self.samples.entries().map(|(bin, _)| bin).collect();
        let mut held = Vec::with_capacity(bins.len());
        for bin in bins {
            match self.read(bin) {
                Ok(one) => held.push(one),
                Err(error) => say(&error),
            }
        }
        held
    }

    /// What the index knows of each bin in use: bin and header.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &samples::header::Header)> {
        self.samples.entries().map(|(bin, info)| (bin, info.header()))
    }

    /// Writes the person's answer to `held` into its bin.
    ///
    /// # Errors
    /// If the bin cannot be read or written; it then holds what it held.
    pub fn annotate(&mut self, held: &Held, answer: &Answer) -> Result<(), Error> {
        let answer = match answer {
            Answer::Accept => samples::Answer::Accept,
            Answer::Preferred(text) => samples::Answer::Preferred(text),
            Answer::Skip => samples::Answer::Skip,
        };
        let Self { samples, path, record, .. } = self;
        let answered = samples.answer(held.bin, answer, record);
        answered.map_err(|source| Error::Samples { path: path.clone(), source })
    }
}

impl Buffer {
    /// [`annotate`](Self::annotate), where an answer that does not fit its bin counts as a skip and
    /// is told. Gives whether there is something to learn now.
    ///
    /// # Errors
    /// If the bin cannot be read or written; it then holds what it held.
    pub fn annotate_or_skip(&mut self, held: &Held, answer: &Answer) -> Result<bool, Error> {
        match self.annotate(held, answer) {
            Err(error) if error.is_too_long() => {
                eprintln!("bin {}: {error}; the answer is not learned", held.bin);
                self.annotate(held, &Answer::Skip)?;
                Ok(false)
            }
            annotated => annotated.map(|()| *answer != Answer::Skip),
        }
    }
}

/// Messages as a record takes them.
fn lend(messages: &[Message]) -> Vec<samples::Message<'_>> {
    messages
        .iter()
        .map(|m| samples::Message { role: m.role.as_str(), content: &m.content })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Base;
    use crate::state::Record;
    use crate::state::vault::Keys;

    #[test]
    fn a_buffer_has_as_many_bytes_as_were_foretold() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::new(Base::builtin(None).unwrap().hashes(), 9, "quality", 0);
        let state = State::open_or_create(folder.path(), record, false, &Keys::Plain).unwrap();
        let buffer = Buffer::open(&state, 96).unwrap();
        let written = size_of_val(&*buffer.scratch) + buffer.record.len();
        let (_, index) = buffer.samples.into_parts();
        assert_eq!(written + size_of_val(&*index), bytes(9, 96));
    }

    #[test]
    fn a_bin_tells_a_correction_from_a_reply_that_was_good_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::new(Base::builtin(None).unwrap().hashes(), 4, "rehearse", 0);
        let state = State::open_or_create(folder.path(), record, false, &Keys::Plain).unwrap();
        let mut buffer = Buffer::open(&state, 2).unwrap();
        let messages =
            vec![Message::new(Role::User, "Tea?"), Message::new(Role::Assistant, "Any.")];
        let dialogue = Dialogue::new(messages);
        let policy = homespun_core::select::Policy::named("rehearse").unwrap();
        let lexicons = crate::lexicon::Table::default();
        let scoring = homespun_core::select::Scoring::default();
        let selection = Selection { policy, lexicons: &lexicons, scoring, frozen: false };
        let features = Features { scores: Default::default(), embedding: vec![1.0, 0.5] };
        let preferred = |text: &str| Answer::Preferred(text.to_owned());
        let answers = [Answer::Accept, preferred("Any. "), preferred("Mint."), Answer::Skip];
        for (arrival, answer) in (0..).zip(&answers) {
            buffer.observe(&selection, 0, arrival, &dialogue, &features).unwrap();
            let held = buffer.read(arrival as usize).unwrap();
            buffer.annotate(&held, answer).unwrap();
        }
        let corrected = |header: &samples::header::Header| header.flags.contains(Flags::CORRECTED);
        let flags: Vec<bool> = buffer.entries().map(|(_, header)| corrected(header)).collect();
        assert_eq!(flags, [false, false, true, false]);
    }
}
