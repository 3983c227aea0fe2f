//! The state directory: all that a device knows of its person, in one place.
//!
//! ```text
//! STATE/              mode 0700; s: sealed (see `vault`), each under its own name
//!   lock                an advisory lock; holds the pid of the process that uses the directory
//!   state.json        s version, hashes of base, tokenizer and template, where the stream stands
//!   samples.img       s the sample buffer: a flash image, each record sealed (see `samples`)
//!   queue.jsonl       s annotation requests that wait for the person (see `queue`)
//!   synthesised.jsonl s questions that the model wrote, each with the sample it came from
//!   asks.jsonl        s what the person was asked about, and when (see `asks`)
//!   rounds.jsonl      s what became of each round (see `rounds`)
//!   adapters/0001/    s adapter generations: PEFT's two files, and what it has `seen`; `state.json` names
//!                       the current one
//!   training/         s two generations of the checkpoint of a round that was interrupted
//! ```
//! Every file but the image and the lock is replaced whole (temp, fsync, rename); `state.json` is
//! written last, so what it names is there. Files have mode 0600.

pub mod asks;
pub mod forget;
pub(crate) mod image;
mod keys;
mod lock;
pub mod moving;
pub mod queue;
mod record;
mod rekey;
pub mod rounds;
pub mod seen;
mod upgrade;
pub mod vault;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::durable;
use crate::samples::file::OpenError;
use crate::seal::KeyName;
pub use lock::Lock;
pub(crate) use queue::{read_json_lines, write_json_lines};
pub use record::{Base, Record};
use vault::{Keys, Vault};

