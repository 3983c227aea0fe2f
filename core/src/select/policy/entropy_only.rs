//! An ablation: the rule of `quality` with the entropy alone.

use super::{Policy, replace_one_of};

/// See the module.
pub const ENTROPY_ONLY: Policy = Policy {
    name: "entropy",
    about: "replace a dialogue that is beaten on entropy",
    full: |buffer, candidate, setting| {
        let ours = candidate.scores.entropy;
        Ok(replace_one_of(buffer, candidate, setting, |entry| ours > entry.scores.entropy))
    },
};
