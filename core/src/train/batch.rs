//! The rows of a micro-batch: its dialogues one after the other, without padding.

use super::Example;
use crate::arena::{Arena, padded};
use crate::buffers::Angles;
use crate::config::Config;
use crate::model::Error;
use crate::ops::dropout::Dropout;

/// Bytes of the arena that a batch of `rows` rows takes.
pub(super) const fn bytes(rows: usize) -> usize {
    4 * padded(4 * rows) + padded(8 * rows)
}

/// The rows of some dialogues, one after the other.
pub(super) struct Batch<'a> {
    pub(super) tokens: &'a [u32],
    /// The first row of each row's dialogue.
    pub(super) starts: &'a [u32],
    /// Dropout's key of each row; zero without dropout.
    pub(super) keys: &'a [u64],
    /// Rows that predict a target.
    pub(super) predicting: &'a [u32],
    /// What each of them predicts.
    pub(super) predicted: &'a [u32],
}

impl<'a> Batch<'a> {
    pub(super) fn pack(
        examples: &[Example],
        dropout: Option<Dropout>,
        arena: &mut Arena<'a>,
        rows: usize,
    ) -> Result<Self, Error> {
        let (tokens, starts) = (arena.take(rows)?, arena.take(rows)?);
        let (predicting, predicted) = (arena.take::<u32>(rows)?, arena.take::<u32>(rows)?);
        let keys = arena.take(rows)?;
        let (mut row, mut targets) = (0, 0);
        for example in examples {
            let start = row as u32;
            for position in 0..example.rows() {
                tokens[row] = example.tokens[position];
                starts[row] = start;
                keys[row] = dropout.map_or(0, |dropout| dropout.row_key(example.id, position));
                if example.targets[position + 1] {
                    predicting[targets] = row as u32;
                    predicted[targets] = example.tokens[position + 1];
                    targets += 1;
                }
                row += 1;
            }
        }
        let (predicting, predicted) = (&predicting[..targets], &predicted[..targets]);
        Ok(Self { tokens, starts, keys, predicting, predicted })
    }

    /// RoPE's angles, each dialogue's from 0.
    pub(super) fn angles(
        &self,
        arena: &mut Arena<'a>,
        config: &Config,
    ) -> Result<Angles<'a>, Error> {
        Ok(Angles::take(arena, config, self.starts.len(), |t| t - self.starts[t] as usize)?)
    }
}
