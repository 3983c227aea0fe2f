//! The memory that the rounds are given: the least at which their plan is the one of plenty.
//!
//! With less the plan takes smaller pieces, which decide the last bits; and with only just enough for its
//! pieces, two processes might take different ones, since none is of the same size to the page each time.
//! So it is a megabyte more.

use std::fs;

use super::Result;
use super::stage::Stage;
use crate::cli::options::say;
use crate::state::TRAINING;

/// Megabytes that are plenty.
const PLENTY: u64 = 1000;

/// The copy of the state that is tried on.
const TRIAL: &str = "trial";

/// How a round would be laid out.
enum Planned {
    /// In these pieces.
    Pieces(Vec<u64>),
    /// Not at all: what it says, and the megabytes that it asks for.
    Refused(String, u64),
}

impl Stage<'_> {
    /// The budget, in megabytes.
    pub(super) fn budget(&self) -> Result<u64> {
        self.copy("state", TRIAL)?;
        let Planned::Pieces(best) = self.planned(PLENTY)? else {
            return Err(format!("{PLENTY} MB are not enough to learn three dialogues").into());
        };
        let mut budget = 1;
        while budget < PLENTY {
            match self.planned(budget)? {
                Planned::Pieces(pieces) if pieces == best => return Ok(budget + 1),
                Planned::Pieces(_) => budget += 1,
                Planned::Refused(reason, needed) => {
                    say(format_args!("   refused      {reason}"))?;
                    budget = needed.max(budget + 1);
                }
            }
        }
        Ok(PLENTY)
    }

    /// Begins a round in `budget` megabytes and ends it at once.
    fn planned(&self, budget: u64) -> Result<Planned> {
        let begun = self.path(TRIAL).join(TRAINING);
        if begun.exists() {
            fs::remove_dir_all(&begun).map_err(|error| format!("{}: {error}", begun.display()))?;
        }
        let ended = self.round(TRIAL, budget, self.learn.lr, &["--unplug-after", "0"])?;
        if let Some(needed) = needed(&ended.stderr) {
            let reason = ended.stderr.trim().trim_start_matches("homespun: ").to_owned();
            return Ok(Planned::Refused(reason, needed));
        }
        match self.reached(TRIAL)? {
            Some(reached) => Ok(Planned::Pieces(reached.plan)),
            None => Err(format!("a round did not begin: {}", ended.stderr.trim()).into()),
        }
    }
}

/// The megabytes that a round which was refused asks for.
fn needed(stderr: &str) -> Option<u64> {
    let (before, _) = stderr.split_once(" MB are needed")?;
    let number = before.rsplit(' ').next()?;
    number.parse().ok().map(|needed: f64| needed.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_that_a_refusal_asks_for_is_read() {
        let refused = "homespun: --memory: 1.0 MB are too little to train in; 13.2 MB are needed\n";
        assert_eq!(needed(refused), Some(14));
        assert_eq!(needed("homespun: no state there"), None);
    }
}