/// The record's name.
pub const RECORD: &str = "state.json";
/// The sample buffer's flash image.
pub const SAMPLES: &str = "samples.img";
/// The annotation queue.
pub const QUEUE: &str = "queue.jsonl";
/// Synthesised questions with their lineage.
pub const SYNTHESISED: &str = "synthesised.jsonl";
/// What they are all called whose rows belong to dialogues.
const ROWS: [&str; 4] = [QUEUE, SYNTHESISED, rounds::ROUNDS, asks::ASKS];
/// The folder of adapter generations.
pub const ADAPTERS: &str = "adapters";
/// The folder of the checkpoint of an interrupted round.
pub const TRAINING: &str = "training";
const LOCK: &str = "lock";
/// Adapter generations that are kept to go back to.
const GENERATIONS: usize = 8;

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
    /// A file cannot be read or sealed.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// The sample buffer.
    #[error(transparent)]
    Samples(#[from] OpenError),
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

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// An opened, locked state directory.
#[derive(Debug)]
pub struct State {
    vault: Vault,
    /// What `state.json` says, or will say once [`save`](Self::save) is called.
    pub record: Record,
    _lock: Lock,
}

impl State {
    /// Locks `root` and reads its record. A plain state of a program before is sealed, unless `keys`
    /// are [`Keys::Plain`].
    ///
    /// # Errors
    /// If there is no state, if it is in use, if its key is not there, or if its record cannot be read.
    pub fn open(root: &Path, keys: &Keys) -> Result<Self, Error> {
        let path = root.join(RECORD);
        if !path.exists() {
            return Err(Error::Invalid {
                path,
                field: "file".into(),
                reason: "there is no state here; `homespun personalize` makes one".into(),
            });
        }
        let mut state = Self::read(root, keys, Lock::take(root)?)?;
        state.sweep()?;
        state.seal(keys)?;
        state.go_on(keys)?;
        Ok(state)
    }

    /// Opens the state in `root`, or starts one with `fresh` if there is none. `any_bins` takes the
    /// state's own number of bins whatever `fresh` says.
    ///
    /// # Errors
    /// As [`open`](Self::open); if the state belongs to another base, or has other bins or another
    /// policy; if the directory cannot be written.
    pub fn open_or_create(
        root: &Path,
        fresh: Record,
        any_bins: bool,
        keys: &Keys,
    ) -> Result<Self, Error> {
        if !root.is_dir() {
            let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
            fs::create_dir_all(parent.unwrap_or(Path::new("."))).map_err(Error::io(root))?;
            let made = DirBuilder::new().mode(0o700).create(root);
            // Another process may have made it just now.
            made.or_else(|error| if root.is_dir() { Ok(()) } else { Err(error) })
                .map_err(Error::io(root))?;
        }
        let path = root.join(RECORD);
        let lock = Lock::take(root)?;
        if !path.exists() {
            let vault = Vault::open(root, keys, RECORD)?;
            upgrade::make_private(root)?;
            let state = Self { vault, record: fresh, _lock: lock };
            state.save()?;
            return Ok(state);
        }
        let mut state = Self::read(root, keys, lock)?;
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
        state.seal(keys)?;
        state.go_on(keys)?;
        Ok(state)
    }

    /// The state that is in `root`; a plain record is read before a key is made for it.
    fn read(root: &Path, keys: &Keys, lock: Lock) -> Result<Self, Error> {
        let plain = Vault::plain(root);
        let mut vault = match plain.sealed_with(RECORD)? {
            Some(_) => Vault::open(root, keys, RECORD)?,
            None => plain,
        };
        let record = Record::read(&vault)?;
        if let Some(name) = KeyName::parse(&record.previous_key) {
            keys.find(name)?.into_iter().for_each(|key| vault.read_with(key));
        }
        Ok(Self { vault, record, _lock: lock })
    }

    /// Seals a plain state, if there are to be keys.
    fn seal(&mut self, keys: &Keys) -> Result<(), Error> {
        if self.vault.seals() || matches!(keys, Keys::Plain) {
            return Ok(());
        }
        self.vault = Vault::open(self.root(), keys, RECORD)?;
        upgrade::find_keys(&mut self.vault, keys)?;
        upgrade::make_private(self.root())?;
        upgrade::seal_all(&self.vault)?;
        if self.samples().exists() {
            image::open(&self.vault, self.record.bins)?;
        }
        self.record.version = record::VERSION;
        self.save()
    }

    /// Removes what writes that were cut left behind: it holds what the person said.
    fn sweep(&self) -> Result<(), Error> {
        let mut folders = vec![String::new(), ADAPTERS.into(), TRAINING.into()];
        folders.extend(upgrade::generations(self.root())?);
        let folders = folders.iter().map(|name| self.vault.path(name));
        Ok(folders.filter(|folder| folder.is_dir()).try_for_each(|f| durable::sweep(&f))?)
    }

    /// Refuses another base than the state's.
    ///
    /// # Errors
    /// If a hash differs; the message names which.
    pub fn expect_base(&self, base: &Base) -> Result<(), Error> {
        self.record.expect_base(&self.vault.path(RECORD), base)
    }

    /// Writes `state.json`.
    ///
    /// # Errors
    /// If it cannot be written; the old one is then still there.
    pub fn save(&self) -> Result<(), Error> {
        self.record.write(&self.vault)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        self.vault.root()
    }

    /// Reads and writes its files.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The sample buffer's flash image.
    pub fn samples(&self) -> PathBuf {
        self.vault.path(SAMPLES)
    }

    /// What the folder of an adapter generation is called in the vault.
    pub fn adapter(&self, generation: u64) -> String {
        format!("{ADAPTERS}/{generation:04}")
    }

    /// The generation that is used; 0 is the base.
    pub fn current(&self) -> u64 {
        let Record { generation, restarted_at, using, .. } = self.record;
        using.unwrap_or(if generation > restarted_at { generation } else { 0 })
    }

    /// The current adapter's folder, if one is used.
    pub fn current_adapter(&self) -> Option<String> {
        Some(self.current()).filter(|&current| current > 0).map(|current| self.adapter(current))
    }

    /// The generations that are there and count, oldest first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn generations(&self) -> Result<Vec<u64>, Error> {
        let names = upgrade::generations(self.root())?;
        let number = |name: &String| name.rsplit('/').next()?.parse().ok();
        // A folder that the record does not count is what a cut round left behind.
        let counts = |number: &u64| (1..=self.record.generation).contains(number);
        Ok(names.iter().filter_map(number).filter(counts).collect())
    }

    /// Removes generations that are neither among the newest nor used: a device has little room, and
    /// lives long.
    pub(crate) fn prune_generations(&self) -> Result<(), Error> {
        let there = self.generations()?;
        let old = &there[..there.len().saturating_sub(GENERATIONS)];
        for &number in old.iter().filter(|number| **number != self.current()) {
            let folder = self.vault.path(&self.adapter(number));
            fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        Ok(())
    }

    /// Uses another generation from now on; 0 is the base.
    ///
    /// # Errors
    /// If there is no such generation, or the record cannot be written.
    pub fn use_generation(&mut self, number: u64) -> Result<(), Error> {
        let there = self.generations()?;
        if number > 0 && !there.contains(&number) {
            let known = ["0 (the base)".to_owned()].into_iter();
            let known: Vec<_> = known.chain(there.iter().map(u64::to_string)).collect();
            return Err(Error::Invalid {
                path: self.vault.path(ADAPTERS),
                field: number.to_string(),
                reason: format!("there is no such generation; there are {}", known.join(", ")),
            });
        }
        let newest = there.last() == Some(&number) && number == self.record.generation;
        self.record.using = Some(number).filter(|_| !newest);
        self.save()
    }
}

#[cfg(test)]
mod tests;
