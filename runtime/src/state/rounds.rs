//! `rounds.jsonl`: what became of each round, a line a round, for the person to see.
//!
//! Beside figures it has a few replies before and after; they go with the dialogues that they are of,
//! and all of them with an adapter that is forgotten.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::vault::Vault;
use super::{Error, read_json_lines, write_json_lines};

/// The file's name.
pub const ROUNDS: &str = "rounds.jsonl";

/// Rounds that are remembered; the oldest go first.
const MOST: usize = 256;
/// Rounds whose replies are remembered.
const MOST_WITH_REPLIES: usize = 16;

/// Losses after an epoch, mean over target tokens, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Times through the dialogues.
    pub epoch: usize,
    /// On what was held out, or, where nothing was, on what is learned.
    pub loss: f64,
    /// On general dialogues.
    pub general: Option<f64>,
}

/// Replies to a question, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The dialogue's arrival number.
    pub id: u64,
    /// Whether it was held out, and not learned from.
    pub held_out: bool,
    /// The question.
    pub question: String,
    /// What the person would have liked.
    pub wanted: String,
    /// The reply before.
    pub before: String,
    /// And after.
    pub after: String,
}

/// A round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its number, from 1.
    pub round: u64,
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// The generation of its adapter, installed or kept aside.
    pub generation: Option<u64>,
    /// Annotated dialogues.
    pub learned_from: usize,
    /// Questions that it wrote for them.
    pub synthesised: u64,
    /// Training steps.
    pub steps: usize,
    /// The share of what was learned that was taken.
    pub share: f64,
    /// How long it took, since it began or went on.
    pub seconds: f64,
    /// Energy of the machine meanwhile, where a sensor tells.
    pub joules: Option<f64>,
    /// Loss before, on what was held out, or on what it learned from.
    pub loss_before: f64,
    /// And after.
    pub loss_after: f64,
    /// Loss on general dialogues before.
    pub general_before: Option<f64>,
    /// And after.
    pub general_after: Option<f64>,
    /// ROUGE-1 of the replies to held-out questions, before.
    pub rouge1_before: Option<f64>,
    /// And after.
    pub rouge1_after: Option<f64>,
    /// Whether the adapter is used.
    pub installed: bool,
    /// Why it is not.
    pub why: Option<String>,
    /// Losses by epoch.
    pub curve: Vec<Epoch>,
    /// Replies before and after.
    pub replies: Vec<Shown>,
}

/// The rounds of a state, oldest first.
///
/// # Errors
/// If the file cannot be read.
pub fn read(vault: &Vault) -> Result<Vec<Row>, Error> {
    read_json_lines(vault, ROUNDS)
}

/// Adds a round; one of the same number, which a cut left before it counted, is replaced.
pub(crate) fn add(vault: &Vault, row: Row) -> Result<(), Error> {
    let mut rows = read(vault)?;
    rows.retain(|old| old.round < row.round);
    rows.push(row);
    let old = rows.len().saturating_sub(MOST_WITH_REPLIES);
    rows[..old].iter_mut().for_each(|row| row.replies.clear());
    let from = rows.len().saturating_sub(MOST);
    write_json_lines(vault, ROUNDS, &rows[from..])
}

/// Forgets replies: those of `arrivals` and those that `holds` says, or all of them.
pub(super) fn forget(
    vault: &Vault,
    arrivals: &BTreeSet<u64>,
    all: bool,
    holds: impl Fn(&Shown) -> bool,
) -> Result<(), Error> {
    let mut rows = read(vault)?;
    let replies = |rows: &[Row]| rows.iter().map(|row| row.replies.len()).sum::<usize>();
    let before = replies(&rows);
    for row in &mut rows {
        row.replies.retain(|one| !all && !arrivals.contains(&one.id) && !holds(one));
    }
    if replies(&rows) == before {
        return Ok(());
    }
    write_json_lines(vault, ROUNDS, &rows)
}
