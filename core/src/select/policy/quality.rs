//! The paper's rule: replace one at random of the entries beaten on all three metrics.
//!
//! ```text
//! beaten = { b : EOE > EOE_b, DSS > DSS_b, IDD > IDD_b }      all strict
//! ```
//!
//! `IDD_b` is taken against the buffer as it is, `b` left out. On a full buffer this accepts ever
//! less: each replacement raises the bar on all three metrics at once.

use super::{Policy, replace_one_less_dissimilar};

/// See the module.
pub const QUALITY: Policy = Policy {
    name: "quality",
    about: "replace a dialogue that is beaten on entropy, domain score and dissimilarity",
    full: |buffer, candidate, setting| {
        let ours = candidate.scores;
        replace_one_less_dissimilar(buffer, candidate, setting, |entry| {
            ours.entropy > entry.scores.entropy && ours.domain_score > entry.scores.domain_score
        })
    },
};
