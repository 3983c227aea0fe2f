//! Scratch memory for jobs that run at once: as many equal slots as there are workers, however many
//! jobs there are.
//!
//! ```text
//! memory   | slot 0 | slot 1 | ... |        taken   one bit a slot
//! lend     waits for a free bit, lends its slot, gives it back
//! ```
//! What a slot holds when it is lent is what an earlier job left: a job's result must not depend on it.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering};

/// Equal slots of one lent block of memory.
#[derive(Debug)]
pub struct Slots<'a> {
    start: *mut f32,
    len: usize,
    count: u32,
    taken: AtomicU32,
    lent: PhantomData<&'a mut [f32]>,
}

// SAFETY: `taken` gives each slot to one job at a time, and `f32` is `Send`.
unsafe impl Sync for Slots<'_> {}

impl<'a> Slots<'a> {
    /// The most slots that there can be.
    pub const MOST: usize = 32;

    /// As many slots of `len` elements as `memory` holds, at most [`MOST`](Self::MOST).
    ///
    /// # Panics
    /// If there is not one.
    pub fn new(memory: &'a mut [f32], len: usize) -> Self {
        let count = memory.len().checked_div(len).unwrap_or(Self::MOST).min(Self::MOST);
        assert!(count > 0, "memory for one slot is needed");
        Self {
            start: memory.as_mut_ptr(),
            len,
            count: count as u32,
            taken: AtomicU32::new(0),
            lent: PhantomData,
        }
    }

    /// Runs `job` with a slot that no other job has; waits for one where all are lent. A job that asks
    /// for a second slot may wait for ever.
    pub fn lend<R>(&self, job: impl FnOnce(&mut [f32]) -> R) -> R {
        let held = Held { taken: &self.taken, bit: self.take() };
        // SAFETY: slot `bit < count` is inside the lent memory, and its bit was clear until `take` set
        // it: no other job has the slot before `held` clears it, after the slice's last use.
        let slot = unsafe {
            core::slice::from_raw_parts_mut(self.start.add(held.bit as usize * self.len), self.len)
        };
        job(slot)
    }

    /// The number of a slot that was free.
    fn take(&self) -> u32 {
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            let free = (!taken).trailing_zeros();
            if free >= self.count {
                core::hint::spin_loop();
                taken = self.taken.load(Ordering::Relaxed);
                continue;
            }
            let with = taken | 1 << free;
            // Acquire: the earlier job's writes to the slot end before this one's begin.
            let set =
                self.taken.compare_exchange_weak(taken, with, Ordering::Acquire, Ordering::Relaxed);
            match set {
                Ok(_) => return free,
                Err(now) => taken = now,
            }
        }
    }
}

/// Gives a slot back, after a panic too.
struct Held<'s> {
    taken: &'s AtomicU32,
    bit: u32,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.taken.fetch_and(!(1 << self.bit), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::pools::Four;
    use crate::pool::Pool;

    #[test]
    fn no_two_jobs_have_one_slot_at_once() {
        for count in [1, 2, 3] {
            let mut memory = vec![0.0; 8 * count + 5];
            let slots = Slots::new(&mut memory, 8);
            Four.run(200, &|job| {
                slots.lend(|slot| {
                    slot.fill(job as f32);
                    std::thread::yield_now();
                    assert!(slot.iter().all(|&x| x == job as f32));
                });
            });
        }
    }

    #[test]
    fn a_job_that_panics_gives_its_slot_back() {
        let mut memory = [0.0; 4];
        let slots = Slots::new(&mut memory, 4);
        let job = core::panic::AssertUnwindSafe(|| slots.lend(|_| panic!("a job")));
        assert!(std::panic::catch_unwind(job).is_err());
        assert_eq!(slots.lend(|slot| slot.len()), 4);
    }

    #[test]
    #[should_panic(expected = "one slot")]
    fn memory_for_no_slot_is_refused() {
        Slots::new(&mut [0.0; 3], 4);
    }
}
