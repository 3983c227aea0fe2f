//! `STATE/.status`: a socket at which the process that holds a state tells how it stands.
//!
//! Who connects gets one JSON object, and nothing is written to the disk. The directory's mode says who
//! may. A path of a socket is short, so it is reached through the opened directory.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

/// Its name in the state directory.
const NAME: &str = ".status";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer, at most.
const MOST: u64 = 1 << 16;

/// Somebody answers as long as this is held.
#[derive(Debug)]
pub struct Telling {
    folder: File,
    ended: Arc<AtomicBool>,
}

fn short(folder: &File) -> PathBuf {
    format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()).into()
}

/// Answers everybody who asks in the state directory `root`, which this process holds.
///
/// # Errors
/// If the socket cannot be made.
pub fn tell(root: &Path, json: impl Fn() -> Value + Send + 'static) -> io::Result<Telling> {
    let folder = File::open(root)?;
    let path = short(&folder);
    // The lock is ours, so one that is there was left behind.
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let ended = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&ended);
    let name = "homespun-status".to_owned();
    thread::Builder::new().name(name).spawn(move || {
        for stream in listener.incoming() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let Ok(mut stream) = stream else { continue };
            // Who asks and does not read is not waited for.
            let _ = stream.set_write_timeout(Some(PATIENCE));
            let _ = writeln!(stream, "{}", json());
        }
    })?;
    Ok(Telling { folder, ended })
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let path = short(&self.folder);
        // Wakes the thread, which sees that it is over.
        let _ = UnixStream::connect(&path);
        let _ = fs::remove_file(&path);
    }
}

/// How the process that holds `root` stands; `None` if none tells.
///
/// # Errors
/// If the answer is not one.
pub fn ask(root: &Path) -> io::Result<Option<Value>> {
    let folder = File::open(root)?;
    let Ok(stream) = UnixStream::connect(short(&folder)) else { return Ok(None) };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.take(MOST).read_to_string(&mut text)?;
    // It ended just now.
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&text).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_told_until_it_ends_however_long_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("x".repeat(150));
        fs::create_dir(&root).unwrap();
        assert_eq!(ask(&root).unwrap(), None);
        let telling = tell(&root, || serde_json::json!({"phase": "talk"})).unwrap();
        for _ in 0..3 {
            assert_eq!(ask(&root).unwrap().unwrap()["phase"], "talk");
        }
        drop(telling);
        assert_eq!(ask(&root).unwrap(), None);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        // One that was left behind by a process that was killed is no hindrance.
        drop(UnixListener::bind(short(&File::open(&root).unwrap())).unwrap());
        assert_eq!(ask(&root).unwrap(), None);
        let _telling = tell(&root, || serde_json::json!({"phase": "round"})).unwrap();
        assert_eq!(ask(&root).unwrap().unwrap()["phase"], "round");
    }
}
