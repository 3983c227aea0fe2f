//! Memory as the kernel counts it: `/proc/self/status`, watched by a small thread.
//!
//! The kernel keeps the peak of all resident pages (`VmHWM`) but not of the anonymous ones, so a
//! thread reads `RssAnon + RssShmem` fifty times a second and keeps the largest.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::fs;
use std::path::Path;
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

/// Of process `pid`: `RssAnon + RssShmem` as they are now, `VmHWM` so far; `None` once it has ended, or
/// where nothing tells.
pub fn of(pid: u32) -> Option<Peak> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // One that has ended and was not waited for has no memory any more.
    let rss_bytes = status_bytes(&status, "VmHWM:")?;
    let shared = status_bytes(&status, "RssShmem:").unwrap_or(0);
    Some(Peak { anonymous_bytes: status_bytes(&status, "RssAnon:")? + shared, rss_bytes })
}

fn status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// `RssAnon + RssShmem` now: memory that is not a file's.
pub fn anonymous_bytes() -> u64 {
    let status = status();
    status_bytes(&status, "RssAnon:").unwrap_or(0) + status_bytes(&status, "RssShmem:").unwrap_or(0)
}

/// Bytes of RAM; `None` where nothing tells.
pub fn total_bytes() -> Option<u64> {
    status_bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Bytes that this process may still take without the system swapping or killing: what the kernel says
/// is available, or less where a control group has a limit. `None` where nothing tells.
pub fn free_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let system = status_bytes(&info, "MemAvailable:");
    system.into_iter().chain(group_bytes("/proc/self/cgroup", "/sys/fs/cgroup")).min()
}

/// What the limits of this process's control group and of those around it leave: a limit less what its
/// group holds that could not be dropped, of either version of control groups.
fn group_bytes(own: &str, mounted: &str) -> Option<u64> {
    let groups = fs::read_to_string(own).ok()?;
    let left = groups.lines().flat_map(|line| {
        let (controllers, path) =
            line.split_once(':').and_then(|(_, rest)| rest.split_once(':')).unwrap_or_default();
        let (root, limit, used) = match controllers {
            "" => (mounted.to_owned(), "memory.max", "memory.current"),
            "memory" => {
                (format!("{mounted}/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => return Vec::new(),
        };
        // Inside a container the group is often mounted at the root, which is last here.
        let folders = Path::new(path.trim_start_matches('/')).ancestors();
        folders.filter_map(|folder| left_of(&Path::new(&root).join(folder), limit, used)).collect()
    });
    left.min()
}

/// What the limit of the group in `folder` leaves, if it has one.
fn left_of(folder: &Path, limit: &str, used: &str) -> Option<u64> {
    let number =
        |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = (number(limit)?, number(used)?);
    let stat = fs::read_to_string(folder.join("memory.stat")).ok()?;
    let file = stat
        .lines()
        .find_map(|line| line.strip_prefix("total_inactive_file "))
        .or_else(|| stat.lines().find_map(|line| line.strip_prefix("inactive_file ")));
    let droppable = file.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
    Some(limit.saturating_add(droppable).saturating_sub(used))
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
    fn the_limit_of_a_control_group_counts_in_both_versions() {
        let root = tempfile::tempdir().expect("folder");
        let put = |path: &str, text: &str| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().expect("parent")).expect("folder");
            fs::write(file, text).expect(path);
        };
        put("one", "9:name=systemd:/\n4:memory:/me\n");
        put("memory/me/memory.limit_in_bytes", "1000\n");
        put("memory/me/memory.usage_in_bytes", "600\n");
        put("memory/me/memory.stat", "cache 300\ninactive_file 250\n");
        put("two", "0::/me\n");
        put("me/memory.max", "2000\n");
        put("me/memory.current", "600\n");
        put("me/memory.stat", "anon 1\n");
        put("none", "0::/other\n");
        let path = |name: &str| root.path().join(name).display().to_string();
        let left = |name| group_bytes(&path(name), &root.path().display().to_string());
        assert_eq!((left("one"), left("two"), left("none")), (Some(650), Some(1400), None));
        put("me/memory.max", "max\n");
        assert_eq!(left("two"), None);
        // The limit of a group around it, as one whose memory is limited by the unit above.
        put("deep", "0::/me/unit/here\n");
        put("me/unit/here/memory.max", "5000\n");
        put("me/unit/here/memory.current", "100\n");
        put("me/unit/here/memory.stat", "inactive_file 50\n");
        assert_eq!(left("deep"), Some(4950));
        put("me/memory.max", "2000\n");
        assert_eq!(left("deep"), Some(1400));
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
