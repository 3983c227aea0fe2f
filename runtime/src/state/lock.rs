//! One user of a state directory at a time: an advisory lock on a file that holds the user's pid.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::Error;

/// Held while a process uses a state directory; the system lets go of it however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `root`.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it; [`Error::Io`] if the file cannot be made.
    pub fn take(root: &Path) -> Result<Self, Error> {
        let path = root.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(Error::io(&path))?;
                return Err(Error::InUse { path: root.into(), pid: pid.trim().into() });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Io { path, source }),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(Error::io(&path))?;
        Ok(Self { _file: file })
    }
}
