//! `--log`: a JSON line a step, each step once however often the training was interrupted.
//!
//! A checkpoint is written after the lines of its steps are on the disk, so a run that goes on finds
//! them there, drops what comes after them and writes on.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::tune::Step;

/// The file.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// A device or a pipe cannot be synced.
    regular: bool,
}

impl Log {
    /// Opens the log of a run that has made `done` steps.
    ///
    /// # Errors
    /// If the file cannot be opened, read or cut.
    pub(super) fn open(path: &Path, done: usize) -> Result<Self, String> {
        let fail = |error| format!("{}: {error}", path.display());
        let mut options = OpenOptions::new();
        options.create(true).write(true);
        // A pipe that is read from would wait for itself.
        let regular = !path.exists() || path.is_file();
        let mut file =
            options.truncate(done == 0).read(regular && done > 0).open(path).map_err(fail)?;
        if regular && done > 0 {
            let (lines, bytes) = kept(&file, done).map_err(fail)?;
            if lines < done {
                eprintln!(
                    "{}: has lines of {lines} of the {done} steps made so far; those of the rest \
                     are lost",
                    path.display()
                );
            }
            file.set_len(bytes).map_err(fail)?;
            file.seek(SeekFrom::End(0)).map_err(fail)?;
        }
        Ok(Self { path: path.to_path_buf(), file, regular })
    }

    /// Writes the line of a step.
    ///
    /// # Errors
    /// If the file takes no more.
    pub(super) fn write(&mut self, step: &Step) -> Result<(), String> {
        let line = json!({
            "step": step.step, "loss": step.loss, "lr": step.lr,
            "grad_norm": step.grad_norm, "tokens": step.tokens, "seconds": step.seconds,
        });
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Waits until the lines are on the disk.
    ///
    /// # Errors
    /// If they do not get there.
    pub(super) fn sync(&self) -> Result<(), String> {
        if !self.regular {
            return Ok(());
        }
        self.file.sync_all().map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

/// How many whole lines, of the steps from 1 to `done` at most, the file begins with, and how many
/// bytes.
fn kept(file: &File, done: usize) -> std::io::Result<(usize, u64)> {
    let (mut lines, mut bytes) = (0, 0);
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while lines < done {
        line.clear();
        let n = reader.read_until(b'\n', &mut line)?;
        let step = serde_json::from_slice::<Value>(&line).ok();
        let step = step.and_then(|line| line.get("step")?.as_u64());
        if !line.ends_with(b"\n") || step != Some(lines as u64 + 1) {
            break;
        }
        lines += 1;
        bytes += n as u64;
    }
    Ok((lines, bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn step(step: usize) -> Step {
        Step {
            step,
            loss: 1.0,
            lr: 0.1,
            grad_norm: 1.0,
            tokens: 3,
            seconds: 0.5,
            ends_epoch: false,
        }
    }

    #[test]
    fn a_run_that_goes_on_keeps_its_steps_lines_and_no_others() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let write = |done: usize, steps: core::ops::Range<usize>| {
            let mut log = Log::open(&path, done).expect("open");
            steps.for_each(|one| log.write(&step(one)).expect("write"));
            log.sync().expect("sync");
        };
        write(0, 1..6);
        let whole = fs::read_to_string(&path).expect("log");
        // Two steps were after the checkpoint, the last line was cut short.
        fs::write(&path, &whole[..whole.len() - 9]).expect("cut");
        write(3, 4..6);
        assert_eq!(fs::read_to_string(&path).expect("log"), whole);
        // Lines that are lost stay lost, and nothing is there twice.
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        fs::write(&path, lines[0].to_owned() + lines[2]).expect("hole");
        write(3, 4..6);
        assert_eq!(
            fs::read_to_string(&path).expect("log"),
            [lines[0], lines[3], lines[4]].concat()
        );
        write(0, 1..2);
        assert_eq!(fs::read_to_string(&path).expect("log"), lines[0], "a fresh run begins anew");
    }
}
