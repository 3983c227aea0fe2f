//! Memory as the kernel counts it: `/proc/self/status`, watched by a small thread.
//!
//! The kernel keeps the peak of all resident pages (`VmHWM`) but not of the anonymous ones, so a
//! thread reads `RssAnon + RssShmem` fifty times a second and keeps the largest.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::fs;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Peaks of this process so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// Largest `RssAnon + RssShmem` seen: memory that is not a file's.
    pub anonymous_bytes: u64,
    /// `VmHWM`: the largest resident set, mapped weights included.
    pub rss_bytes: u64,
}

/// Watches this process's memory until it is dropped.
pub struct Watch {
    shared: Arc<(AtomicU64, AtomicBool)>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts watching; where there is no `/proc` or no thread to be had, peaks are what single
    /// readings give.
    pub fn start() -> Self {
        let shared = Arc::new((AtomicU64::new(anonymous_bytes()), AtomicBool::new(false)));
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("homespun-memory".into())
            .spawn(move || {
                while !theirs.1.load(Ordering::Relaxed) {
                    theirs.0.fetch_max(anonymous_bytes(), Ordering::Relaxed);
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            })
            .ok();
        Self { shared, thread }
    }

    /// The peaks so far, this moment included.
    pub fn peak(&self) -> Peak {
        let now = anonymous_bytes();
        let anonymous_bytes = self.shared.0.fetch_max(now, Ordering::Relaxed).max(now);
        Peak { anonymous_bytes, rss_bytes: status_bytes(&status(), "VmHWM:").unwrap_or(0) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.1.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only reads numbers; there is nothing to report if it died.
            let _ = thread.join();
        }
    }
}

fn status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

fn anonymous_bytes() -> u64 {
    let status = status();
    status_bytes(&status, "RssAnon:").unwrap_or(0) + status_bytes(&status, "RssShmem:").unwrap_or(0)
}

/// The value of a line `Name:   123 kB`, in bytes.
fn status_bytes(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_in_bytes() {
        let status = "VmHWM:\t  2048 kB\nRssAnon:\t 12 kB\n";
        assert_eq!(status_bytes(status, "VmHWM:"), Some(2048 * 1024));
        assert_eq!(status_bytes(status, "RssAnon:"), Some(12 * 1024));
        assert_eq!(status_bytes(status, "RssShmem:"), None);
    }

    #[test]
    fn memory_that_was_freed_still_counts_in_the_peak() {
        if status().is_empty() {
            return println!("skipped: this system has no /proc/self/status");
        }
        let watch = Watch::start();
        let before = watch.peak().anonymous_bytes;
        let block = core::hint::black_box(vec![1u8; 64 << 20]);
        std::thread::sleep(Duration::from_millis(200));
        drop(block);
        assert!(watch.peak().anonymous_bytes >= before + (48 << 20));
    }
}
