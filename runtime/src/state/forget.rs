//! Forgetting: what a person takes back is gone from the state, and from what was learned of it.
//!
//! ```text
//! 1 find     samples by domain, text or number; requests and synthesised questions of theirs, or with
//!            the text; the adapter, if it saw one of them or may have
//! 2 note     the numbers in state.json: cut from here on, the next opening goes on
//! 3 remove   bins, lines, adapters, checkpoint
//! 4 new key  state.json under a new key; every file and record sealed anew; all other slots of the
//!            image erased; the old key taken out of the key file
//! ```
//! What a medium may still hold: blocks of files that were replaced, and, below a flash translation
//! layer, older copies of any block. All of it was sealed with the key that is gone. It stays readable
//! to who has a copy of the key file, and a plain state (made without a key) leaves it in the clear.

use std::collections::BTreeSet;
use std::fs;

use homespun_core::select::Domain;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::queue::{self, Answer, Request};
use super::seen::Seen;
use super::vault::Keys;
use super::{
    Error, Record, SYNTHESISED, State, TRAINING, asks, image, read_json_lines, rounds, upgrade,
    write_json_lines,
};
use crate::samples::file::{FileSamples, OpenError};
use crate::samples::{self, Flags, RECORD_BYTES, Sample};

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Dialogues of a domain.
    Domain(Domain),
    /// Dialogues that hold a text, in any case of letters.
    Matching(String),
    /// Dialogues by their arrival numbers, those that left the buffer too.
    Ids(Vec<u64>),
    /// Everything.
    All,
}

/// A forgetting that has begun: in the record until all of it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    arrivals: BTreeSet<u64>,
    all: bool,
    /// Whether the adapter starts again from the base.
    restart: bool,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Dialogues of the buffer.
    pub samples: usize,
    /// Synthesised questions.
    pub variants: usize,
    /// Requests that waited for an answer, or were answered.
    pub requests: usize,
    /// Adapter generations.
    pub adapters: u64,
    /// Dialogues that the adapter had learned from.
    pub learned_from: usize,
    /// Of those, the ones that are in the buffer still, to be learned from again.
    pub remain: usize,
}

impl Forgotten {
    /// Whether there was nothing to forget.
    pub fn is_nothing(&self) -> bool {
        (self.samples, self.variants, self.requests, self.adapters) == (0, 0, 0, 0)
    }
}

impl State {
    /// Forgets, and changes the key of a key file. Says what it was; nothing changes where there is
    /// nothing of it.
    ///
    /// # Errors
    /// If a file cannot be read or written. What was begun is ended by the next opening.
    pub fn forget(&mut self, what: &What, keys: &Keys) -> Result<Forgotten, Error> {
        let mut samples = image::open(self.vault(), self.record.bins)?;
        let (arrivals, kept) = find(self, &mut samples, what)?;
        drop(samples);
        let all = *what == What::All;
        let mut forgotten = Forgotten { samples: arrivals.len(), ..Forgotten::default() };
        let named = match what {
            What::Ids(ids) => arrivals.iter().chain(ids).copied().collect(),
            _ => arrivals,
        };
        let (requests, left) = self.requests(what, &named)?;
        let (variants, rows) = self.variants(what, &named)?;
        (forgotten.requests, forgotten.variants) = (requests, variants);
        let restart = self.adapter_knows(what, &named, &kept, &mut forgotten)?;
        forgotten.adapters = if restart { self.generations()?.len() as u64 } else { 0 };
        if forgotten.is_nothing() && !all {
            return Ok(forgotten);
        }
        queue::write(self.vault(), &left)?;
        write_json_lines(self.vault(), SYNTHESISED, &rows)?;
        asks::forget(self.vault(), &named)?;
        rounds::forget(self.vault(), &named, restart, |one| {
            what.holds([&*one.question, &*one.wanted, &*one.before, &*one.after])
        })?;
        self.record.forgetting = Some(Pending { arrivals: named, all, restart });
        self.save()?;
        self.go_on(keys)?;
        Ok(forgotten)
    }

