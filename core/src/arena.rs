//! One block of lent memory, carved into aligned slices from the front.
//!
//! ```text
//! memory   | 64 bytes .. | x (T, D) | pad | q (T, q_dim) | pad | ...... free ...... |
//! scope()                                                      ^ a child carves from here,
//!                                        and what it took is free again when the child ends
//! ```

use bytemuck::Pod;

/// Every slice starts at a multiple of this many bytes: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// The lent memory is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes that were asked for.
    pub needed: usize,
    /// Bytes that were free.
    pub available: usize,
}

impl core::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        write!(f, "{} bytes of memory needed, {} available", self.needed, self.available)
    }
}

impl core::error::Error for OutOfMemory {}

/// Bytes that slices of `lengths` f32 elements take from an arena.
pub const fn f32_bytes(lengths: &[usize]) -> usize {
    let (mut sum, mut i) = (0, 0);
    while i < lengths.len() {
        sum += padded(lengths[i] * 4);
        i += 1;
    }
    sum
}

/// `bytes` rounded up to whole multiples of [`ALIGN`].
pub const fn padded(bytes: usize) -> usize {
    bytes.div_ceil(ALIGN) * ALIGN
}

/// Carves lent bytes; what a slice held before is unspecified.
#[derive(Debug)]
pub struct Arena<'a> {
    free: &'a mut [u8],
}

impl<'a> Arena<'a> {
    /// An arena over `memory`; up to `ALIGN - 1` bytes at the front are skipped to align it.
    pub fn new(memory: &'a mut [u8]) -> Self {
        let skip = memory.as_ptr().align_offset(ALIGN).min(memory.len());
        Self { free: &mut memory[skip..] }
    }

    /// Free bytes.
    pub const fn available(&self) -> usize {
        self.free.len()
    }

    /// An arena over what is free here; its slices are free again when it is gone.
    pub fn scope(&mut self) -> Arena<'_> {
        Arena { free: self.free }
    }

    /// Fails unless `bytes` are free.
    ///
    /// # Errors
    /// If they are not.
    pub const fn require(&self, bytes: usize) -> Result<(), OutOfMemory> {
        if bytes > self.available() {
            return Err(OutOfMemory { needed: bytes, available: self.available() });
        }
        Ok(())
    }

    /// `n` elements, aligned to [`ALIGN`].
    ///
    /// # Errors
    /// If they do not fit.
    pub fn take<T: Pod>(&mut self, n: usize) -> Result<&'a mut [T], OutOfMemory> {
        let exact = n.checked_mul(size_of::<T>());
        let available = self.available();
        let Some(exact) = exact.filter(|&bytes| bytes <= available) else {
            return Err(OutOfMemory { needed: exact.unwrap_or(usize::MAX), available });
        };
        let (taken, rest) =
            core::mem::take(&mut self.free).split_at_mut(padded(exact).min(available));
        self.free = rest;
        Ok(bytemuck::cast_slice_mut(&mut taken[..exact]))
    }

    /// `n` f32 elements, aligned to [`ALIGN`].
    ///
    /// # Errors
    /// If they do not fit.
    pub fn take_f32(&mut self, n: usize) -> Result<&'a mut [f32], OutOfMemory> {
        self.take(n)
    }

    /// One f32 slice for each of `lengths`: a table of buffers is one array of lengths, from which
    /// both the size ([`f32_bytes`]) and the slices come.
    ///
    /// # Errors
    /// If they do not fit together; nothing is taken then.
    pub fn take_each<const N: usize>(
        &mut self,
        lengths: [usize; N],
    ) -> Result<[&'a mut [f32]; N], OutOfMemory> {
        self.require(f32_bytes(&lengths))?;
        let mut slices = [const { None }; N];
        for (slice, n) in slices.iter_mut().zip(lengths) {
            *slice = Some(self.take_f32(n)?);
        }
        Ok(slices.map(Option::unwrap_or_default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_aligned_and_disjoint_and_a_scope_gives_back() {
        let mut memory = vec![0u8; 1000];
        let mut arena = Arena::new(&mut memory[3..]);
        let before = arena.available();
        let a = arena.take_f32(3).unwrap();
        let b = arena.take::<u64>(2).unwrap();
        assert_eq!(a.as_ptr() as usize % ALIGN, 0);
        assert_eq!(b.as_ptr() as usize - a.as_ptr() as usize, ALIGN);
        assert_eq!(arena.available(), before - 2 * ALIGN);
        let _ = arena.scope().take_f32(50).unwrap();
        assert_eq!(arena.available(), before - 2 * ALIGN);
    }

    #[test]
    fn too_little_memory_says_how_much_is_needed() {
        let mut memory = vec![0u8; 64 + ALIGN];
        let mut arena = Arena::new(&mut memory);
        let available = arena.available();
        assert_eq!(arena.take_f32(100), Err(OutOfMemory { needed: 400, available }));
        let each = arena.take_each([10, 100]);
        assert_eq!(each, Err(OutOfMemory { needed: 64 + 448, available }));
        let huge = arena.take_f32(usize::MAX).unwrap_err();
        assert_eq!(huge.needed, usize::MAX);
        assert_eq!(arena.available(), available);
    }
}
