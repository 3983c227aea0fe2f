//! Another base for a person: texts and annotations stay, what a base made of them is made anew.

use homespun_core::select::{Scores, Scoring};

use super::score::{self, Earlier, Scorer};
use crate::engine::{self, Engine};
use crate::lexicon::Table;
use crate::progress::Progress;
use crate::samples::Flags;
use crate::state::Record;
use crate::state::moving::Row;

/// Makes `record` and `rows` those of the engine's base: every dialogue is embedded and scored by it,
/// in the order in which they were put; the adapter starts again, and what is annotated waits to be
/// learned.
///
/// # Errors
/// If the model fails.
pub fn rebase(
    engine: Engine,
    book: &Table,
    scoring: Scoring,
    record: &mut Record,
    rows: &mut [Row],
) -> Result<(), engine::Error> {
    let mut scorer = Scorer::new(engine, book.lexicons(), scoring);
    let mut earlier = Earlier::default();
    let mut progress = Progress::new("score", rows.len());
    for row in &mut *rows {
        let features = scorer.features(&row.dialogue())?;
        let dissimilarity = earlier.dissimilarity(&features);
        let scores = Scores { dissimilarity, ..features.scores };
        progress.advance(1, scores.tokens as usize);
        row.score(scores, features.embedding.clone());
        earlier.remember(features);
    }
    let annotated = |row: &&Row| Flags::from_bits(row.flags).contains(Flags::ANNOTATED);
    record.base = engine.base().hashes();
    record.scoring = score::fingerprint(scoring, book);
    record.restarted_at = record.generation;
    record.using = None;
    record.seen_key.clear();
    record.rouge1_before = None;
    record.held_out_hash.clear();
    record.new_annotations = rows.iter().filter(annotated).count() as u64;
    Ok(())
}
