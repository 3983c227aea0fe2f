//! What an experiment computes with: its streams, what they are judged by, and the hashes of all of it.
//!
//! Everything is read and checked here, before any work: lines, parts, overlaps, sizes.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use super::spec::{Source, Spec, StreamSpec};
use super::split::{self, Part};
use crate::builtin;
use crate::chat::Loss;
use crate::dialogue::{self, Dialogue, Message, Role};
use crate::engine::Base;
use crate::lexicon::Table;
use crate::personalize::score;
use crate::state;
use crate::tune::{self, Example};

/// Dialogues with a target that a stream needs, so that a tenth can be held out in its rounds.
const LEAST_STREAM: usize = 10;
/// Held-out dialogues that can be judged.
const LEAST_HELD_OUT: usize = 2;

/// What tells a stream's results from others'.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// SHA-256 of the stream's dialogues as they come.
    pub stream: String,
    /// Of the dialogues that it is judged by.
    pub held_out: String,
    /// How dialogues are scored: the entropy, the embedding and a hash of the lexicons.
    pub scoring: String,
}

/// A stream and what it is judged by.
pub struct Stream {
    /// Its name.
    pub name: String,
    /// The dialogues.
    pub dialogues: Vec<Dialogue>,
    /// What it is judged by: dialogues with a reply.
    pub held_out: Vec<Dialogue>,
    /// Which part is held out: `development`, `test` or `held_out`.
    pub part: &'static str,
    /// Its lexicons.
    pub lexicons: Table,
    /// See there.
    pub hashes: Hashes,
}

/// All that is read.
pub struct World {
    /// The streams.
    pub streams: Vec<Stream>,
    /// General dialogues, rendered.
    pub general: Vec<Example>,
    /// SHA-256 of the general dialogues, or empty.
    pub general_hash: String,
    /// Hashes of the model.
    pub model: state::Base,
    /// The kernels' name.
    pub isa: &'static str,
}

impl World {
    /// Reads all that `spec` names.
    ///
    /// # Errors
    /// If a file cannot be read, a part is too small, or a stream and its held-out part share a text.
    pub fn load(spec: &Spec, base: &Base, isa: &'static str) -> Result<Self, Error> {
        let mut streams = Vec::with_capacity(spec.streams.len());
        for stream in &spec.streams {
            streams.push(load(spec, stream, base)?);
        }
        let general = match &spec.general {
            Some(path) => {
                let (dialogues, _) = dialogue::read_jsonl(path, true)?;
                let dialogues = judged(spec, dialogues, base);
                if dialogues.is_empty() {
                    let problem = format!("{} has no reply to compare with", path.display());
                    return Err(Error::key(&spec.file, "general", problem));
                }
                split::sample(dialogues, spec.evaluate_general)
            }
            None => Vec::new(),
        };
        let general_hash = if general.is_empty() { String::new() } else { hash(&general) };
        let general = tune::prepare(base, &general, Loss::Response, spec.plan.max_length, |_| {})?;
        Ok(Self { streams, general, general_hash, model: base.hashes(), isa })
    }
}

