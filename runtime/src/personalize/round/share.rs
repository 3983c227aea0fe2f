//! How much of what was learned is taken: all of it, or so much that general dialogues are still
//! predicted well (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3).
//!
//! An adapter that costs something in general must have learned something: replies are to fit their own
//! questions better than those of others. Words without sense fit all questions alike.

use super::Why;
use super::learn::{Sets, mean};
use super::report::limit;
use crate::adapter::Adapter;
use crate::engine::{Engine, Error};

/// The least share that is worth taking, and how finely a larger one is looked for.
const LEAST: f64 = 0.5;
const HALVINGS: usize = 3;

/// The loss of replies after their own questions is at most this much of their loss after others. On
/// rounds of the built-in model: 0.82 to 0.96 where somebody's tastes were learned, 0.986 to 0.993 where
/// random words were.
const RELATED: f64 = 0.97;

/// What the loss on general dialogues may become.
#[derive(Clone, Copy)]
pub(super) struct Within {
    pub before: f64,
    pub limit: f64,
}

/// What was taken, and how it is judged.
pub(super) struct Taken {
    pub share: f64,
    /// Loss on what epochs are judged by.
    pub own: f64,
    /// On general dialogues.
    pub general: f64,
}

impl Within {
    /// Where it was `before`.
    pub(super) fn of(before: f64) -> Self {
        Self { before, limit: limit(before) }
    }

    /// Whether the least share of an adapter may be well where all of it has this loss, which rises
    /// with about the square of the share.
    pub(super) fn may_become(self, general: f64) -> bool {
        general <= self.before + (self.limit - self.before) / (LEAST * LEAST)
    }

    /// Says that it became `after`.
    pub(super) fn why(self, after: f64) -> Why {
        Why::General { before: self.before, after }
    }
}

impl Taken {
    /// Moves `adapter` as far back towards `start` as general dialogues ask for.
    ///
    /// # Errors
    /// If the model fails.
    pub(super) fn of(
        sets: &Sets,
        engine: &Engine,
        adapter: &mut Adapter,
        start: &[f32],
        within: Within,
    ) -> Result<Self, Error> {
        let learned = adapter.parameters.clone();
        let mut general_at = |share: f64| -> Result<f64, Error> {
            let between = start.iter().zip(&learned);
            for (parameter, (start, learned)) in adapter.parameters.iter_mut().zip(between) {
                // All of it is exactly what was learned.
                let part = start + share as f32 * (learned - start);
                *parameter = if share < 1.0 { part } else { *learned };
            }
            engine.prepare(adapter)?;
            Ok(mean(engine.loss(Some(adapter), sets.general)?))
        };
        let (mut share, mut general) = (1.0, general_at(1.0)?);
        let is_well = |general: f64| general <= within.limit;
        if !is_well(general) {
            (share, general) = (LEAST, general_at(LEAST)?);
            let mut high = 1.0;
            for _ in 0..if is_well(general) { HALVINGS } else { 0 } {
                let middle = 0.5 * (share + high);
                match general_at(middle)? {
                    now if is_well(now) => (share, general) = (middle, now),
                    _ => high = middle,
                }
            }
            general_at(share)?;
        }
        let own = mean(engine.loss(Some(adapter), sets.judged())?);
        Ok(Self { share, own, general })
    }

    /// Why it is not to be installed for what it costs, if it is not.
    ///
    /// # Errors
    /// If the model fails.
    pub(super) fn why(
        &self,
        sets: &Sets,
        engine: &Engine,
        adapter: &Adapter,
        within: Within,
    ) -> Result<Option<Why>, Error> {
        let is_well = self.general <= within.limit;
        if !is_well {
            return Ok(Some(within.why(self.general)));
        }
        let is_cheap = self.general <= 0.5 * (within.before + within.limit);
        let [asked, swapped] = sets.pairs;
        if is_cheap || asked.len() < 2 {
            return Ok(None);
        }
        let own = mean(engine.loss(Some(adapter), asked)?);
        let other = mean(engine.loss(Some(adapter), swapped)?);
        Ok((own > RELATED * other).then_some(Why::Unrelated { own, other }))
    }
}
