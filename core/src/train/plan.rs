//! What a micro-batch of training takes, and what of it is kept between forward and backward.
//!
//! ```text
//! arena   | batch, x, d_x | inputs of layers | activations of the last layers | working set |
//!           always          all, or one for     as many as there is room for     always, of one
//!                           each segment                                         layer or the head
//! ```
//! A layer whose activations are not kept makes them again from its input; where not every input
//! fits, those of a segment of layers are made again from the segment's first (Chen et al. 2016,
//! section 4). Made again is bit-identical to kept, but for inputs that are stored as bf16.

use crate::arena::{ALIGN, OutOfMemory, f32_bytes, padded};
use crate::buffers::{Angles, Gates, Saved, Scratch, Sizes, most};
use crate::config::Config;
use crate::lora::LoraConfig;
use crate::train::batch;
use crate::train::head::Head;

/// How large the pieces are that a step is made of: they decide the order of additions, unlike what
/// is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Tokens that pass through an MLP together.
    pub mlp_rows: usize,
    /// Targets whose logits are made together.
    pub head_rows: usize,
    /// Stores the inputs of layers as bf16: half the memory, and gradients that are not exact (off by
    /// up to a hundredth of the largest in this crate's tests).
    pub half_inputs: bool,
}

impl Default for Pieces {
    /// Large enough to be fast, small enough to stay in a cache.
    fn default() -> Self {
        Self { mlp_rows: 256, head_rows: 256, half_inputs: false }
    }
}

/// Bytes of the parts of an arena for micro-batches of up to so many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The batch itself, the residual stream and its gradient.
    pub stream: usize,
    /// What a layer or the head works in.
    pub working: usize,
    /// What of that is only for layers that are not kept.
    pub again: usize,
    /// One layer's input.
    pub input: usize,
    /// One layer's activations.
    pub layer: usize,
    /// Layers.
    pub layers: usize,
}

impl Memory {
    /// That of micro-batches of `rows` rows (the sum of [`Example::rows`](super::Example::rows)), with
    /// `workers` threads.
    pub const fn new(
        config: &Config,
        lora: &LoraConfig,
        rows: usize,
        pieces: Pieces,
        workers: usize,
    ) -> Self {
        let sizes = sizes(rows, pieces, workers, true);
        let attention = f32_bytes(&Saved::lengths(config, rows, false));
        let rest = f32_bytes(&[rows * config.heads]);
        let block = attention + f32_bytes(&Scratch::lengths(config, Some(lora), sizes)) + rest;
        let kept = Sizes { kept: true, ..sizes };
        let kept = f32_bytes(&Scratch::lengths(config, Some(lora), kept)) + rest;
        let head = f32_bytes(&Head::lengths(config, rows, pieces.head_rows));
        let element = if pieces.half_inputs { 2 } else { 4 };
        Self {
            stream: batch::bytes(rows)
                + f32_bytes(&Angles::lengths(config, rows))
                + f32_bytes(&[rows * most(config.dim, config.q_dim()), rows * config.dim])
                // The one that is read, widened: there while the head works, too.
                + if pieces.half_inputs { f32_bytes(&[rows * config.dim]) } else { 0 }
                + ALIGN,
            working: most(block, head),
            again: most(block, head) - most(kept, head),
            input: padded(rows * config.dim * element),
            layer: attention + f32_bytes(&Gates::lengths(config, rows)),
            layers: config.layers,
        }
    }

    const fn fixed(&self) -> usize {
        self.stream + self.working
    }

    /// With every activation kept.
    pub const fn all(&self) -> usize {
        self.inputs() + self.layers * self.layer - self.again
    }

    /// With the inputs of all layers.
    pub const fn inputs(&self) -> usize {
        self.fixed() + self.layers * self.input
    }

    /// With as few inputs as can be.
    pub const fn least(&self) -> usize {
        let (mut least, mut segments) = (self.layers, 1);
        while segments < self.layers {
            let slots = slots(self.layers, segments);
            if slots < least {
                least = slots;
            }
            segments += 1;
        }
        self.fixed() + least * self.input
    }

    /// The layout that computes least in `available` bytes.
    ///
    /// # Errors
    /// If there are fewer than [`least`](Self::least).
    pub const fn layout(&self, available: usize) -> Result<Layout, OutOfMemory> {
        if available < self.least() {
            return Err(OutOfMemory { needed: self.least(), available });
        }
        let layers = self.layers;
        if available >= self.all() {
            return Ok(Layout { layers, segments: layers, kept: layers });
        }
        if available >= self.inputs() {
            let kept = (available - self.inputs()) / self.layer;
            // All but one may fit, and all not for what the one needs.
            let kept = if kept < layers { kept } else { layers - 1 };
            return Ok(Layout { layers, segments: layers, kept });
        }
        let room = (available - self.fixed()) / self.input;
        let mut segments = layers - 1;
        while slots(layers, segments) > room {
            segments -= 1;
        }
        Ok(Layout { layers, segments, kept: 0 })
    }

