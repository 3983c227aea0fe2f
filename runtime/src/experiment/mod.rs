//! The paper's experiment (Qin et al., DAC 2024): does selection beat its baselines, on this model and
//! these streams?
//!
//! ```text
//! FILE.toml ─ spec ─> arms x bins x synth x seeds x streams = cells      (cell: a key each)
//! stream ─ split ─> stream | development | test                          (data: hashed, no overlap)
//! cell ─ run ─> personalize the stream in `rounds` parts, measure after each
//!        ─ results ─> OUT/cells/KEY.jsonl, OUT/results.jsonl             (sweep: shards, jobs, budget)
//! OUT ─ report ─> report.md, report.html, *.svg                          (stats: paired bootstrap)
//! ```
//! A cell is a function of its key alone: cut anywhere, with any number of threads and in any process,
//! it ends in the same bytes.

pub mod cell;
pub mod data;
pub mod estimate;
pub mod measure;
pub mod report;
pub mod results;
pub mod run;
pub mod setup;
pub mod spec;
pub mod split;
pub mod stats;
pub mod sweep;

use std::path::{Path, PathBuf};

use crate::tune::pace::Cause;
use crate::{adapter, dialogue, durable, engine, lexicon, personalize, state};

/// Why an experiment cannot be made, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key of the file.
    #[error("{}: {key}: {problem}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is no TOML, or has a key that is unknown or of another type.
    #[error("{}: {problem}", file.display())]
    Toml {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the place.
        problem: String,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of results is not what this program writes.
    #[error("{}: line {line}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// Dialogues that cannot be read.
    #[error(transparent)]
    Dialogue(#[from] dialogue::Error),
    /// Lexicons that cannot be read.
    #[error(transparent)]
    Lexicon(#[from] lexicon::Error),
    /// The model.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A round.
    #[error(transparent)]
    Personalize(#[from] personalize::Error),
    /// A file that cannot be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// Cells at once that take more memory than there is.
    #[error(
        "--jobs: {jobs} cells at once train in about {:.0} MB each, and {:.0} MB are free",
        *each as f64 / 1e6,
        *free as f64 / 1e6
    )]
    Memory {
        /// How many.
        jobs: usize,
        /// Bytes of each.
        each: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Cells that failed; the others are done.
    #[error("{failed} of {cells} cells failed, the first: {first}")]
    Failed {
        /// How many.
        failed: usize,
        /// Of how many that were to run.
        cells: usize,
        /// Which, and why.
        first: String,
    },
    /// It was told to stop; run again, it goes on.
    #[error("stopped: {0}")]
    Stopped(Cause),
}

impl Error {
    /// An error of the system about `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// A key of `file` that is wrong.
    pub(crate) fn key(file: &Path, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Key { file: file.to_owned(), key: key.into(), problem: problem.into() }
    }
}

impl From<personalize::buffer::Error> for Error {
    fn from(error: personalize::buffer::Error) -> Self {
        Self::Personalize(error.into())
    }
}

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Self {
        Self::Personalize(error.into())
    }
}

impl From<adapter::Error> for Error {
    fn from(error: adapter::Error) -> Self {
        Self::Personalize(error.into())
    }
}
