//! `OUT.training`: where a training that was interrupted lies, beside `--out`.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::state::{self, Lock};
use crate::tune::store::Store;

/// The lock's name.
const LOCK: &str = "lock";

/// The folder, ours alone until this is dropped; then it goes unless there is something to go on from.
pub(super) struct Place {
    folder: PathBuf,
    _lock: Lock,
}

impl Place {
    /// Makes or opens the folder of `out`, and removes what killed writes left in it and beside it.
    ///
    /// # Errors
    /// If it cannot be made, or another process trains there.
    pub(super) fn open(out: &Path) -> Result<Self, state::Error> {
        let folder = path(out);
        // Who ends just now may remove the folder between the two.
        let lock = loop {
            durable::make_folder(&folder, &mut durable::go_on)?;
            match Lock::take(&folder) {
                Err(state::Error::Io { source, .. })
                    if source.kind() == ErrorKind::NotFound && !folder.exists() => {}
                lock => break lock?,
            }
        };
        let place = Self { _lock: lock, folder };
        durable::sweep(&place.folder)?;
        durable::sweep_killed(out)?;
        Ok(place)
    }

    /// Removes what a kill left between the end of a training and the end of its command.
    pub(super) fn clear(out: &Path) {
        if path(out).join(LOCK).is_file()
            && let Ok(place) = Self::open(out)
        {
            // A folder that stays does no harm.
            Store::new(place.folder(), String::new()).discard().ok();
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let lock = self.folder.join(LOCK);
        let alone = |mut entries: fs::ReadDir| {
            entries.all(|entry| entry.is_ok_and(|entry| entry.path() == lock))
        };
        if fs::read_dir(&self.folder).is_ok_and(alone) {
            fs::remove_file(&lock).ok();
            fs::remove_dir(&self.folder).ok();
        }
    }
}

/// `out` with `.training` after its last name.
fn path(out: &Path) -> PathBuf {
    let mut name = OsString::from(out.file_name().unwrap_or_default());
    name.push(".training");
    out.with_file_name(name)
}
