//! The files of a state directory: sealed, the person's alone, replaced whole.
//!
//! ```text
//! write   NAME sealed under its own name (see `seal::stream`), mode 0600; temp, fsync, rename
//! read    NAME, whichever key of the ring sealed it; a plain file only while the state is a plain one
//! ```
//! A name is a path relative to the directory, with `/` between folders: it is associated with what is
//! sealed, so that no file can take another's place.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::durable::{self, Before, go_on, make_private_folder};
use crate::seal::ring;
use crate::seal::stream::{self, Opener, Sealer};
use crate::seal::{Key, KeyName};

pub use super::keys::{Ask, Keeper, Keys};

/// Why a file of a state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused, or what is there is not what was sealed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: stream::Error,
    },
    /// Its key is not in the key file.
    #[error("{}: was sealed with the key {name}, which is not in {}", path.display(), keys.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What the key is called.
        name: KeyName,
        /// The key file.
        keys: PathBuf,
    },
    /// The key file.
    #[error(transparent)]
    Ring(#[from] ring::Error),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
}

/// Reads and writes the files of one directory.
#[derive(Clone, Debug)]
pub struct Vault {
    root: PathBuf,
    /// The keys there are; the first one seals.
    keys: Vec<Key>,
    /// Where they are from, for messages.
    file: PathBuf,
    /// Whether a plain file is refused: where the first one is sealed, all are.
    strict: bool,
}

impl Vault {
    /// The files in `root`. The key is the one that sealed the file `first` of it; where there is no
    /// such file, or a plain one, it is a new one.
    ///
    /// # Errors
    /// If the key file cannot be used, or does not hold the key.
    pub fn open(root: &Path, keys: &Keys, first: &str) -> Result<Self, Error> {
        if matches!(keys, Keys::Plain) {
            return Ok(Self::plain(root));
        }
        let (sealed_with, file) = (Self::plain(root).sealed_with(first)?, keys.place().to_owned());
        let found = match sealed_with {
            None => keys.make()?.into_iter().collect(),
            Some(name) => {
                let error = || Error::NoKey { path: root.join(first), name, keys: file.clone() };
                vec![keys.find(name)?.ok_or_else(error)?]
            }
        };
        Ok(Self { root: root.into(), keys: found, file, strict: sealed_with.is_some() })
    }

    /// The files in `root`, without a key.
    pub fn plain(root: &Path) -> Self {
        Self { root: root.into(), keys: Vec::new(), file: "(none)".into(), strict: false }
    }

    /// Whether what is written is sealed.
    pub fn seals(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The key that seals, if one does.
    pub fn key(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// Seals with `key` from now on; what the keys before sealed can still be read.
    pub(super) fn seal_with(&mut self, key: Key) {
        self.keys.insert(0, key);
    }

    /// Reads with `key` too.
    pub(super) fn read_with(&mut self, key: Key) {
        self.keys.push(key);
    }

    /// Reads with the key called `name` no more.
    pub(super) fn drop_key(&mut self, name: KeyName) {
        self.keys.retain(|key| key.name() != name);
    }

    /// The key called `name`, if it is there.
    pub(super) fn find(&self, name: KeyName) -> Option<&Key> {
        self.keys.iter().find(|key| key.name() == name)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `name` is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Replaces `name` by `bytes`.
    ///
    /// # Errors
    /// If it cannot be written; the old one is then still there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.write_with(name, |out| out.write_all(bytes), &mut go_on)?)
    }

    /// Replaces `name` by what `fill` writes, which takes no memory but a piece.
    ///
    /// # Errors
    /// As [`write`](Self::write); and if `fill` fails.
    pub(crate) fn write_with(
        &self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
        before: Before<'_>,
    ) -> Result<(), durable::Error> {
        let path = self.path(name);
        let Some(key) = self.keys.first() else {
            return durable::write_private_with(&path, fill, before);
        };
        let sealed = |out: &mut dyn Write| {
            let mut sealer = Sealer::new(key, name, out)?;
            fill(&mut sealer)?;
            sealer.finish().map(drop)
        };
        durable::write_private_with(&path, sealed, before)
    }

    /// Makes the folder `name`, the person's alone, unless it is there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn make_folder(&self, name: &str, before: Before<'_>) -> Result<(), durable::Error> {
        make_private_folder(&self.path(name), before)
    }

    /// The key that sealed `name`; nothing where it is plain or not there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn sealed_with(&self, name: &str) -> Result<Option<KeyName>, Error> {
        match File::open(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file
                .and_then(|mut file| stream::key_of(&mut file))
                .map_err(|error| self.error(name, error)),
        }
    }

