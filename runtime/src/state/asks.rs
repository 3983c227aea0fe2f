//! `asks.jsonl`: what the person was asked about, when, and what became of it: numbers alone.
//!
//! ```text
//! a request is open until it is answered or skipped; it counts for a day
//! one that was skipped is not asked again for a week, then it may be
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::vault::Vault;
use super::{Error, read_json_lines, write_json_lines};

/// The file's name.
pub(super) const ASKS: &str = "asks.jsonl";

/// Seconds of a day.
const DAY: u64 = 86_400;
/// And of a week.
const WEEK: u64 = 7 * DAY;

/// A request to the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The dialogue's arrival number.
    pub arrival: u64,
    /// When it was asked, in seconds since 1970.
    pub at: u64,
    /// When it was answered or skipped.
    pub closed: Option<u64>,
    /// Whether it was skipped.
    pub skipped: bool,
}

/// What the person was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks(Vec<Ask>);

impl Asks {
    /// Those of a state.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(vault: &Vault) -> Result<Self, Error> {
        Ok(Self(read_json_lines(vault, ASKS)?))
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// If it cannot be written; the old one is then still there.
    pub fn write(&self, vault: &Vault) -> Result<(), Error> {
        write_json_lines(vault, ASKS, &self.0)
    }

    /// Whether the dialogue was asked about and is not answered yet.
    pub fn is_open(&self, arrival: u64) -> bool {
        self.0.iter().any(|ask| ask.arrival == arrival && ask.closed.is_none())
    }

    /// Whether the dialogue, which was skipped, may be asked about again: not for a week, and never if
    /// nobody knows when that was.
    pub fn has_rested(&self, arrival: u64, now: u64) -> bool {
        let rested =
            |ask: &Ask| ask.closed.is_some_and(|closed| now >= closed.saturating_add(WEEK));
        self.0.iter().any(|ask| ask.arrival == arrival && ask.skipped && rested(ask))
    }

    /// Requests of the day before `now`.
    pub fn today(&self, now: u64) -> usize {
        // A clock that was set back does not forbid to ask for ever.
        self.0.iter().filter(|ask| ask.at <= now && now - ask.at < DAY).count()
    }

    /// Opens a request.
    pub fn open(&mut self, arrival: u64, now: u64) {
        self.0.retain(|ask| ask.arrival != arrival);
        self.0.push(Ask { arrival, at: now, closed: None, skipped: false });
    }

    /// Closes a request; where there was none, what was skipped is written down all the same.
    pub fn close(&mut self, arrival: u64, now: u64, skipped: bool) {
        match self.0.iter_mut().find(|ask| ask.arrival == arrival) {
            Some(ask) => (ask.closed, ask.skipped) = (Some(now), skipped),
            // Nobody was asked, so it does not count for the day.
            None if skipped => self.0.push(Ask { arrival, at: 0, closed: Some(now), skipped }),
            None => {}
        }
    }

    /// Leaves out what says nothing any more: requests that were answered, or about dialogues that are
    /// gone; those of the last day still count.
    pub fn prune(&mut self, now: u64, living: impl Fn(u64) -> bool) {
        let counts = |ask: &Ask| now.saturating_sub(ask.at) < DAY;
        let says = |ask: &Ask| ask.closed.is_none() || ask.skipped;
        self.0.retain(|ask| counts(ask) || (living(ask.arrival) && says(ask)));
    }
}

/// Forgets which of `arrivals` were asked about.
pub(super) fn forget(vault: &Vault, arrivals: &BTreeSet<u64>) -> Result<(), Error> {
    let mut asks = Asks::read(vault)?;
    let before = asks.0.len();
    asks.0.retain(|ask| !arrivals.contains(&ask.arrival));
    if asks.0.len() == before { Ok(()) } else { asks.write(vault) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_so_many_and_a_skipped_one_rests_for_a_week() {
        let mut asks = Asks::default();
        let begin = 1_000_000;
        asks.open(1, begin);
        asks.open(2, begin + DAY / 2);
        assert_eq!((asks.today(begin), asks.today(begin + DAY / 2)), (1, 2));
        assert_eq!((asks.today(begin + DAY), asks.today(begin + 2 * DAY)), (1, 0));
        assert!(asks.is_open(1) && asks.is_open(2) && !asks.is_open(3));
        asks.close(1, begin + 5, true);
        asks.close(2, begin + DAY, false);
        assert!(!asks.is_open(1) && !asks.is_open(2));
        assert!(!asks.has_rested(1, begin + WEEK) && asks.has_rested(1, begin + 5 + WEEK));
        assert!(!asks.has_rested(2, begin + 9 * DAY), "it was answered");
        assert!(!asks.has_rested(3, begin + 9 * DAY), "nobody knows when");
        // One that was skipped unasked rests too, and does not count for the day.
        asks.close(7, begin + DAY, true);
        assert_eq!(asks.today(begin + DAY), 1);
        let arrivals = |asks: &Asks| asks.0.iter().map(|ask| ask.arrival).collect::<Vec<_>>();
        asks.prune(begin + DAY, |arrival| arrival != 1);
        assert_eq!(arrivals(&asks), [2, 7], "2 counts for the day still");
        asks.prune(begin + 9 * DAY, |_| true);
        assert_eq!(arrivals(&asks), [7]);
    }
}
