//! How much arithmetic was asked of a model: tokens forward, tokens backward, rows of the head.

use core::sync::atomic::{AtomicU64, Ordering};

use homespun_core::config::Config;
use homespun_core::lora::Target;

/// Counts, by whoever computes with a base.
#[derive(Debug, Default)]
pub struct Work {
    forward: AtomicU64,
    backward: AtomicU64,
    head: AtomicU64,
    unwanted: AtomicU64,
}

impl Work {
    /// That of one token: forward, backward and through the head where these are 1, with all of the
    /// last block or, with `unwanted` 1, its keys and values alone.
    pub(crate) fn of_token(unwanted: usize, backward: usize, head: usize) -> Self {
        let work = Self::default();
        work.forward(1);
        work.unwanted(unwanted);
        work.backward(backward);
        work.head(head);
        work
    }

    /// `tokens` went forward through the blocks.
    pub(super) fn forward(&self, tokens: usize) {
        self.forward.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    /// Of so many tokens only the keys and values were wanted of the last block.
    pub(super) fn unwanted(&self, tokens: usize) {
        self.unwanted.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    /// Gradients of `tokens` went back through the blocks.
    pub(super) fn backward(&self, tokens: usize) {
        self.backward.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    /// Logits of `rows` tokens were made, or gradients of them.
    pub(super) fn head(&self, rows: usize) {
        self.head.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Floating-point operations of the matrix products so far: 2 for each weight of a linear layer
    /// and token forward, as many backward, 2 V D for a row of the head. Attention and adapters are
    /// left out: about a tenth more on short dialogues.
    pub fn flop(&self, config: &Config) -> f64 {
        let size = |target: Target| {
            let (outputs, inputs) = target.shape(config);
            outputs * inputs
        };
        let weights: usize = Target::ALL.into_iter().map(size).sum();
        let spared = 2.0 * (weights - size(Target::K) - size(Target::V)) as f64;
        let token = 2.0 * (config.layers * weights) as f64;
        let row = 2.0 * (config.vocab * config.dim) as f64;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        token * (read(&self.forward) + read(&self.backward)) + row * read(&self.head)
            - spared * read(&self.unwanted)
    }
}
