//! Keys and values of the tokens so far, in lent memory.
//!
//! ```text
//! memory   | layer 0 keys (kv_heads, C, head_dim) | layer 0 values | layer 1 keys | ...
//! ```
//! Keys lie head by head so that attention reads those of one head in one sweep.

use crate::arena::OutOfMemory;
use crate::config::Config;

/// A cache of up to [`capacity`](Self::capacity) tokens.
#[derive(Debug)]
pub struct KvCache<'a> {
    memory: &'a mut [f32],
    row: usize,
    layers: usize,
    capacity: usize,
    len: usize,
}

impl<'a> KvCache<'a> {
    /// f32 elements for `context` tokens.
    pub const fn elements(config: &Config, context: usize) -> usize {
        config.layers * 2 * config.kv_dim() * context
    }

    /// An empty cache for as many tokens as `memory` holds.
    ///
    /// # Errors
    /// If it does not hold one.
    pub fn new(config: &Config, memory: &'a mut [f32]) -> Result<Self, OutOfMemory> {
        let token = Self::elements(config, 1);
        let capacity = memory.len().checked_div(token).unwrap_or(0);
        if capacity == 0 {
            return Err(OutOfMemory { needed: token * 4, available: memory.len() * 4 });
        }
        Ok(Self { memory, row: config.kv_dim(), layers: config.layers, capacity, len: 0 })
    }

    /// A cache over memory that another one of the same shape has left with `len` tokens in it.
    ///
    /// # Errors
    /// As [`new`](Self::new), or if `memory` does not hold `len` tokens.
    pub fn resume(config: &Config, memory: &'a mut [f32], len: usize) -> Result<Self, OutOfMemory> {
        let available = memory.len() * 4;
        let cache = Self::new(config, memory)?;
        if len > cache.capacity {
            return Err(OutOfMemory { needed: Self::elements(config, len) * 4, available });
        }
        Ok(Self { len, ..cache })
    }

    /// C: tokens that fit.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Tokens that are there.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no token.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens but the first `len`; a longer `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Forgets all tokens.
    pub const fn reset(&mut self) {
        self.len = 0;
    }

    /// Keys and values of `layer`, each `(kv_heads, C, head_dim)`.
    pub(crate) fn layer(&mut self, layer: usize) -> (&mut [f32], &mut [f32]) {
        let half = self.capacity * self.row;
        self.memory[2 * half * layer..2 * half * (layer + 1)].split_at_mut(half)
    }

    pub(crate) const fn fits(&self, config: &Config) -> bool {
        self.row == config.kv_dim() && self.layers == config.layers
    }

    pub(crate) const fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}
