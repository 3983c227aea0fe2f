//! What a round is held to: what it may not unlearn, and how long it may take.

use core::time::Duration;
use std::path::PathBuf;

use clap::Args;

use crate::cli::interrupt::time;
use crate::engine::Base;
use crate::personalize::general::{self, General};
use crate::personalize::round::Care;

/// Replies that a round compares before and after.
const SHOWN: usize = 8;

/// How a round is kept from doing harm.
#[derive(Args)]
pub(crate) struct CareArgs {
    /// Dialogues that the model must not unlearn (JSON Lines): every other one is rehearsed, and an
    /// adapter that raises the loss on the rest by more than a twentieth is kept aside [default: a few
    /// built-in ones]
    #[arg(long, value_name = "JSONL")]
    general: Option<PathBuf>,
    /// Rehearse none, and install what fits the person better whatever it does to them
    #[arg(long, conflicts_with = "general")]
    unguarded: bool,
    /// Train for at most so long, such as 2h; then the best epoch so far counts
    #[arg(long, value_name = "TIME", value_parser = time)]
    round_budget: Option<Duration>,
}

impl CareArgs {
    /// The general dialogues as `base` sees them; `None` without a guard.
    pub(crate) fn general(&self, base: &Base) -> Result<Option<General>, String> {
        if self.unguarded {
            return Ok(None);
        }
        general::open(base, self.general.as_deref()).map(Some)
    }

    /// As rounds take it.
    pub(crate) fn care<'a>(&self, general: Option<&'a General>) -> Care<'a> {
        Care { general, budget: self.round_budget, shown: SHOWN, tell: None }
    }
}
