//! One user of a state directory at a time: an advisory lock on a file that holds the user's pid.

#[cfg(unix)]
use std::fs::{self, Metadata};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Error;

/// Held while a process uses a state directory; the system lets go of it however the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `root`.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it; [`Error::Io`] if the file cannot be made.
    pub fn take(root: &Path) -> Result<Self, Error> {
        let path = root.join("lock");
        // One that was removed between its opening and its locking locks nobody out.
        loop {
            let lock = Self::take_once(root, &path)?;
            if lock.is_of(&path) {
                return Ok(lock);
            }
        }
    }

    fn take_once(root: &Path, path: &Path) -> Result<Self, Error> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(Error::io(path))?;
                return Err(Error::InUse { path: root.into(), pid: pid.trim().into() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io { path: path.into(), source });
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(Error::io(path))?;
        Ok(Self { file })
    }

    /// Whether the file is still what is at `path`.
    #[cfg(unix)]
    fn is_of(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let name = |of: Metadata| (of.dev(), of.ino());
        match (self.file.metadata(), fs::metadata(path)) {
            (Ok(ours), Ok(there)) => name(ours) == name(there),
            _ => false,
        }
    }

    /// There, an open file is not removed.
    #[cfg(not(unix))]
    fn is_of(&self, _: &Path) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_whose_file_was_removed_is_not_that_of_the_folder() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("lock");
        let ours = Lock::take_once(folder.path(), &path).expect("lock");
        assert!(ours.is_of(&path));
        assert!(matches!(Lock::take(folder.path()), Err(Error::InUse { .. })));
        #[cfg(unix)]
        {
            std::fs::remove_file(&path).expect("removed");
            assert!(!ours.is_of(&path));
            let _theirs = Lock::take(folder.path()).expect("a lock of their own");
            assert!(!ours.is_of(&path));
        }
    }
}
