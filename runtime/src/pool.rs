//! A pool of threads that share out chunks dynamically and park when there is nothing to do.
//!
//! ```text
//! run(chunks, job):  post the job ── wake the parked ── take chunks with everybody else
//!                    ── withdraw the job ── wait for the workers that had joined
//! worker:            spin a little ── park ── join a posted job ── take chunks until none is left
//! ```
//! A worker that wakes after the job was withdrawn never sees it, so a short job does not wait for
//! sleepers.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::panic::catch_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use homespun_kernels::Pool;

/// How often a worker looks for a new job before it parks: some tens of microseconds.
const SPINS: usize = 4_000;

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// A posted job; the pointer lives as long as `Threads::run` has not withdrawn it.
#[derive(Clone, Copy)]
struct Posted {
    task: *const Task<'static>,
    chunks: usize,
}

// SAFETY: the task behind the pointer is `Sync`, and `run` keeps it alive while any worker has it.
unsafe impl Send for Posted {}

#[derive(Default)]
struct Slot {
    posted: Option<Posted>,
    joined: usize,
    parked: usize,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    slot: Mutex<Slot>,
    wake: Condvar,
    left: Condvar,
    /// Counts posted jobs; what spinning workers watch.
    epoch: AtomicUsize,
    next: AtomicUsize,
    panicked: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_chunks(&self, chunks: usize, task: &Task<'_>) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let chunk = self.next.fetch_add(1, Ordering::Relaxed);
                if chunk >= chunks {
                    break;
                }
                task(chunk);
            }
        }));
        if outcome.is_err() {
            self.next.store(chunks, Ordering::Relaxed);
            self.panicked.store(true, Ordering::Release);
        }
    }

    fn work(&self) {
        let mut seen = 0;
        loop {
            let mut spins = 0;
            while self.epoch.load(Ordering::Acquire) == seen && spins < SPINS {
                core::hint::spin_loop();
                spins += 1;
            }
            let mut slot = self.lock();
            while self.epoch.load(Ordering::Acquire) == seen && !slot.stop {
                slot.parked += 1;
                slot = self.wake.wait(slot).unwrap_or_else(PoisonError::into_inner);
                slot.parked -= 1;
            }
            if slot.stop {
                return;
            }
            seen = self.epoch.load(Ordering::Acquire);
            let Some(posted) = slot.posted else { continue };
            slot.joined += 1;
            drop(slot);
            // SAFETY: this worker is counted in `joined`, and `run` does not return, so the task
            // stays borrowed, until that count is zero again.
            self.take_chunks(posted.chunks, unsafe { &*posted.task });
            let mut slot = self.lock();
            slot.joined -= 1;
            if slot.joined == 0 {
                self.left.notify_one();
            }
        }
    }
}

/// Some threads, the caller's included.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs; a job started inside a job finds it taken and runs alone.
    busy: AtomicBool,
}

impl Threads {
    /// A pool of `threads` threads; the caller of [`Pool::run`] is one of them.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let workers = (1..threads.max(1))
            .map(|i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("homespun-{i}"))
                    .spawn(move || shared.work())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shared, workers, busy: AtomicBool::new(false) })
    }
}

impl Pool for Threads {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        if chunks <= 1 || self.workers.is_empty() || self.busy.swap(true, Ordering::Acquire) {
            (0..chunks).for_each(job);
            return;
        }
        let task: *const Task<'_> = job;
        // SAFETY: only the lifetime changes; the job is withdrawn, and everyone who joined it has
        // left, before this function returns and the borrow ends.
        let task: *const Task<'static> = unsafe { core::mem::transmute(task) };
        {
            let mut slot = self.shared.lock();
            self.shared.next.store(0, Ordering::Relaxed);
            slot.posted = Some(Posted { task, chunks });
            self.shared.epoch.fetch_add(1, Ordering::Release);
            if slot.parked > 0 {
                self.shared.wake.notify_all();
            }
        }
        self.shared.take_chunks(chunks, job);
        let mut slot = self.shared.lock();
        slot.posted = None;
        while slot.joined > 0 {
            slot = self.shared.left.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
        drop(slot);
        self.busy.store(false, Ordering::Release);
        assert!(
            !self.shared.panicked.swap(false, Ordering::AcqRel),
            "a chunk of parallel work panicked"
        );
    }

    fn threads(&self) -> usize {
        self.workers.len() + 1
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_all();
        // A spinning worker sees the new epoch, locks, and reads `stop`.
        self.shared.epoch.fetch_add(1, Ordering::Release);
        for worker in self.workers.drain(..) {
            // A worker's panic was caught inside it and reported by `run`.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homespun_kernels::chunks_mut;

    #[test]
    fn every_chunk_runs_once_at_any_thread_count() {
        for threads in 1..=5 {
            let pool = Threads::new(threads).unwrap();
            for chunks in [0, 1, 2, 7, 100] {
                let counts: Vec<_> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                for _ in 0..50 {
                    pool.run(chunks, &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                }
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 50));
            }
        }
    }

    #[test]
    fn a_job_inside_a_job_runs_alone() {
        let pool = Threads::new(3).unwrap();
        let mut sums = vec![0usize; 8];
        chunks_mut(&pool, &mut sums, 1, &|i, sum| {
            let total = AtomicUsize::new(0);
            pool.run(4, &|j| {
                total.fetch_add(i * 10 + j, Ordering::Relaxed);
            });
            sum[0] = total.into_inner();
        });
        assert_eq!(sums, (0..8).map(|i| i * 40 + 6).collect::<Vec<_>>());
    }

    #[test]
    fn a_panicking_chunk_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Threads::new(2).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(8, &|i| assert_ne!(i, 5, "planted"));
        }));
        assert!(outcome.is_err());
        let count = AtomicUsize::new(0);
        pool.run(8, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 8);
    }

    #[test]
    fn parked_workers_wake_for_a_late_job() {
        let pool = Threads::new(2).unwrap();
        std::thread::sleep(core::time::Duration::from_millis(30));
        let count = AtomicUsize::new(0);
        pool.run(1_000, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 1_000);
    }
}
