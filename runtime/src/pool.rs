//! A pool of threads that share out chunks dynamically, hand jobs over by atomics alone while they
//! are awake, and park when there is nothing to do.
//!
//! ```text
//! gate     | epoch: 32 | joined: 24 | ... | STOP | WAITING | OPEN |      one atomic word
//!
//! caller   write the job ── gate: new epoch, OPEN ── wake the parked, if any ── take chunks
//!          ── gate: not OPEN ── spin until joined is 0 (long: WAITING, sleep)
//! worker   spin on the gate (long: park) ── new epoch and OPEN? joined + 1, in the same step
//!          ── take chunks until none is left ── joined - 1
//! ```
//! A worker that comes after the gate has closed never sees the job, so a short job waits neither for
//! sleepers nor for threads that the system has not scheduled.

pub mod gate;

use core::cell::UnsafeCell;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use std::panic::catch_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use homespun_kernels::Pool;

/// How long a worker looks for the next job before it parks, and a caller for the last worker:
/// longer than the serial gaps inside a model and between two tokens.
const SPIN: Duration = Duration::from_micros(100);
/// From here on a spinning thread lets others run between two looks.
const YIELD: Duration = Duration::from_micros(20);
/// Whoever lets others run and is away for so long shares its core: better to sleep than to look.
const STOLEN: Duration = Duration::from_micros(20);
/// Looks between two readings of the clock.
const LOOKS: u32 = 64;

/// Workers may join.
const OPEN: u64 = 1;
/// The caller sleeps until the last worker leaves.
const WAITING: u64 = 2;
/// Workers end.
const STOP: u64 = 4;
/// One worker that has joined.
const JOINED: u64 = 1 << 8;
/// One job.
const EPOCH: u64 = 1 << 32;

const fn joined(gate: u64) -> u64 {
    gate % EPOCH / JOINED
}

const fn epoch(gate: u64) -> u64 {
    gate / EPOCH
}

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// A posted job; the pointer is good until `Threads::run` has closed the gate and seen everyone leave.
#[derive(Clone, Copy)]
struct Posted {
    task: *const Task<'static>,
    chunks: usize,
}

/// What a hand-over touches, on a cache line of its own (128 bytes: x86 fetches pairs of 64).
#[repr(align(128))]
struct Desk {
    gate: AtomicU64,
    /// The next chunk to take.
    next: AtomicUsize,
    posted: UnsafeCell<Option<Posted>>,
}

struct Shared {
    desk: Desk,
    panicked: AtomicBool,
    /// Workers that sleep or are about to.
    parked: AtomicUsize,
    /// How long to look before sleeping.
    spin: Duration,
    /// Only for sleeping: held while a thread decides to, and by whoever wakes it.
    sleep: Mutex<()>,
    wake: Condvar,
    left: Condvar,
}

// SAFETY: all but `posted` is `Sync`. The caller alone writes `posted`, while the gate is closed and
// nobody has joined; workers only read it, between joining and leaving (release and acquire on the
// gate order the two). The task behind its pointer is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Shared {}