    /// Ends what a cut left half done: a forgetting, and a change of the key.
    pub(super) fn go_on(&mut self, keys: &Keys) -> Result<(), Error> {
        if let Some(pending) = self.record.forgetting.clone() {
            self.remove(&pending)?;
            self.record.forgetting = None;
            if !self.change_key(keys)? {
                self.save()?;
            }
        }
        self.end_key_change(keys)
    }

    /// Removes what is to be forgotten; again after a cut.
    fn remove(&mut self, pending: &Pending) -> Result<(), Error> {
        let gone = |arrival: u64| pending.all || pending.arrivals.contains(&arrival);
        let mut samples = image::open(self.vault(), self.record.bins)?;
        let at = |error| at(self, error);
        let used: Vec<(usize, u64, Flags)> = samples
            .entries()
            .map(|(bin, info)| (bin, info.header().arrival, info.header().flags))
            .collect();
        let folder = self.current_adapter().filter(|_| !pending.restart && !pending.all);
        let seen = folder.map(|folder| Seen::read(self.vault(), &folder)).transpose()?.flatten();
        let seen = seen.unwrap_or_default();
        let mut unlearned = 0;
        for (bin, arrival, flags) in used {
            if gone(arrival) {
                samples.remove(bin).map_err(at)?;
            } else {
                let learned = seen.has(&self.record, arrival);
                unlearned += u64::from(flags.contains(Flags::ANNOTATED) && !learned);
            }
        }
        samples.wipe().map_err(at)?;
        drop(samples);
        let (_, left) = self.requests(&What::Ids(Vec::new()), &pending.arrivals)?;
        queue::write(self.vault(), if pending.all { &[] } else { &left })?;
        let (_, rows) = self.variants(&What::Ids(Vec::new()), &pending.arrivals)?;
        write_json_lines(self.vault(), SYNTHESISED, if pending.all { &[] } else { &rows })?;
        asks::forget(self.vault(), &pending.arrivals)?;
        rounds::forget(self.vault(), &pending.arrivals, pending.restart, |_| false)?;
        if pending.all {
            write_json_lines::<()>(self.vault(), asks::ASKS, &[])?;
            write_json_lines::<()>(self.vault(), rounds::ROUNDS, &[])?;
        }
        // A round that was cut may have learned from it: its checkpoint, and a folder that the record
        // does not count.
        self.remove_folder(TRAINING)?;
        let counted = self.generations()?;
        let counted: Vec<String> = counted.into_iter().map(|one| self.adapter(one)).collect();
        let all = pending.restart || pending.all;
        for folder in upgrade::generations(self.root())? {
            if all || !counted.contains(&folder) {
                self.remove_folder(&folder)?;
            }
        }
        self.record.new_annotations = self.record.new_annotations.min(unlearned);
        if all {
            let record = &mut self.record;
            record.restarted_at = record.generation;
            record.using = None;
            record.seen_key.clear();
            record.in_round = false;
            record.new_annotations = unlearned;
        }
        if pending.all {
            let old = &self.record;
            let fresh = Record::new(old.base.clone(), old.bins, &old.policy, old.seed);
            self.record = Record {
                scoring: old.scoring.clone(),
                generation: old.generation,
                restarted_at: old.generation,
                ..fresh
            };
        }
        Ok(())
    }

