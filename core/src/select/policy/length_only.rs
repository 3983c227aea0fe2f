//! A control: the rule of `quality` with the length alone, shorter being better.
//!
//! The histogram entropy divides by `log2(tokens + 1)`, so it prefers short texts whatever the
//! model says. What this control gains, the entropy gains without the model.

use super::{Policy, replace_one_of};

/// See the module.
pub const LENGTH_ONLY: Policy = Policy {
    name: "length",
    about: "replace a dialogue that is longer (a control)",
    full: |buffer, candidate, setting| {
        let ours = candidate.scores.tokens;
        Ok(replace_one_of(buffer, candidate, setting, |entry| ours < entry.scores.tokens))
    },
};
