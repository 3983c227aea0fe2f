//! An ablation: the rule of `quality` with the domain score alone.

use super::{Policy, replace_one_of};

/// See the module.
pub const DOMAIN_ONLY: Policy = Policy {
    name: "domain",
    about: "replace a dialogue that is beaten on the domain score",
    full: |buffer, candidate, setting| {
        let ours = candidate.scores.domain_score;
        Ok(replace_one_of(buffer, candidate, setting, |entry| ours > entry.scores.domain_score))
    },
};