    fn remove_folder(&self, name: &str) -> Result<(), Error> {
        let folder = self.vault().path(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        Ok(())
    }

    /// The requests that are forgotten, counted, and those that stay.
    fn requests(
        &self,
        what: &What,
        arrivals: &BTreeSet<u64>,
    ) -> Result<(usize, Vec<Request>), Error> {
        let all = queue::read(self.vault())?;
        let count = all.len();
        let left: Vec<Request> = all
            .into_iter()
            .filter(|request| {
                let mut texts: Vec<&str> =
                    request.messages.iter().map(|message| message.content.as_str()).collect();
                texts.push(&request.response);
                if let Some(Answer::Preferred(text)) = &request.answer {
                    texts.push(text);
                }
                !arrivals.contains(&request.arrival) && !what.holds(texts) && *what != What::All
            })
            .collect();
        Ok((count - left.len(), left))
    }

    /// The synthesised questions that are forgotten, counted, and the rows that stay.
    fn variants(
        &self,
        what: &What,
        arrivals: &BTreeSet<u64>,
    ) -> Result<(usize, Vec<Value>), Error> {
        let mut rows: Vec<Value> = read_json_lines(self.vault(), SYNTHESISED)?;
        let variants = |row: &Value| row["variants"].as_array().map_or(0, Vec::len);
        let before: usize = rows.iter().map(variants).sum();
        rows.retain(|row| {
            let arrival = row["arrival"].as_u64();
            !arrival.is_some_and(|arrival| arrivals.contains(&arrival)) && *what != What::All
        });
        for row in &mut rows {
            if let Some(variants) = row["variants"].as_array_mut() {
                variants.retain(|variant| !what.holds(strings(variant)));
            }
        }
        Ok((before - rows.iter().map(variants).sum::<usize>(), rows))
    }

    /// Whether the adapter learned from what is to be forgotten, or may have: of dialogues that left
    /// the buffer neither the text nor the domain is known any more.
    fn adapter_knows(
        &self,
        what: &What,
        arrivals: &BTreeSet<u64>,
        kept: &BTreeSet<u64>,
        forgotten: &mut Forgotten,
    ) -> Result<bool, Error> {
        let mut seen = Seen::default();
        let generations = self.generations()?;
        for &generation in &generations {
            match Seen::read(self.vault(), &self.adapter(generation))? {
                Some(one) => seen.join(one),
                None => return Ok(true),
            }
        }
        if generations.is_empty() {
            return Ok(false);
        }
        let has = |arrival: &&u64| seen.has(&self.record, **arrival);
        let here = arrivals.iter().chain(kept).collect::<BTreeSet<_>>();
        let still_here = here.into_iter().filter(has).count();
        forgotten.learned_from = seen.len();
        forgotten.remain =
            kept.iter().filter(|arrival| !arrivals.contains(arrival)).filter(has).count();
        Ok(match what {
            What::All => true,
            What::Ids(_) => arrivals.iter().any(|arrival| has(&arrival)),
            What::Domain(_) | What::Matching(_) => {
                arrivals.iter().any(|arrival| has(&arrival)) || still_here < seen.len()
            }
        })
    }
}

impl What {
    /// Whether one of `texts` holds the text that is to be forgotten.
    fn holds<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> bool {
        let What::Matching(text) = self else { return false };
        let text = text.to_lowercase();
        texts.into_iter().any(|one| one.to_lowercase().contains(&text))
    }
}

/// The arrivals of buffered dialogues that are to be forgotten, and of those that stay.
fn find(
    state: &State,
    samples: &mut FileSamples,
    what: &What,
) -> Result<(BTreeSet<u64>, BTreeSet<u64>), Error> {
    let (mut gone, mut kept) = (BTreeSet::new(), BTreeSet::new());
    let mut record = vec![0; RECORD_BYTES];
    let used: Vec<_> = samples.entries().map(|(bin, info)| (bin, *info.header())).collect();
    for (bin, header) in used {
        let matches = match what {
            What::All => true,
            What::Ids(ids) => ids.contains(&header.arrival),
            What::Domain(domain) => header.scores.domain == *domain,
            What::Matching(_) => match samples.read(bin, &mut record) {
                Ok(sample) => what.holds(texts(&sample)),
                // Nobody can read it, so nobody can say that it does not hold the text.
                Err(samples::Error::Corrupt { .. }) => true,
                Err(error) => return Err(at(state, error)),
            },
        };
        if matches { &mut gone } else { &mut kept }.insert(header.arrival);
    }
    Ok((gone, kept))
}

fn texts<'s>(sample: &Sample<'s>) -> Vec<&'s str> {
    let messages = sample.messages.iter().map(|message| message.content);
    messages.chain(sample.preferred).collect()
}

/// Every text in a JSON value.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn at(state: &State, error: samples::Error<crate::flash::FileError>) -> Error {
    Error::Samples(OpenError::Samples { path: state.samples(), error })
}
