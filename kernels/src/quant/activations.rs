//! Activations as int8: what the products of packed matrices take beside f32.
//!
//! ```text
//! x (T, K) f32  ->  (T, K / 32) blocks     | quants: i8 [32] | scale: f32 | sum: i32 |
//! scale = max |x| / 127 of the block, sum = that of its quants; K is padded with zeros
//! ```
//! The sum undoes an offset: `vpdpbusd` needs one unsigned factor, so kernels multiply by `w + 128`
//! (or by a raw half-byte of q4, `w + 8`) and subtract 128 (or 8) times the sum.

use bytemuck::{Pod, Zeroable};

use super::BLOCK;

/// Below this a block counts as zero: 127 over it would not be finite.
const LEAST: f32 = 1e-35;

/// Thirty-two activations of a token.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct ActivationBlock {
    /// In -127..=127.
    pub quants: [i8; BLOCK],
    /// What one quant is worth.
    pub scale: f32,
    /// Sum of the quants.
    pub sum: i32,
}

/// Quantised activations `(T, K)`.
#[derive(Clone, Copy, Debug)]
pub struct Activations<'a> {
    cols: usize,
    blocks: &'a [ActivationBlock],
}

impl<'a> Activations<'a> {
    /// Blocks that a token of `cols` activations needs.
    pub const fn width(cols: usize) -> usize {
        cols.div_ceil(BLOCK)
    }

    /// Tokens of `cols` activations each.
    ///
    /// # Panics
    /// If `blocks` are not of whole tokens.
    pub fn new(blocks: &'a [ActivationBlock], cols: usize) -> Self {
        assert!(blocks.is_empty() || blocks.len().is_multiple_of(Self::width(cols)));
        Self { cols, blocks }
    }

    /// K.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// T.
    pub const fn tokens(&self) -> usize {
        match self.blocks.len().checked_div(Self::width(self.cols)) {
            Some(tokens) => tokens,
            None => 0,
        }
    }

    /// All blocks, `(T, K / 32)`.
    pub const fn blocks(&self) -> &'a [ActivationBlock] {
        self.blocks
    }

    /// The blocks of token `t`.
    ///
    /// # Panics
    /// If there is no such token.
    pub fn row(&self, t: usize) -> &'a [ActivationBlock] {
        let width = Self::width(self.cols);
        &self.blocks[t * width..(t + 1) * width]
    }
}

/// What the elements of a block are multiplied by, given its largest magnitude.
pub(crate) fn factor(most: f32) -> f32 {
    if most < LEAST { 0.0 } else { 127.0 / most }
}
