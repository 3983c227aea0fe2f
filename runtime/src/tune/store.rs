//! Where an interrupted run is kept: two generations of its checkpoint in a folder of its own.
//!
//! ```text
//! FOLDER/checkpoint.0   each whole, written beside and renamed; the next one replaces the older,
//!        checkpoint.1   so that one is there whatever happens to the newer
//! ```
//! The one of the higher number is loaded, the other if that one is damaged. Those of a state are sealed,
//! those of `train` plain.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Trainer;
use super::checkpoint::{self, Found, Header};
use crate::durable::{self, Before, go_on};
use crate::engine;
use crate::state::vault::Vault;

/// The files, of the even and of the odd numbers.
pub(crate) const FILES: [&str; 2] = ["checkpoint.0", "checkpoint.1"];

/// Why a run cannot go on from a folder, or a checkpoint cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// A file cannot be read any more, or not be removed.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The checkpoint is of a run with something else.
    #[error("{}: the training that was interrupted had {what}", folder.display())]
    OtherRun {
        /// The folder.
        folder: PathBuf,
        /// What.
        what: &'static str,
    },
    /// The checkpoint was computed with other kernels, which round differently.
    #[error(
        "{}: the training that was interrupted ran with --isa {theirs}, this one runs with {ours}, \
         which ends in other bits; --any-isa goes on all the same",
        folder.display()
    )]
    OtherIsa {
        /// The folder.
        folder: PathBuf,
        /// The kernels of the checkpoint.
        theirs: String,
        /// The kernels of this run.
        ours: String,
    },
    /// There is less memory than when the run began.
    #[error("{}: the training that was interrupted cannot go on in the same pieces", folder.display())]
    Plan {
        /// The folder.
        folder: PathBuf,
        /// How much is needed.
        source: engine::Error,
    },
    /// There are checkpoints and none is whole.
    #[error("{}: no checkpoint is whole: {what}", folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with each file.
        what: String,
    },
}

impl Error {
    /// Whether there is something to go on from that this run cannot go on from.
    pub fn is_of_another(&self) -> bool {
        matches!(self, Error::OtherRun { .. } | Error::Damaged { .. })
    }
}

/// How a round judges what it has so far; nothing, in a plain run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged<'a> {
    /// The best parameters so far and their loss.
    pub best: Option<(f64, &'a [f32])>,
    /// Epochs since then.
    pub waited: u64,
}

/// What a run goes on from, beside what the trainer took.
#[derive(Clone, Debug, PartialEq)]
pub struct Resumed {
    /// The best parameters and their loss, where they were judged.
    pub best: Option<(f64, Vec<f32>)>,
    /// Epochs since then.
    pub waited: u64,
    /// What is wrong with the other generation, if it is damaged.
    pub damaged: Option<String>,
    /// The kernels that computed it, if they were others.
    pub other_isa: Option<String>,
}

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Steps that it has behind it.
    pub steps: u64,
    /// What decides its order of additions, as [`Trainer::plan_words`].
    pub plan: Vec<u64>,
}

/// The two generations in a folder.
#[derive(Debug)]
pub struct Store {
    /// Its files: `folder` and a name each.
    vault: Vault,
    /// What the folder is called in the vault; nothing, where it is all of it.
    folder: String,
    /// What tells the model from others.
    model: String,
    /// The next checkpoint's number and file.
    number: u64,
    slot: usize,
    made: bool,
}

impl Store {
    /// The store in `folder`, which is made with the first checkpoint; `model` tells the model of the
    /// run from any other.
    pub fn new(folder: &Path, model: String) -> Self {
        Self::sealed(&Vault::plain(folder), "", model)
    }

    /// The store in the folder that `vault` calls `folder`.
    pub fn sealed(vault: &Vault, folder: &str, model: String) -> Self {
        let (vault, folder) = (vault.clone(), folder.to_owned());
        Self { vault, folder, model, number: 0, slot: 0, made: false }
    }

    /// Where it is.
    pub fn folder(&self) -> PathBuf {
        if self.folder.is_empty() {
            self.vault.root().to_owned()
        } else {
            self.vault.path(&self.folder)
        }
    }

    /// What the vault calls a file.
    fn name(&self, slot: usize) -> String {
        let file = FILES[slot];
        if self.folder.is_empty() { file.to_owned() } else { format!("{}/{file}", self.folder) }
    }

    /// Writes a checkpoint in place of the older one.
    ///
    /// # Errors
    /// If it cannot be written; the newer one is then still there.
    pub fn save(&mut self, trainer: &Trainer, judged: Judged<'_>) -> Result<(), Error> {
        self.save_steps(trainer, judged, &mut go_on)
    }

    pub(super) fn save_steps(
        &mut self,
        trainer: &Trainer,
        judged: Judged<'_>,
        before: Before<'_>,
    ) -> Result<(), Error> {
        if !self.made {
            durable::make_private_folder(&self.folder(), before)?;
            self.made = true;
        }
        let [first, second] = &trainer.moments;
        let vectors = [
            &trainer.adapter.parameters[..],
            first,
            second,
            if trainer.parts > 0 { &trainer.gradients } else { &[] },
            judged.best.map_or(&[][..], |(_, best)| best),
        ];
        let header = Header {
            number: self.number,
            key: trainer.key.with_model(&self.model),
            isa: trainer.isa().to_owned(),
            plan: trainer.plan_words(),
            at: trainer.at as u64,
            step: trainer.step as u64,
            updates: trainer.updates,
            parts: trainer.parts as u64,
            nll: trainer.nll,
            best: judged.best.map(|(loss, _)| loss),
            waited: judged.waited,
            lengths: vectors.map(|vector| vector.len() as u64),
        };
        let write = |out: &mut dyn io::Write| checkpoint::write(&header, vectors, out);
        self.vault.write_with(&self.name(self.slot), write, before)?;
        self.number += 1;
        self.slot = 1 - self.slot;
        Ok(())
    }

