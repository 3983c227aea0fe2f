//! Memory in a static that is lent once, for all that the model writes.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// `N` bytes, aligned to a cache line and to the widest vector.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct StaticArena<const N: usize> {
    bytes: UnsafeCell<[u8; N]>,
    taken: AtomicBool,
}

// SAFETY: the bytes are reached through `take` alone, which gives them to one caller.
unsafe impl<const N: usize> Sync for StaticArena<N> {}

impl<const N: usize> StaticArena<N> {
    /// Zeros, that nobody has yet.
    pub const fn new() -> Self {
        StaticArena { bytes: UnsafeCell::new([0; N]), taken: AtomicBool::new(false) }
    }

    /// All of it, the first time.
    #[expect(clippy::mut_from_ref, reason = "one call gets it: the others get nothing")]
    pub fn take(&'static self) -> Option<&'static mut [u8]> {
        if self.taken.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the swap gave `false` to this call only, so that this borrow is the only one.
        Some(unsafe { &mut *self.bytes.get() })
    }
}

impl<const N: usize> Default for StaticArena<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_lent_once() {
        static ARENA: StaticArena<100> = StaticArena::new();
        let bytes = ARENA.take().expect("nobody has it");
        assert!(bytes.len() == 100 && bytes.as_ptr().addr().is_multiple_of(64));
        assert!(ARENA.take().is_none());
    }
}