fn load(spec: &Spec, stream: &StreamSpec, base: &Base) -> Result<Stream, Error> {
    let key = |what: &str| format!("streams.{what} of {:?}", stream.name);
    let read = |path: &Path| Ok::<_, Error>(dialogue::read_jsonl(path, true)?.0);
    let (mut dialogues, held_out, part) = match &stream.source {
        Source::BuiltIn(seed, questions) => {
            let size = builtin::Size { held_out: *questions, ..builtin::Size::DEFAULT };
            let user = builtin::stream(*seed, size);
            (user.dialogues, user.held_out, "held_out")
        }
        Source::Files(file, held_out) => (read(file)?, read(held_out)?, "held_out"),
        Source::Split(file, share) => {
            let [stream, development, test] = split::split(read(file)?, *share);
            match if spec.test { Part::Test } else { Part::Development } {
                Part::Test => (stream, test, "test"),
                Part::Stream | Part::Development => (stream, development, "development"),
            }
        }
    };
    // Against all of the stream, also what `first` leaves out.
    if let Some((held, seen)) = split::overlap(&dialogues, &held_out) {
        let problem = format!(
            "{} that is held out is {} of the stream, word for word",
            split::name(&held_out[held], held),
            split::name(&dialogues[seen], seen)
        );
        return Err(Error::key(&spec.file, key("held_out"), problem));
    }
    dialogues.truncate(stream.first.unwrap_or(usize::MAX));
    let targets = dialogues.iter().filter(|d| d.target_response().is_some()).count();
    let least = LEAST_STREAM.max(spec.rounds);
    if targets < least {
        let problem =
            format!("the stream has {targets} dialogues with a reply; {least} are needed");
        return Err(Error::key(&spec.file, key("file"), problem));
    }
    let held_out = split::sample(judged(spec, held_out, base), spec.evaluate);
    if held_out.len() < LEAST_HELD_OUT {
        let problem = format!(
            "its {part} part has {} dialogues with a reply; {LEAST_HELD_OUT} are needed",
            held_out.len()
        );
        return Err(Error::key(&spec.file, key("file"), problem));
    }
    let lexicons = match &stream.lexicons {
        Some(path) => Table::open(path)?,
        None => Table::built_in(),
    };
    let hashes = Hashes {
        stream: hash(&dialogues),
        held_out: hash(&held_out),
        scoring: score::fingerprint(spec.scoring, &lexicons),
    };
    Ok(Stream { name: stream.name.clone(), dialogues, held_out, part, lexicons, hashes })
}

/// Those that have a reply and that the template takes.
fn judged(spec: &Spec, mut dialogues: Vec<Dialogue>, base: &Base) -> Vec<Dialogue> {
    dialogues.retain(|dialogue| {
        dialogue.target_response().is_some()
            && base.prompt(dialogue.question(), spec.plan.max_length).is_ok()
    });
    dialogues
}

/// SHA-256 of dialogues as they come.
fn hash(dialogues: &[Dialogue]) -> String {
    let mut hash = Sha256::new();
    dialogues.iter().for_each(|dialogue| hash.update(dialogue.to_json() + "\n"));
    format!("{:x}", hash.finalize())
}

/// The stream with its replies dealt out anew: each dialogue with a reply prefers what another was to
/// be answered. Scores and the policy see the dialogues as they were.
pub fn shuffled(dialogues: &[Dialogue], seed: u64) -> Vec<Dialogue> {
    let mut replies: Vec<String> =
        dialogues.iter().filter_map(|d| Some(d.target_response()?.to_owned())).collect();
    homespun_core::rng::Rng::new(homespun_core::rng::hash(&[seed, 0x5AFE])).shuffle(&mut replies);
    let mut replies = replies.into_iter();
    dialogues
        .iter()
        .map(|dialogue| match dialogue.target_response() {
            Some(_) => Dialogue { preferred: replies.next(), ..dialogue.clone() },
            None => dialogue.clone(),
        })
        .collect()
}

/// The stream's parts: where each round's last dialogue ends, from 1 on, equal to one dialogue.
pub fn cuts(dialogues: usize, rounds: usize) -> Vec<usize> {
    (1..=rounds).map(|round| dialogues * round / rounds).collect()
}

/// The last thing that the user says before the reply.
pub fn last_question(dialogue: &Dialogue) -> &str {
    let of_user = |message: &&Message| message.role == Role::User;
    dialogue.question().iter().rev().find(of_user).map_or("", |message| &message.content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_annotations_are_the_same_ones_on_other_dialogues() {
        let stream = builtin::stream(3, builtin::Size::QUICK).dialogues;
        let dealt = shuffled(&stream, 1);
        let sorted = |dialogues: &[Dialogue]| {
            let mut all: Vec<_> = dialogues.iter().map(|d| d.target_response().unwrap()).collect();
            all.sort_unstable();
            all.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(sorted(&stream), sorted(&dealt));
        let moved = stream.iter().zip(&dealt).filter(|(a, b)| a.preferred != b.preferred).count();
        assert!(moved > stream.len() / 2, "{moved}");
        assert!(stream.iter().zip(&dealt).all(|(a, b)| a.messages == b.messages));
        assert_eq!(dealt, shuffled(&stream, 1));
        assert_ne!(dealt, shuffled(&stream, 2));
    }

    #[test]
    fn a_stream_is_cut_into_equal_parts_to_its_end() {
        assert_eq!(cuts(10, 3), [3, 6, 10]);
        assert_eq!(cuts(5, 5), [1, 2, 3, 4, 5]);
    }
}