    /// Has `trainer` go on from the newest whole checkpoint; `None`, and nothing changes, if there
    /// is no checkpoint at all. `any_isa` takes one of other kernels, too.
    ///
    /// # Errors
    /// If there are checkpoints and none is whole, or the newest is of another run or of other
    /// kernels, or its pieces do not fit the memory there is; nothing changes then. If a file fails
    /// while it is read a second time.
    pub fn resume(
        &mut self,
        trainer: &mut Trainer,
        any_isa: bool,
    ) -> Result<Option<Resumed>, Error> {
        let mut found: Vec<(usize, Found)> = Vec::new();
        let mut damaged = Vec::new();
        for (slot, name) in FILES.into_iter().enumerate() {
            match checkpoint::check(&self.vault, &self.name(slot)) {
                Ok(one) => found.extend(one.map(|one| (slot, one))),
                Err(reason) => damaged.push(format!("{name} {reason}")),
            }
        }
        let folder = self.folder();
        let newest = found.into_iter().max_by_key(|(_, one)| one.header.number);
        let Some((slot, newest)) = newest else {
            let what = damaged.join(", ");
            return if what.is_empty() { Ok(None) } else { Err(Error::Damaged { folder, what }) };
        };
        let header = &newest.header;
        if let Some(what) = trainer.difference(header, &self.model) {
            return Err(Error::OtherRun { folder, what });
        }
        let ours = trainer.isa();
        let other_isa = (header.isa != ours).then(|| header.isa.clone());
        if let (Some(theirs), false) = (&other_isa, any_isa) {
            return Err(Error::OtherIsa { folder, theirs: theirs.clone(), ours: ours.to_owned() });
        }
        if header.plan != trainer.plan_words() {
            let planned = trainer.plan_again(&header.plan);
            planned.map_err(|source| Error::Plan { folder: folder.clone(), source })?;
        }
        let best = trainer
            .take(&self.vault, &newest)
            .map_err(|source| Error::File { file: folder.join(FILES[slot]), source })?;
        self.number = header.number + 1;
        self.slot = 1 - slot;
        let damaged = damaged.pop();
        Ok(Some(Resumed { best, waited: header.waited, damaged, other_isa }))
    }

    /// What the newest whole checkpoint says of its run, if there is one.
    pub fn reached(&self) -> Option<Reached> {
        let whole = |slot| checkpoint::check(&self.vault, &self.name(slot)).ok().flatten();
        let newest = (0..FILES.len()).filter_map(whole).max_by_key(|one| one.header.number)?;
        Some(Reached { steps: newest.header.step, plan: newest.header.plan })
    }

    /// Removes the checkpoints, and the folder if nothing else is in it.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn discard(&mut self) -> Result<(), Error> {
        let folder = self.folder();
        for name in FILES {
            let file = folder.join(name);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::File { file, source: error });
                }
                _ => {}
            }
        }
        fs::remove_dir(&folder).ok();
        self.made = false;
        Ok(())
    }
}

impl Trainer<'_, '_> {
    /// The kernels that compute.
    fn isa(&self) -> &'static str {
        self.engine.kernels().isa().name()
    }

    /// What a checkpoint has another of than this run.
    fn difference(&self, header: &Header, model: &str) -> Option<&'static str> {
        let n = self.adapter.parameters.len() as u64;
        let [first, second] = self.moments.each_ref().map(|moment| moment.len() as u64);
        let gradient = if header.parts > 0 { self.gradients.len() as u64 } else { 0 };
        let best = if header.best.is_some() { n } else { 0 };
        let fits = header.lengths == [n, first, second, gradient, best];
        // What else a plan says is taken over.
        let half = |words: &[u64]| words.last().copied();
        self.key.with_model(model).difference(&header.key).or_else(|| {
            let same = fits && half(&header.plan) == half(&self.plan_words());
            (!same).then_some("another --half-inputs")
        })
    }

    /// Goes on from a checkpoint of this run; gives the best parameters and their loss.
    fn take(&mut self, vault: &Vault, found: &Found) -> io::Result<Option<(f64, Vec<f32>)>> {
        let header = &found.header;
        let mut best =
            vec![0.0; if header.best.is_some() { self.adapter.parameters.len() } else { 0 }];
        let gradients = if header.parts > 0 { &mut self.gradients[..] } else { &mut [] };
        let [first, second] = &mut self.moments;
        found.fill(vault, [&mut self.adapter.parameters, first, second, gradients, &mut best])?;
        self.at = header.at as usize;
        self.step = header.step as usize;
        self.updates = header.updates;
        self.parts = header.parts as usize;
        self.nll = header.nll;
        self.spent = 0.0;
        self.dialogues.clear();
        self.order.clear();
        Ok(header.best.map(|loss| (loss, best)))
    }
}

#[cfg(test)]
mod tests;
