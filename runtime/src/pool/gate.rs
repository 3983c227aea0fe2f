//! Who talks goes first: work that can wait stands still while a reply is written.
//!
//! ```text
//! reply     gate.talk() ────────────── dropped
//! training  chunk │ (waits before the next chunk) │ chunk ...
//! ```
//! Training has a pool of its own, whose threads sleep meanwhile: the other has all cores after one
//! chunk of each thread, a part of one matrix product.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use homespun_kernels::Pool;

/// How many talk.
#[derive(Debug, Default)]
pub struct Gate {
    talking: AtomicUsize,
    lock: Mutex<()>,
    free: Condvar,
}

/// Somebody talks as long as this is held.
#[derive(Debug)]
pub struct Talking<'g>(&'g Gate);

impl Gate {
    /// From now on others wait.
    pub fn talk(&self) -> Talking<'_> {
        self.talking.fetch_add(1, Ordering::SeqCst);
        Talking(self)
    }

    /// Returns once nobody talks.
    pub fn wait(&self) {
        if self.talking.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut guard = self.lock();
        while self.talking.load(Ordering::SeqCst) > 0 {
            guard = self.free.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Talking<'_> {
    fn drop(&mut self) {
        if self.0.talking.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Who is about to wait holds the lock until it does.
            drop(self.0.lock());
            self.0.free.notify_all();
        }
    }
}

/// A pool whose chunks wait at a gate.
pub struct Patient<'g, P> {
    pool: P,
    gate: &'g Gate,
}

impl<'g, P: Pool> Patient<'g, P> {
    /// `pool`, whose chunks wait while somebody talks.
    pub const fn new(pool: P, gate: &'g Gate) -> Self {
        Self { pool, gate }
    }
}

impl<P: Pool> Pool for Patient<'_, P> {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        self.pool.run(chunks, &|chunk| {
            self.gate.wait();
            job(chunk);
        });
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::thread;

    use super::*;
    use crate::pool::Threads;

    #[test]
    fn chunks_wait_while_somebody_talks_and_all_are_done_after() {
        let gate = Gate::default();
        let pool = Patient::new(Threads::new(3).unwrap(), &gate);
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            let (first, second) = (gate.talk(), gate.talk());
            let work = scope.spawn(|| {
                pool.run(100, &|_| {
                    done.fetch_add(1, Ordering::Relaxed);
                });
            });
            thread::sleep(Duration::from_millis(30));
            drop(first);
            thread::sleep(Duration::from_millis(30));
            assert_eq!(done.load(Ordering::Relaxed), 0, "it did not wait for the second");
            drop(second);
            work.join().unwrap();
            assert_eq!(done.load(Ordering::Relaxed), 100);
        });
        // In the middle of a job as well: at most a chunk of each thread is done meanwhile.
        let gate = Gate::default();
        let pool = Patient::new(Threads::new(3).unwrap(), &gate);
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            let work = scope.spawn(|| {
                pool.run(400, &|_| {
                    thread::sleep(Duration::from_millis(1));
                    done.fetch_add(1, Ordering::Relaxed);
                });
            });
            thread::sleep(Duration::from_millis(20));
            let talking = gate.talk();
            let begun = done.load(Ordering::Relaxed);
            thread::sleep(Duration::from_millis(50));
            let after = done.load(Ordering::Relaxed);
            assert!(after - begun <= 3 && after < 400, "{begun} -> {after}");
            drop(talking);
            work.join().unwrap();
        });
        assert_eq!(done.load(Ordering::Relaxed), 400);
    }
}
