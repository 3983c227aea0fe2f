//! Where results are: a folder that any number of processes write to at once.
//!
//! ```text
//! OUT/
//!   experiment.toml, experiment.json   what was asked for; hashes, versions, streams
//!   cells/KEY.jsonl                    a done cell: a line a round and temperature, written last
//!   cells/KEY.replies.jsonl            its replies after the last round
//!   cells/KEY.machine.json             seconds, memory, machine: what is not the same twice
//!   streams/NAME.jsonl                 the held-out dialogues: id, question, reference
//!   scratch/KEY/                       a cell that is running or was cut; locked while it runs
//!   results.jsonl                      the lines of all done cells of the experiment, in its order
//!   lock                               held while results.jsonl is written
//! ```

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use super::cell::{Arm, Cell};
use crate::durable;

/// A line of `results.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The cell's key.
    pub key: String,
    /// The stream's name.
    pub stream: String,
    /// The arm's name.
    pub policy: String,
    /// Bins; 0 where there is no buffer.
    pub bins: usize,
    /// Synthesised questions tried for each annotated dialogue.
    pub synth: usize,
    /// The seed.
    pub seed: u64,
    /// 0 is before any tuning.
    pub round: usize,
    /// Temperature of the replies.
    pub temperature: f64,
    /// `development`, `test` or `held_out`.
    pub part: String,
    /// Mean ROUGE-1 F1 on the held-out dialogues.
    pub rouge1: f64,
    /// Cross-entropy of their reference replies, in nats.
    pub loss: f64,
    /// Cross-entropy of the replies of general dialogues, if there are any.
    pub general_loss: Option<f64>,
    /// Requests made of the person so far.
    pub annotations: u64,
    /// Dialogues of the stream seen so far.
    pub seen: u64,
    /// Whether the round installed an adapter.
    pub installed: bool,
    /// Mean words of a reply.
    pub reply_words: f64,
    /// Different pairs of words over all pairs.
    pub distinct2: f64,
    /// Share of the most frequent reply.
    pub most_frequent_reply: f64,
}

/// A line of `KEY.replies.jsonl`: in the order of the held-out dialogues, a temperature after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplyRow {
    /// Temperature.
    pub temperature: f64,
    /// The dialogue's id, or its place.
    pub id: String,
    /// ROUGE-1 F1 of the reply.
    pub rouge1: f64,
    /// The reply.
    pub reply: String,
}

/// `KEY.machine.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Seconds that the cell took, of all processes that worked on it, to the last round they ended.
    pub seconds: f64,
    /// Largest anonymous memory of the process while the cell ran.
    pub peak_anonymous_bytes: u64,
    /// Cells that the process ran at once.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
    /// The CPU's name, as the system tells it.
    pub cpu: String,
    /// The kernels.
    pub isa: String,
    /// The program's version.
    pub version: String,
}

/// A line of `streams/NAME.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// The dialogue's id, or its place.
    pub id: String,
    /// The user's last message.
    pub question: String,
    /// The reply that is compared with.
    pub reference: String,
}

/// A folder of results.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    scratch: PathBuf,
}

