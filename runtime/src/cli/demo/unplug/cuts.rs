//! A round that is killed at random moments of its training, and goes on each time.
//!
//! ```text
//! training  |----------------------------------------------| as long as it took in one go
//! kills         x      x   x              x        x         drawn in LATEST of it by the system
//! ```

use core::time::Duration;

use super::Result;
use super::child::Ended;
use super::stage::{Learned, Stage};
use crate::cli::options::say;

/// How often it is killed.
pub(super) const KILLS: usize = 5;

/// The part of the training in which all kills fall, at first; less each time that the training was at
/// its end before them.
const LATEST: f64 = 0.8;

/// How often the moments are drawn.
const DRAWS: i32 = 6;

/// A kill.
pub(super) struct Cut {
    /// When, counted from the process's first checkpoint.
    pub after: Duration,
    /// Steps that the checkpoint has behind it.
    pub steps: u64,
    /// How the process ended.
    pub ended: Ended,
}

impl Stage<'_> {
    /// Runs a round that is killed [`KILLS`] times; where it is to be spoilt, the last process learns at
    /// another rate.
    pub(super) fn broken(
        &self,
        budget: u64,
        unbroken: &Ended,
        spoil: bool,
    ) -> Result<(Vec<Cut>, Ended, Learned)> {
        for draw in 0..DRAWS {
            self.copy("state", "killed")?;
            let within = unbroken.training.mul_f64(LATEST * 0.6f64.powi(draw));
            let Some(cuts) = self.cuts(budget, within)? else {
                say("   drawn anew   the training ended before it was killed five times")?;
                continue;
            };
            let lr = if spoil { "1e-3" } else { self.learn.lr };
            let last = self.round("killed", budget, lr, &[])?;
            let learned = self.learned("killed", &last)?;
            return Ok((cuts, last, learned));
        }
        Err(format!("the training ended before it was killed {KILLS} times").into())
    }

    /// Kills it at moments that are drawn anew; `None` if it ended before one of them.
    fn cuts(&self, budget: u64, within: Duration) -> Result<Option<Vec<Cut>>> {
        let mut cuts = Vec::new();
        for after in moments(within)? {
            let words = ["--unplug-after", &after.as_millis().to_string()];
            let ended = self.round("killed", budget, self.learn.lr, &words)?;
            if !ended.is_killed() {
                // What it says instead, if it is no end of a round.
                ended.json()?;
                return Ok(None);
            }
            // It had written a checkpoint, unless it had come to its end meanwhile.
            let Some(reached) = self.reached("killed")? else { return Ok(None) };
            cuts.push(Cut { after, steps: reached.steps, ended });
        }
        Ok(Some(cuts))
    }
}

/// Random moments within a time, as the times between them.
fn moments(within: Duration) -> Result<[Duration; KILLS]> {
    let mut bytes = [[0; 4]; KILLS];
    getrandom::fill(bytes.as_flattened_mut()).map_err(|error| format!("random: {error}"))?;
    let mut at = bytes.map(|bytes| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX));
    at.sort_by(f64::total_cmp);
    let mut before = 0.0;
    Ok(at.map(|at| within.mul_f64(at - core::mem::replace(&mut before, at))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_order_and_in_time_and_never_the_same() {
        let within = Duration::from_secs(10);
        let (one, two) = (moments(within).expect("random"), moments(within).expect("random"));
        assert_ne!(one, two);
        assert!(one.iter().sum::<Duration>() <= within, "{one:?}");
    }
}
