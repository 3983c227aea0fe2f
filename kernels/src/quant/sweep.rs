//! The order in which a product with packed weights is made: panels outside, tokens inside.
//!
//! ```text
//! for panels p in steps of `panels`            weights of a step stay in a cache
//!   for tokens t in even parts of at most `tokens`
//!     tile: y[t.., p..] = sum over blocks of columns
//! ```
//! A tile covers all columns, and each output is the same sum whatever the tile's shape.

use super::{Activations, Packed, ROWS};
use crate::tile::Tile;

/// What an instruction set brings: a tile, and how large it may be.
pub(crate) struct Sweep {
    /// The most tokens of a tile.
    pub tokens: usize,
    /// The most panels of a tile.
    pub panels: usize,
    /// The part `y` of `(T, N)`, which begins with a panel.
    pub tile: unsafe fn(x: Activations, w: Packed, accumulate: bool, y: &mut Tile),
}

impl Sweep {
    /// The part `y` of `(T, N)`, from quantised activations.
    ///
    /// # Safety
    /// The CPU must have the instruction set of this tile.
    ///
    /// # Panics
    /// If `y` does not begin with a panel.
    pub unsafe fn run(&self, x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
        let (tokens, outputs) = (y.rows(), y.cols());
        assert!(outputs.start.is_multiple_of(ROWS), "a part of the outputs begins with a panel");
        let parts = tokens.len().div_ceil(self.tokens);
        for from in outputs.clone().step_by(self.panels * ROWS) {
            let cols = from..(from + self.panels * ROWS).min(outputs.end);
            for part in 0..parts {
                let bound = |part| tokens.start + part * tokens.len() / parts;
                let mut y = y.part(bound(part)..bound(part + 1), cols.clone());
                // SAFETY: the caller's promise.
                unsafe { (self.tile)(x, w, accumulate, &mut y) }
            }
        }
    }
}