    /// All of `name`; nothing where it is not there.
    ///
    /// # Errors
    /// If it cannot be read, its key is not there, or it is not what was sealed.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let Some(mut reader) = self.reader(name)? else { return Ok(None) };
        let mut bytes = Zeroizing::new(Vec::with_capacity(reader.length as usize));
        reader.read_to_end(&mut bytes).map_err(|error| self.error(name, error))?;
        Ok(Some(bytes))
    }

    /// `name` from its beginning; nothing where it is not there.
    ///
    /// # Errors
    /// If it cannot be opened or its key is not there.
    pub fn reader(&self, name: &str) -> Result<Option<Reader<'_>>, Error> {
        let path = self.path(name);
        let io = |error: io::Error| self.error(name, error);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io)?,
        };
        let length = file.metadata().map_err(io)?.len();
        let mut file = BufReader::new(file);
        if !stream::is_sealed(io::BufRead::fill_buf(&mut file).map_err(io)?) {
            if self.strict {
                return Err(Error::File { path, source: stream::Error::NotSealed });
            }
            return Ok(Some(Reader { from: From::Plain(file), length }));
        }
        let keys = |name| self.keys.iter().find(|key| key.name() == name);
        let opener = Opener::new(keys, name, length, file).map_err(|source| match source {
            stream::Error::NoKey(name) => {
                Error::NoKey { path: path.clone(), name, keys: self.file.clone() }
            }
            source => Error::File { path: path.clone(), source },
        })?;
        Ok(Some(Reader { length: opener.length(), from: From::Sealed(opener) }))
    }

    /// Removes `name`, if it is there.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.error(name, error)),
            _ => Ok(()),
        }
    }

    fn error(&self, name: &str, error: io::Error) -> Error {
        Error::File { path: self.path(name), source: error.into() }
    }
}

/// A file that is read.
pub struct Reader<'v> {
    from: From<'v>,
    /// Bytes of what it holds.
    pub length: u64,
}

enum From<'v> {
    Plain(BufReader<File>),
    Sealed(Opener<'v, BufReader<File>>),
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.from {
            From::Plain(file) => file.read(out),
            From::Sealed(opener) => opener.read(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn vault(root: &Path, keys: &Path) -> Result<Vault, Error> {
        Vault::open(root, &Keys::File(keys.to_owned()), "state.json")
    }

    #[test]
    fn what_is_written_is_sealed_private_and_read_again_by_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let (root, keys) = (folder.path().join("state"), folder.path().join("key"));
        fs::create_dir(&root).unwrap();
        let first = vault(&root, &keys).unwrap();
        assert_eq!(first.read("state.json").unwrap(), None);
        first.write("state.json", b"{\"secret\": 1}").unwrap();
        let bytes = fs::read(root.join("state.json")).unwrap();
        assert!(stream::is_sealed(&bytes) && !bytes.windows(6).any(|six| six == b"secret"));
        assert_eq!(fs::metadata(root.join("state.json")).unwrap().mode() & 0o777, 0o600);
        let again = vault(&root, &keys).unwrap();
        assert_eq!(again.read("state.json").unwrap().unwrap().as_slice(), b"{\"secret\": 1}");
        assert_eq!(fs::read_to_string(&keys).unwrap().lines().count(), 2, "one key, one state");
        // One file in another's place, and another key.
        fs::copy(root.join("state.json"), root.join("queue.jsonl")).unwrap();
        let error = again.read("queue.jsonl").unwrap_err().to_string();
        assert!(error.contains("queue.jsonl") && error.contains("damaged"), "{error}");
        let error = vault(&root, &folder.path().join("other")).unwrap_err().to_string();
        assert!(error.contains("state.json") && error.contains("other"), "{error}");
        assert!(!folder.path().join("other").exists(), "no key is made for a state that has one");
    }

    #[test]
    fn a_plain_file_of_before_is_read_and_sealed_when_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (root, keys) = (folder.path(), folder.path().join("key"));
        fs::write(root.join("state.json"), b"{}").unwrap();
        let vault = vault(root, &keys).unwrap();
        assert_eq!(vault.read("state.json").unwrap().unwrap().as_slice(), b"{}");
        vault.write("state.json", b"{ }").unwrap();
        assert!(stream::is_sealed(&fs::read(root.join("state.json")).unwrap()));
        // Once the first one is sealed, a plain one was put there by somebody else.
        fs::write(root.join("queue.jsonl"), b"{}").unwrap();
        assert_eq!(vault.read("queue.jsonl").unwrap().unwrap().as_slice(), b"{}");
        let vault = Vault::open(root, &Keys::File(keys.clone()), "state.json").unwrap();
        let error = vault.read("queue.jsonl").unwrap_err().to_string();
        assert!(error.contains("queue.jsonl") && error.contains("no sealed file"), "{error}");
        let plain = Vault::open(root, &Keys::Plain, "state.json").unwrap();
        assert!(matches!(plain.read("state.json"), Err(Error::NoKey { .. })));
        plain.write("other", b"text").unwrap();
        assert_eq!(fs::read(root.join("other")).unwrap(), b"text");
        vault.remove("other").unwrap();
        vault.remove("other").unwrap();
    }
}
