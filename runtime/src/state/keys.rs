//! Where a state's key comes from: a key file, or whoever keeps keys instead of one.
//!
//! ```text
//! File    the key file of `seal::ring`
//! Kept    a function: finds a key by its name, makes a new one, destroys one; a TPM, a secure element,
//!         a keychain, a passphrase
//! Given   one key that never changes: what is forgotten is erased, but sealed with no other key
//! Plain   none
//! ```

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::vault::Error;
use crate::seal::ring::Ring;
use crate::seal::{Key, KeyName};

/// What a keeper of keys is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// For a new key, to be kept.
    New,
    /// For the key of that name.
    Find(KeyName),
    /// That the key of that name be destroyed.
    Destroy(KeyName),
}

/// Answers with the key that was asked for; with none where there is none, or none was asked for.
pub type Keeper = Arc<dyn Fn(Ask) -> std::io::Result<Option<Key>> + Send + Sync>;

/// Where the key comes from.
#[derive(Clone)]
pub enum Keys {
    /// A key file; one that is not there is made when a state is.
    File(PathBuf),
    /// A function of the caller's.
    Kept(Keeper),
    /// One key of the caller's.
    Given(Key),
    /// None: files are plain. For scratch states that hold no person.
    Plain,
}

impl Keys {
    /// A new key; nothing where there are to be none.
    pub(super) fn make(&self) -> Result<Option<Key>, Error> {
        Ok(match self {
            Keys::File(file) => Some(Ring::open(file)?.add()?),
            Keys::Kept(keeper) => self.asked(keeper, Ask::New)?,
            Keys::Given(key) => Some(key.clone()),
            Keys::Plain => None,
        })
    }

    /// The key called `name`, if it is there.
    pub(super) fn find(&self, name: KeyName) -> Result<Option<Key>, Error> {
        Ok(match self {
            Keys::File(file) => Ring::open(file)?.key(name).cloned(),
            Keys::Kept(keeper) => self.asked(keeper, Ask::Find(name))?,
            Keys::Given(key) => Some(key.clone()).filter(|key| key.name() == name),
            Keys::Plain => None,
        })
    }

    /// Destroys the key called `name`, if it is there.
    pub(super) fn destroy(&self, name: KeyName) -> Result<(), Error> {
        match self {
            Keys::File(file) => Ok(Ring::open(file)?.remove(name)?),
            Keys::Kept(keeper) => self.asked(keeper, Ask::Destroy(name)).map(drop),
            Keys::Given(_) | Keys::Plain => Ok(()),
        }
    }

    /// Whether a key can be changed for another.
    pub(super) fn change(&self) -> bool {
        matches!(self, Keys::File(_) | Keys::Kept(_))
    }

    /// What messages call the place.
    pub(super) fn place(&self) -> &Path {
        match self {
            Keys::File(file) => file,
            Keys::Kept(_) | Keys::Given(_) => Path::new("(the caller)"),
            Keys::Plain => Path::new("(none)"),
        }
    }

    fn asked(&self, keeper: &Keeper, ask: Ask) -> Result<Option<Key>, Error> {
        keeper(ask)
            .map_err(|source| Error::File { path: self.place().into(), source: source.into() })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.place().display())
    }
}
