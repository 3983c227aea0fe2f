//! A folder that lasts as long as a command does, and is gone after it, after Ctrl-C too.
//!
//! At a first SIGINT, SIGTERM or SIGHUP the process that the command runs, if it runs one, is killed, the
//! folder removed, and the command ended with the exit status of the signal. A second one ends it at once.

use core::time::Duration;
use std::fs;
use std::path::Path;
use std::process::{self, Child};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use tempfile::TempDir;

use crate::tune::pace::{Cause, Heed, Stop};

/// How often it looks whether a signal came.
const GLANCE: Duration = Duration::from_millis(20);

/// How often it tries to remove a folder that this process still writes to.
const TRIES: usize = 50;

/// The process that the command runs at the moment.
pub(crate) type Running = Mutex<Option<Child>>;

/// The folder.
pub(crate) struct Temporary {
    folder: TempDir,
    running: Arc<Running>,
    _heed: Heed,
}

impl Temporary {
    /// Makes it.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
        let stop = Stop::at_signals(None).map_err(|error| format!("signals: {error}"))?;
        let running = Arc::default();
        let temporary = Self { folder, running, _heed: stop.heed() };
        let (path, running) = (temporary.path().to_owned(), Arc::downgrade(&temporary.running));
        let thread = thread::Builder::new().name("homespun-temporary".into());
        thread
            .spawn(move || watch(&stop, &path, &running))
            .map_err(|error| format!("signals: {error}"))?;
        Ok(temporary)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The process that is killed before the folder goes; who starts it holds this until it is here.
    pub(crate) fn running(&self) -> MutexGuard<'_, Option<Child>> {
        lock(&self.running)
    }
}

fn lock(running: &Running) -> MutexGuard<'_, Option<Child>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a signal for as long as the folder is there.
fn watch(stop: &Stop, folder: &Path, running: &Weak<Running>) {
    while let Some(running) = running.upgrade() {
        let Some(cause) = stop.cause() else {
            drop(running);
            thread::sleep(GLANCE);
            continue;
        };
        // Never given back: nothing is started any more.
        let mut running = lock(&running);
        if let Some(child) = running.as_mut() {
            child.kill().and_then(|()| child.wait()).ok();
        }
        for _ in 0..TRIES {
            if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
                break;
            }
            thread::sleep(GLANCE);
        }
        eprintln!("homespun: stopped ({cause})");
        let status = match cause {
            Cause::Signal(number) => 128 + i32::from(number),
            Cause::Deadline | Cause::Told => 0,
        };
        process::exit(status);
    }
}
