//! The newest dialogues: each replaces the oldest.

use super::{Policy, Verdict};

/// See the module.
pub const FIFO: Policy = Policy {
    name: "fifo",
    about: "replace the oldest dialogue",
    full: |buffer, _, _| {
        let oldest = (0..buffer.bins())
            .filter_map(|bin| buffer.entry(bin).map(|entry| (entry.arrival, bin)))
            .min();
        Ok(oldest.map_or(Verdict::Drop, |(_, bin)| Verdict::Replace(bin)))
    },
};
