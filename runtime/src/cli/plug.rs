//! A plug that is pulled: a process that ends itself in its training, as if the power had failed.
//!
//! ```text
//! wait    until this process has written a checkpoint of its own, so that it is training
//! sleep   as long as it was told, be it into the writing of another one
//! SIGKILL no destructor, no flush, nothing said
//! ```

use core::time::Duration;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::SystemTime;

use rustix::process::{Signal, getpid, kill_process};

use crate::state::TRAINING;
use crate::tune::store::FILES;

/// How often it looks for the checkpoint.
const GLANCE: Duration = Duration::from_millis(1);

/// When the plug is pulled, if it is.
#[derive(clap::Args)]
pub(crate) struct PlugArgs {
    /// Kill this process so many milliseconds after its first checkpoint
    #[arg(long, value_name = "MILLISECONDS", hide = true)]
    unplug_after: Option<u64>,
}

impl PlugArgs {
    /// Pulls it in time, where it is to be pulled; training keeps its checkpoints in `state`.
    pub(crate) fn arm(&self, state: &Path) -> Result<(), String> {
        let Some(after) = self.unplug_after.map(Duration::from_millis) else { return Ok(()) };
        let (folder, before) = (state.join(TRAINING), written(&state.join(TRAINING)));
        let pull = move || {
            while written(&folder) == before {
                thread::sleep(GLANCE);
            }
            thread::sleep(after);
            // It cannot be refused: a process may signal itself.
            kill_process(getpid(), Signal::KILL).ok();
        };
        let thread = thread::Builder::new().name("homespun-plug".into()).spawn(pull);
        thread.map(drop).map_err(|error| format!("--unplug-after: {error}"))
    }
}

/// When a checkpoint in `folder` was last written; never, where there is none.
pub(crate) fn written(folder: &Path) -> Option<SystemTime> {
    let written = |name| fs::metadata(folder.join(name)).ok()?.modified().ok();
    FILES.into_iter().filter_map(written).max()
}
