//! The key file: outside the state directory, so that a copy of that directory is of no use.
//!
//! ```text
//! $XDG_CONFIG_HOME/homespun/key, or ~/.config/homespun/key; its folder 0700, itself 0600
//! # homespun keys: without them nothing that they sealed can be read
//! 5f0c...e1       a key, 64 hexadecimal digits; one a line
//! ```
//! A state directory uses one key, and finds it by the name that stands in what it sealed. Forgetting
//! makes a new one and takes the old one out. Written whole (temp, fsync, rename) under a lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{KEY_BYTES, Key, KeyName};
use crate::durable;

/// Why the key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// Others may read it.
    #[error("{}: others may read the keys (mode {mode:04o}); chmod 600 it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A line is no key.
    #[error("{}: line {line} is no key of 64 hexadecimal digits", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// Nothing says where it is.
    #[error("neither XDG_CONFIG_HOME nor HOME is set: say with --key FILE where the key is")]
    Nowhere,
    /// There is none.
    #[error("{}: there is no key file, and without it the state cannot be read", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Where the keys are unless told otherwise.
///
/// # Errors
/// If the environment does not say.
pub fn default_path() -> Result<PathBuf, Error> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let config = folder("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| Some(PathBuf::from(folder("HOME")?).join(".config")));
    Ok(config.ok_or(Error::Nowhere)?.join("homespun").join("key"))
}

/// The keys of a file.
#[derive(Debug)]
pub struct Ring {
    path: PathBuf,
    keys: Vec<Key>,
}

impl Ring {
    /// Reads the keys in `path`; there are none where there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, others may read it, or a line is no key.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), keys: read(path)? })
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of them.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key that is called `name`.
    pub fn key(&self, name: KeyName) -> Option<&Key> {
        self.keys.iter().find(|key| key.name() == name)
    }

    /// Makes a new key; it is in the file before it is given.
    ///
    /// # Errors
    /// If the system has no random bytes or the file cannot be written.
    pub fn add(&mut self) -> Result<Key, Error> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(&mut *bytes)
            .map_err(|error| Error::io(&self.path)(io::Error::other(error)))?;
        let key = Key::new(*bytes);
        let new = key.clone();
        self.change(move |keys| keys.push(new))?;
        Ok(key)
    }

    /// Takes the key called `name` out of the file: what it sealed cannot be read from then on.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn remove(&mut self, name: KeyName) -> Result<(), Error> {
        self.change(|keys| keys.retain(|key| key.name() != name))
    }

    /// Changes the keys of the file, whoever else changes it too.
    fn change(&mut self, change: impl FnOnce(&mut Vec<Key>)) -> Result<(), Error> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(Error::io(folder))?;
        let lock = self.path.with_extension("lock");
        let held =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
        let held = held.map_err(Error::io(&lock))?;
        held.lock().map_err(Error::io(&lock))?;
        let mut keys = read(&self.path)?;
        change(&mut keys);
        let mut text = Zeroizing::new(String::with_capacity(80 + 65 * keys.len()));
        text.push_str("# homespun keys: without them nothing that they sealed can be read\n");
        for key in &keys {
            for byte in key.bytes() {
                let digit = |four: u8| char::from_digit(u32::from(four), 16).unwrap_or('0');
                text.extend([digit(byte >> 4), digit(byte & 15)]);
            }
            text.push('\n');
        }
        durable::write_private(&self.path, text.as_bytes())?;
        self.keys = keys;
        Ok(())
    }
}

/// The keys of a file, none where it is not there.
fn read(path: &Path) -> Result<Vec<Key>, Error> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(Error::io(path))?,
    };
    let metadata = file.metadata().map_err(Error::io(path))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(Error::Open { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    let mut text = Zeroizing::new(String::with_capacity(metadata.len() as usize));
    file.read_to_string(&mut text).map_err(Error::io(path))?;
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(line, text)| key(text).ok_or_else(|| Error::Line { path: path.to_owned(), line }))
        .collect()
}

/// The key of 64 digits.
fn key(text: &str) -> Option<Key> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, two) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = two.map(|digit| char::from(digit).to_digit(16));
        *byte = (high? << 4 | low?) as u8;
    }
    Some(Key::new(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_found_again_by_its_name_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/homespun/key");
        let mut ring = Ring::open(&path).unwrap();
        let (one, two) = (ring.add().unwrap(), ring.add().unwrap());
        assert_ne!(one, two);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let mut again = Ring::open(&path).unwrap();
        assert_eq!(again.key(one.name()), Some(&one));
        again.remove(one.name()).unwrap();
        // One who read the file before changes what is in it now.
        let three = ring.add().unwrap();
        let last = Ring::open(&path).unwrap();
        assert_eq!(last.key(one.name()), None);
        assert_eq!((last.key(two.name()), last.key(three.name())), (Some(&two), Some(&three)));
    }

    #[test]
    fn a_key_file_that_others_read_or_that_is_broken_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Ring::open(&path).unwrap().add().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Ring::open(&path).unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains("key"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, format!("{}\n\nabc\n", "0f".repeat(32))).unwrap();
        assert!(matches!(Ring::open(&path), Err(Error::Line { line: 3, .. })));
        fs::write(&path, format!("{}g\n", "0".repeat(63))).unwrap();
        assert!(matches!(Ring::open(&path), Err(Error::Line { line: 1, .. })));
    }
}
