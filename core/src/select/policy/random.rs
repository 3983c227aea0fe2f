//! A uniform sample of all that arrived: reservoir sampling (Vitter 1985, algorithm R).
//!
//! ```text
//! arrival n (from 0), B bins: j uniform in 0..=n;  j < B -> Replace(j), else Drop
//! ```

use super::{Policy, Verdict, draw};

/// See the module.
pub const RANDOM: Policy = Policy {
    name: "random",
    about: "keep a uniform random sample of the stream",
    full: |buffer, candidate, setting| {
        let arrived = candidate.arrival.saturating_add(1);
        let place = draw(setting.seed, candidate.arrival, 0, arrived);
        Ok(if place < buffer.bins() as u64 {
            Verdict::Replace(place as usize)
        } else {
            Verdict::Drop
        })
    },
};
