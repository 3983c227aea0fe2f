//! Bugs that can be planted in tests, each to be found by the harness that stands against it. Outside
//! tests there are none.

/// What can be wrong with what is kept in flash: samples, or a pair of halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Bug {
    /// The header is written before what it vouches for.
    HeaderFirst,
    /// Payload and header are not kept apart by a barrier.
    NoBarrier,
    /// What was there is erased before the new header is written.
    OldErasedEarly,
    /// The oldest record of a bin, or half of a pair, counts.
    OldestWins,
    /// What is read is not checked.
    Unchecked,
    /// Mounting tidies up.
    MountWrites,
    /// An erase forgets how often the slot was erased before.
    EraseCountReset,
    /// What was written is not read back.
    Unverified,
    /// The nonce is made from the generation.
    NonceFromGeneration,
    /// The text is stored as it is, though records are sealed.
    TextPlain,
    /// Cold records stay where they are.
    NoLevelling,
}

#[cfg(test)]
std::thread_local! {
    static PLANTED: core::cell::Cell<Option<Bug>> = const { core::cell::Cell::new(None) };
}

/// Runs `test` with `bug` planted in this thread.
#[cfg(test)]
pub(crate) fn with<T>(bug: Bug, test: impl FnOnce() -> T) -> T {
    PLANTED.set(Some(bug));
    let result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(test));
    PLANTED.set(None);
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whether `bug` is planted.
#[inline(always)]
pub(crate) fn planted(bug: Bug) -> bool {
    #[cfg(test)]
    return PLANTED.get() == Some(bug);
    #[cfg(not(test))]
    {
        let _ = bug;
        false
    }
}