impl Folder {
    /// The folder `root`, made where it is not there; cells run in `scratch`, or in the folder itself.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(root: &Path, scratch: Option<&Path>) -> Result<Self, Error> {
        let scratch = scratch.map_or_else(|| root.join("scratch"), Path::to_owned);
        for path in [&root.join("cells"), &root.join("streams"), &scratch] {
            fs::create_dir_all(path).map_err(Error::io(path))?;
        }
        Ok(Self { root: root.to_owned(), scratch })
    }

    /// The folder `root`, which holds results.
    ///
    /// # Errors
    /// If there are none.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let path = root.join("results.jsonl");
        fs::metadata(&path).map_err(Error::io(&path))?;
        Ok(Self { root: root.to_owned(), scratch: root.join("scratch") })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a cell runs.
    pub fn scratch(&self, key: &str) -> PathBuf {
        self.scratch.join(key)
    }

    fn cell(&self, key: &str, what: &str) -> PathBuf {
        self.root.join("cells").join(format!("{key}{what}"))
    }

    /// Whether the cell is done.
    pub fn is_done(&self, key: &str) -> bool {
        self.cell(key, ".jsonl").is_file()
    }

    /// The lines of a done cell.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn rows(&self, key: &str) -> Result<Vec<Row>, Error> {
        read_lines(&self.cell(key, ".jsonl"))
    }

    /// The replies of a done cell.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn replies(&self, key: &str) -> Result<Vec<ReplyRow>, Error> {
        read_lines(&self.cell(key, ".replies.jsonl"))
    }

    /// What machine did a cell.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn machine(&self, key: &str) -> Result<Machine, Error> {
        let path = self.cell(key, ".machine.json");
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        serde_json::from_str(&text).map_err(|error| damaged(&path, error.line(), &error))
    }

    /// The held-out dialogues of a stream.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn held_out(&self, stream: &str) -> Result<Vec<HeldOut>, Error> {
        read_lines(&self.root.join("streams").join(format!("{stream}.jsonl")))
    }

    /// Writes the held-out dialogues of a stream.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_held_out(&self, stream: &str, held_out: &[HeldOut]) -> Result<(), Error> {
        let path = self.root.join("streams").join(format!("{stream}.jsonl"));
        Ok(durable::write(&path, lines(held_out).as_bytes())?)
    }

    /// Writes a done cell; its own lines come last and make it one.
    ///
    /// # Errors
    /// If a file cannot be written; the cell is then not done.
    pub fn write(
        &self,
        key: &str,
        rows: &[Row],
        replies: &[ReplyRow],
        machine: &Machine,
    ) -> Result<(), Error> {
        durable::write(&self.cell(key, ".replies.jsonl"), lines(replies).as_bytes())?;
        let machine = lines(core::slice::from_ref(machine));
        durable::write(&self.cell(key, ".machine.json"), machine.as_bytes())?;
        Ok(durable::write(&self.cell(key, ".jsonl"), lines(rows).as_bytes())?)
    }

    /// Writes a file of the folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, name: &str, text: &str) -> Result<(), Error> {
        Ok(durable::write(&self.root.join(name), text.as_bytes())?)
    }

    /// Writes `results.jsonl`: the lines of those of `cells` that are done, in their order. The
    /// untuned base, whose replies are shared where they are greedy, has a line for each seed.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn gather(&self, cells: &[Cell]) -> Result<(), Error> {
        let path = self.root.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(Error::io(&path))?;
        // Whoever comes last has seen what all before it wrote.
        lock.lock().map_err(Error::io(&path))?;
        let mut text = String::new();
        for cell in cells.iter().filter(|cell| self.is_done(&cell.key)) {
            let path = self.cell(&cell.key, ".jsonl");
            if cell.arm == Arm::None {
                let rows = self.rows(&cell.key)?.into_iter();
                let own: Vec<Row> = rows.map(|row| Row { seed: cell.seed, ..row }).collect();
                text.push_str(&lines(&own));
            } else {
                text.push_str(&fs::read_to_string(&path).map_err(Error::io(&path))?);
            }
        }
        self.put("results.jsonl", &text)
    }

    /// All of `results.jsonl`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn results(&self) -> Result<Vec<Row>, Error> {
        read_lines(&self.root.join("results.jsonl"))
    }
}

/// JSON Lines of `values`.
pub(super) fn lines<T: Serialize>(values: &[T]) -> String {
    // Structs of numbers and strings always serialise; what is not finite becomes null.
    let line = |value: &T| serde_json::to_string(value).unwrap_or_default() + "\n";
    values.iter().map(line).collect()
}

/// Reads JSON Lines.
///
/// # Errors
/// If the file cannot be read, or a line is something else.
pub(super) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let line = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| damaged(path, i + 1, &error))
    };
    text.lines().enumerate().map(line).collect()
}

fn damaged(path: &Path, line: usize, problem: &serde_json::Error) -> Error {
    Error::Damaged { path: path.to_owned(), line, problem: problem.to_string() }
}
