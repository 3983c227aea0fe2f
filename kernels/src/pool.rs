//! Who runs chunks of work: the trait that a runtime implements, and the one thread that needs none.
//!
//! Chunks write disjoint outputs, so the result never depends on which thread ran one.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering};

/// Runs `job(0)`, ..., `job(chunks - 1)`, each once, and returns when all have ended.
pub trait Pool: Sync {
    /// Runs every chunk, in any order, on any thread.
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync));

    /// How many threads may run chunks at once.
    fn threads(&self) -> usize;
}

/// The calling thread alone, chunks in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Pool for Serial {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        for chunk in 0..chunks {
            job(chunk);
        }
    }

    fn threads(&self) -> usize {
        1
    }
}

/// Words of the set of chunks that have begun.
const WORDS: usize = 32;

/// Runs `job(0)`, ..., `job(items - 1)` on the pool, each proven to run exactly once: `unsafe` code
/// hands out disjoint memory by index, and a [`Pool`] is safe code that may be wrong.
///
/// # Panics
/// If the pool runs a chunk twice, not at all, or one that it was not given.
pub(crate) fn run_once(pool: &dyn Pool, items: usize, job: &(dyn Fn(usize) + Sync)) {
    let limit = WORDS * 32;
    let group = items.div_ceil(limit).max(1);
    let chunks = items.div_ceil(group);
    if chunks < 2 {
        return (0..items).for_each(job);
    }
    let begun = [const { AtomicU32::new(0) }; WORDS];
    pool.run(chunks, &|chunk| {
        assert!(chunk < chunks, "the pool ran a chunk that does not exist");
        let bit = 1 << (chunk % 32);
        let before = begun[chunk / 32].fetch_or(bit, Ordering::Relaxed);
        assert!(before & bit == 0, "the pool ran a chunk twice");
        (chunk * group..((chunk + 1) * group).min(items)).for_each(job);
    });
    let ran: u32 = begun.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
    assert!(ran as usize == chunks, "the pool left a chunk out");
}

/// A slice that many threads split into disjoint chunks.
struct Split<'a, T> {
    start: *mut T,
    len: usize,
    lent: PhantomData<&'a mut [T]>,
}

// SAFETY: `chunks_mut` hands each chunk index, hence each disjoint range, to exactly one call.
unsafe impl<T: Send> Sync for Split<'_, T> {}

impl<T> Split<'_, T> {
    /// # Safety
    /// No two living slices may come from overlapping ranges.
    ///
    /// # Panics
    /// If the range is not inside the slice.
    #[allow(clippy::mut_from_ref, reason = "the caller proves that ranges are disjoint")]
    unsafe fn range(&self, from: usize, to: usize) -> &mut [T] {
        assert!(from <= to && to <= self.len);
        // SAFETY: the range is inside the lent slice, and the caller lets no two overlap.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(from), to - from) }
    }
}

/// Runs `job(i, chunk)` for each chunk of `chunk_len` elements of `data` (the last may be shorter).
///
/// # Panics
/// If `chunk_len` is zero, or if the pool does not run each chunk once.
pub fn chunks_mut<T: Send>(
    pool: &dyn Pool,
    data: &mut [T],
    chunk_len: usize,
    job: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    assert!(chunk_len > 0, "chunks need a length");
    let len = data.len();
    let split = Split { start: data.as_mut_ptr(), len, lent: PhantomData };
    run_once(pool, len.div_ceil(chunk_len), &|i| {
        let from = i * chunk_len;
        // SAFETY: chunk `i` alone covers `i * chunk_len ..`, and `run_once` gives `i` once.
        let chunk = unsafe { split.range(from, (from + chunk_len).min(len)) };
        job(i, chunk);
    });
}

/// A job on a pair of chunks.
pub type PairJob<'a, A, B> = dyn Fn(usize, &mut [A], &mut [B]) + Sync + 'a;

/// Runs `job(i, chunk of a, chunk of b)` for each pair of chunks of `a_len` and `b_len` elements (the
/// last ones may be shorter).
///
/// # Panics
/// If a length is zero, if `a` and `b` have different numbers of chunks, or if the pool does not run
/// each chunk once.
pub fn pairs_mut<A: Send, B: Send>(
    pool: &dyn Pool,
    (a, a_len): (&mut [A], usize),
    (b, b_len): (&mut [B], usize),
    job: &PairJob<A, B>,
) {
    assert!(a_len > 0 && b_len > 0, "chunks need a length");
    assert_eq!(a.len().div_ceil(a_len), b.len().div_ceil(b_len), "chunks come in pairs");
    let (a_all, b_all) = (a.len(), b.len());
    let a = Split { start: a.as_mut_ptr(), len: a_all, lent: PhantomData };
    let b = Split { start: b.as_mut_ptr(), len: b_all, lent: PhantomData };
    run_once(pool, a_all.div_ceil(a_len), &|i| {
        let (a_from, b_from) = (i * a_len, i * b_len);
        // SAFETY: chunk `i` alone covers `a_from ..` of `a`, and `run_once` gives `i` once.
        let a = unsafe { a.range(a_from, (a_from + a_len).min(a_all)) };
        // SAFETY: chunk `i` alone covers `b_from ..` of `b`, and `run_once` gives `i` once.
        let b = unsafe { b.range(b_from, (b_from + b_len).min(b_all)) };
        job(i, a, b);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs chunk 0 twice, or leaves the last one out.
    struct Wrong {
        twice: bool,
    }

    impl Pool for Wrong {
        fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
            for chunk in 0..chunks {
                job(if self.twice { 0 } else { chunk.min(chunks - 2) });
                if !self.twice && chunk == chunks - 2 {
                    return;
                }
            }
        }

        fn threads(&self) -> usize {
            1
        }
    }

    #[test]
    fn chunks_cover_a_slice_once_even_when_there_are_very_many() {
        for len in [0, 1, 7, 1023, 1024, 1025, 5000] {
            let mut data = vec![0u32; len];
            chunks_mut(&Serial, &mut data, 1, &|i, chunk| chunk[0] += i as u32 + 1);
            assert!(data.iter().enumerate().all(|(i, &x)| x == i as u32 + 1), "{len}");
        }
    }

    #[test]
    #[should_panic(expected = "ran a chunk twice")]
    fn a_pool_that_repeats_a_chunk_is_caught() {
        chunks_mut(&Wrong { twice: true }, &mut [0u8; 4], 2, &|_, _| ());
    }

    #[test]
    #[should_panic(expected = "left a chunk out")]
    fn a_pool_that_forgets_a_chunk_is_caught() {
        chunks_mut(&Wrong { twice: false }, &mut [0u8; 6], 2, &|_, _| ());
    }
}