    /// Bytes that a layer or the head works in under `layout`.
    pub const fn working_bytes(&self, layout: Layout) -> usize {
        if layout.kept == self.layers { self.working - self.again } else { self.working }
    }

    /// Bytes of the inputs that `layout` stores.
    pub const fn inputs_bytes(&self, layout: Layout) -> usize {
        slots(self.layers, layout.segments) * self.input
    }

    /// Bytes of the activations that `layout` keeps.
    pub const fn kept_bytes(&self, layout: Layout) -> usize {
        layout.kept * self.layer
    }

    /// Bytes of the arena under `layout`.
    pub const fn bytes(&self, layout: Layout) -> usize {
        self.stream
            + self.working_bytes(layout)
            + self.inputs_bytes(layout)
            + self.kept_bytes(layout)
    }
}

/// How a block works on `rows` rows in `pieces`.
pub(super) const fn sizes(rows: usize, pieces: Pieces, workers: usize, training: bool) -> Sizes {
    Sizes { tokens: rows, mlp_rows: pieces.mlp_rows, workers, training, kept: false }
}

/// Inputs that are stored at once: one for each segment, and those inside the longest one.
const fn slots(layers: usize, segments: usize) -> usize {
    segments + layers.div_ceil(segments) - 1
}

/// What is kept between forward and backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Layers.
    pub layers: usize,
    /// Segments of layers whose first input is stored: as many as layers, or fewer.
    pub segments: usize,
    /// Layers, from the last, whose activations are kept.
    pub kept: usize,
}

impl Layout {
    /// Layers whose attention and gates are made again.
    pub const fn recomputed(&self) -> usize {
        self.layers - self.kept
    }

    /// Layers that go forward twice as a whole, to make an input again.
    pub const fn repeated(&self) -> usize {
        self.layers - self.segments
    }

    /// The first layer of segment `i`.
    pub(super) const fn first(&self, i: usize) -> usize {
        i * self.layers / self.segments
    }

    /// Inputs that are stored at once.
    pub(super) const fn slots(&self) -> usize {
        slots(self.layers, self.segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Memory =
        Memory { stream: 1000, working: 500, again: 90, input: 10, layer: 70, layers: 24 };

    #[test]
    fn more_memory_never_computes_more_and_every_byte_is_accounted_for() {
        let cost = |layout: Layout| 3 * layout.repeated() + 2 * layout.recomputed();
        let mut before = usize::MAX;
        for available in MEMORY.least()..=MEMORY.all() + 100 {
            let layout = MEMORY.layout(available).unwrap();
            assert!(MEMORY.bytes(layout) <= available, "{layout:?}");
            assert!(cost(layout) <= before, "{layout:?}");
            before = cost(layout);
        }
        assert_eq!(before, 0);
        assert_eq!(MEMORY.bytes(MEMORY.layout(MEMORY.all()).unwrap()), MEMORY.all());
        let inputs = MEMORY.layout(MEMORY.inputs()).unwrap();
        assert_eq!((inputs.segments, inputs.kept), (24, 0));
    }

    #[test]
    fn the_least_is_about_twice_the_root_of_the_layers_and_less_is_an_error() {
        // Segments of five: five of them and four inputs inside.
        assert_eq!(MEMORY.least(), 1500 + 10 * 9);
        let needed = MEMORY.least();
        let error = OutOfMemory { needed, available: needed - 1 };
        assert_eq!(MEMORY.layout(needed - 1), Err(error));
    }

    #[test]
    fn segments_cover_the_layers_and_none_is_longer_than_its_slots_allow() {
        for layers in 1..40 {
            for segments in 1..=layers {
                let layout = Layout { layers, segments, kept: 0 };
                let ends = (1..=segments).map(|i| layout.first(i));
                let sizes = ends.scan(0, |from, to| Some(to - core::mem::replace(from, to)));
                let sizes: Vec<_> = sizes.collect();
                assert_eq!(sizes.iter().sum::<usize>(), layers);
                let longest = *sizes.iter().max().unwrap();
                assert!(segments + longest - 1 <= layout.slots(), "{layers} in {segments}");
                assert!(sizes.iter().all(|&size| size > 0));
            }
        }
    }
}