impl Shared {
    fn new(spin: Duration) -> Self {
        Self {
            desk: Desk {
                gate: AtomicU64::new(0),
                next: AtomicUsize::new(0),
                posted: UnsafeCell::new(None),
            },
            panicked: AtomicBool::new(false),
            parked: AtomicUsize::new(0),
            spin,
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            left: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.sleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the gate until `done` says so of it, for at most `self.spin`; the gate as last seen.
    fn look(&self, done: impl Fn(u64) -> bool) -> u64 {
        let mut since = None;
        loop {
            for _ in 0..LOOKS {
                let gate = self.desk.gate.load(Ordering::Acquire);
                if done(gate) {
                    return gate;
                }
                core::hint::spin_loop();
            }
            let since = *since.get_or_insert_with(Instant::now);
            let spun = since.elapsed();
            if spun >= YIELD {
                std::thread::yield_now();
            }
            if spun >= self.spin || since.elapsed() - spun >= STOLEN {
                return self.desk.gate.load(Ordering::Acquire);
            }
        }
    }

    /// Runs `first`, then chunks that nobody has taken.
    fn take_chunks(&self, first: Option<usize>, chunks: usize, task: &Task<'_>) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let take = || self.desk.next.fetch_add(1, Ordering::Relaxed);
            let mut chunk = first.unwrap_or_else(take);
            while chunk < chunks {
                task(chunk);
                chunk = take();
            }
        }));
        if let Err(payload) = outcome {
            // Dropping it here could panic again: the caller would leave with workers inside the job,
            // a worker would never leave. The message was printed where the panic began.
            core::mem::forget(payload);
            self.desk.next.store(chunks, Ordering::Relaxed);
            self.panicked.store(true, Ordering::Release);
        }
    }

    /// Posts a job and does its part of it; returns when every chunk has ended.
    fn lead(&self, chunks: usize, task: &Task<'_>) {
        let pointer: *const Task<'_> = task;
        // SAFETY: only the lifetime changes; this function closes the gate and waits until everyone
        // who joined has left before it returns and the borrow ends.
        let pointer: *const Task<'static> = unsafe { core::mem::transmute(pointer) };
        // SAFETY: the gate is closed and nobody has joined (so the last call left it, and `busy` lets
        // one caller in), so no worker reads this now.
        unsafe { *self.desk.posted.get() = Some(Posted { task: pointer, chunks }) };
        // The caller's own first chunk needs no atomic.
        self.desk.next.store(1, Ordering::Relaxed);
        let last = self.desk.gate.load(Ordering::Relaxed);
        let gate = epoch(last).wrapping_add(1).wrapping_mul(EPOCH) | OPEN;
        // Sequentially consistent with `park`: a worker sees this gate, or is seen parked.
        self.desk.gate.store(gate, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            self.wake.notify_all();
        }
        self.take_chunks(Some(0), chunks, task);
        let gate = self.desk.gate.fetch_and(!OPEN, Ordering::AcqRel);
        if joined(gate) > 0 && joined(self.look(|gate| joined(gate) == 0)) > 0 {
            let mut guard = self.lock();
            let mut gate = self.desk.gate.fetch_or(WAITING, Ordering::AcqRel);
            while joined(gate) > 0 {
                guard = self.left.wait(guard).unwrap_or_else(PoisonError::into_inner);
                gate = self.desk.gate.load(Ordering::Acquire);
            }
        }
    }

    /// Sleeps until the gate's epoch is not `seen`.
    fn park(&self, seen: u64) {
        let mut guard = self.lock();
        self.parked.fetch_add(1, Ordering::SeqCst);
        while epoch(self.desk.gate.load(Ordering::SeqCst)) == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.parked.fetch_sub(1, Ordering::SeqCst);
    }

    fn work(&self) {
        let mut seen = 0;
        loop {
            let mut gate = self.look(|gate| epoch(gate) != seen);
            if epoch(gate) == seen {
                self.park(seen);
                continue;
            }
            seen = epoch(gate);
            while gate & OPEN != 0 && epoch(gate) == seen {
                let (on, off) = (Ordering::AcqRel, Ordering::Acquire);
                match self.desk.gate.compare_exchange_weak(gate, gate + JOINED, on, off) {
                    Ok(_) => {
                        self.follow();
                        break;
                    }
                    Err(now) => gate = now,
                }
            }
            if gate & STOP != 0 {
                return;
            }
        }
    }

    /// A worker's part of the job that it has joined.
    fn follow(&self) {
        // SAFETY: this worker is counted in the gate, so the caller does not write `posted`.
        if let Some(Posted { task, chunks }) = unsafe { *self.desk.posted.get() } {
            // SAFETY: `lead` does not return, so the task stays borrowed, until this worker has left.
            self.take_chunks(None, chunks, unsafe { &*task });
        }
        let gate = self.desk.gate.fetch_sub(JOINED, Ordering::AcqRel);
        if joined(gate) == 1 && gate & WAITING != 0 {
            drop(self.lock());
            self.left.notify_one();
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
        // More threads than cores only take the cores from each other by looking.
        let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        let spin = if threads > cores { Duration::ZERO } else { SPIN };
        let mut pool = Self {
            shared: Arc::new(Shared::new(spin)),
            workers: Vec::with_capacity(threads.saturating_sub(1)),
            busy: AtomicBool::new(false),
        };
        for i in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new().name(format!("homespun-{i}"));
            // On an error those that have started end as `pool` drops.
            pool.workers.push(worker.spawn(move || shared.work())?);
        }
        Ok(pool)
    }
}

impl Pool for Threads {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        let alone = chunks <= 1 || self.workers.is_empty();
        // Looking before swapping keeps nested jobs from passing the flag's cache line around.
        if alone || self.busy.load(Ordering::Relaxed) || self.busy.swap(true, Ordering::Acquire) {
            (0..chunks).for_each(job);
            return;
        }
        self.shared.lead(chunks, job);
        let panicked = self.shared.panicked.load(Ordering::Acquire)
            && self.shared.panicked.swap(false, Ordering::AcqRel);
        self.busy.store(false, Ordering::Release);
        assert!(!panicked, "a chunk of parallel work panicked");
    }

    fn threads(&self) -> usize {
        self.workers.len() + 1
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A spinning worker sees the new epoch; a parked one is woken for it.
        let last = self.shared.desk.gate.load(Ordering::Acquire);
        let gate = epoch(last).wrapping_add(1).wrapping_mul(EPOCH) | STOP;
        self.shared.desk.gate.store(gate, Ordering::SeqCst);
        drop(self.shared.lock());
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker's panic was caught inside it and reported by `run`.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests;
