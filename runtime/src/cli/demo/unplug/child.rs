//! Processes of this program that the demo runs, and their memory as the kernel counts it.

use core::time::Duration;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::cli::plug::written;
use crate::cli::temporary::Temporary;
use crate::memory::{self, Peak};
use crate::state::TRAINING;

/// How often the memory of a process is read.
pub(super) const GLANCE: Duration = Duration::from_millis(2);

type Result<T> = core::result::Result<T, Box<dyn core::error::Error>>;

/// How a process ended.
pub(super) struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// And on standard error.
    pub stderr: String,
    /// The largest figures that were read of its memory.
    pub peak: Peak,
    /// From the first checkpoint of a training in the state to the last.
    pub training: Duration,
}

impl Ended {
    /// Whether it was killed by SIGKILL.
    pub fn is_killed(&self) -> bool {
        self.status.signal() == Some(Signal::KILL.as_raw())
    }

    /// The JSON object that it printed, if it ended well.
    pub fn json(&self) -> Result<Value> {
        if !self.status.success() {
            return Err(format!("{}: {}", self.status, self.stderr.trim()).into());
        }
        let line = self.stdout.lines().last().unwrap_or_default();
        Ok(serde_json::from_str(line).map_err(|error| format!("{line:?}: {error}"))?)
    }
}

/// Runs `homespun WORDS` in `place` with `input`, and watches what it takes; `state` is where it trains.
pub(super) fn run(place: &Temporary, words: &[String], input: &str, state: &Path) -> Result<Ended> {
    let program = env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut command = Command::new(program);
    command.args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = place.running();
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", words[0]))?;
    let id = child.id();
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended before it read all says why itself.
        stdin.write_all(input.as_bytes()).ok();
    }
    *running = Some(child);
    drop(running);
    let mut peak = Peak { anonymous_bytes: 0, rss_bytes: 0 };
    let checkpoints = state.join(TRAINING);
    let (mut began, mut last, mut training) = (None, None, Duration::ZERO);
    loop {
        if let Some(now) = memory::of(id) {
            peak.anonymous_bytes = peak.anonymous_bytes.max(now.anonymous_bytes);
            peak.rss_bytes = peak.rss_bytes.max(now.rss_bytes);
        }
        let newest = written(&checkpoints);
        if newest > last {
            (last, training) = (newest, began.get_or_insert_with(Instant::now).elapsed());
        }
        let mut running = place.running();
        let child = running.as_mut().ok_or("the process is another's")?;
        let Some(status) = child.try_wait()? else {
            drop(running);
            thread::sleep(GLANCE);
            continue;
        };
        // It says little enough for the pipes to hold it.
        let (mut stdout, mut stderr) = (String::new(), String::new());
        if let (Some(out), Some(err)) = (&mut child.stdout, &mut child.stderr) {
            out.read_to_string(&mut stdout)?;
            err.read_to_string(&mut stderr)?;
        }
        *running = None;
        return Ok(Ended { status, stdout, stderr, peak, training });
    }
}

/// Copies a folder and the files in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let fail = |path: &Path| {
        let path = path.display().to_string();
        move |error| format!("{path}: {error}")
    };
    let mut folders: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        fs::create_dir(&to).map_err(fail(&to))?;
        for entry in fs::read_dir(&from).map_err(fail(&from))? {
            let entry = entry.map_err(fail(&from))?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                folders.push((from, to));
            } else if from.is_file() {
                fs::copy(&from, &to).map_err(fail(&from))?;
            }
        }
    }
    Ok(())
}
