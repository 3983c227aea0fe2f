//! An ablation: the rule of `quality` with the dissimilarity alone.

use super::{Policy, replace_one_less_dissimilar};

/// See the module.
pub const DISSIMILARITY_ONLY: Policy = Policy {
    name: "dissimilarity",
    about: "replace a dialogue that is beaten on dissimilarity",
    full: |buffer, candidate, setting| {
        replace_one_less_dissimilar(buffer, candidate, setting, |_| true)
    },
};
