//! Who runs chunks of work: the trait that a runtime implements, and the one thread that needs none.
//!
//! Chunks write disjoint outputs, so the result never depends on which thread ran one.

use core::marker::PhantomData;

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
    /// No two living slices may come from overlapping ranges; the range must be inside the slice.
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
/// If `chunk_len` is zero, or if the pool runs a chunk twice.
pub fn chunks_mut<T: Send>(
    pool: &dyn Pool,
    data: &mut [T],
    chunk_len: usize,
    job: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    assert!(chunk_len > 0, "chunks need a length");
    let len = data.len();
    let split = Split { start: data.as_mut_ptr(), len, lent: PhantomData };
    pool.run(len.div_ceil(chunk_len), &|i| {
        let from = i * chunk_len;
        // SAFETY: chunk `i` alone covers `i * chunk_len ..`, and `Pool::run` gives `i` once.
        let chunk = unsafe { split.range(from, (from + chunk_len).min(len)) };
        job(i, chunk);
    });
}

/// Runs `job(i, chunk of a, chunk of b)` for each pair of chunks of `a_len` and `b_len` elements (the
/// last ones may be shorter).
///
/// # Panics
/// If a length is zero, if `a` and `b` have different numbers of chunks, or if the pool runs a chunk
/// twice.
pub fn pairs_mut<A: Send, B: Send>(
    pool: &dyn Pool,
    (a, a_len): (&mut [A], usize),
    (b, b_len): (&mut [B], usize),
    job: &(dyn Fn(usize, &mut [A], &mut [B]) + Sync),
) {
    assert!(a_len > 0 && b_len > 0, "chunks need a length");
    assert_eq!(a.len().div_ceil(a_len), b.len().div_ceil(b_len), "chunks come in pairs");
    let (split_a, len_a) =
        (Split { start: a.as_mut_ptr(), len: a.len(), lent: PhantomData }, a.len());
    let (split_b, len_b) =
        (Split { start: b.as_mut_ptr(), len: b.len(), lent: PhantomData }, b.len());
    pool.run(len_a.div_ceil(a_len), &|i| {
        let (from_a, from_b) = (i * a_len, i * b_len);
        // SAFETY: chunk `i` alone covers `from_a ..` of `a`, and `Pool::run` gives `i` once.
        let a = unsafe { split_a.range(from_a, (from_a + a_len).min(len_a)) };
        // SAFETY: chunk `i` alone covers `from_b ..` of `b`, and `Pool::run` gives `i` once.
        let b = unsafe { split_b.range(from_b, (from_b + b_len).min(len_b)) };
        job(i, a, b);
    });
}
