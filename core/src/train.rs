//! Exact LoRA gradients of a micro-batch of dialogues, through the frozen model.
//!
//! ```text
//! pack      rows = the tokens of each dialogue up to its last target's predecessor, without padding
//! forward   inputs[l] = x ; x = block_l(x), its activations kept for the last layers, as memory allows
//! head      loss and d_x of the rows that predict a target, some at a time
//! backward  for l from the top: activations of block l, kept or made again from inputs[l]; d_x, d_lora
//! ```
//! Made again is bit-identical to kept, so memory changes time and never a result; but for inputs that
//! are stored as bf16, which it changes by their rounding.

mod batch;
mod head;
mod inputs;
mod plan;

use crate::arena::{ALIGN, Arena, f32_bytes};
use crate::block::{Backward, Block};
use crate::buffers::{Angles, Gates, Saved, Scratch, Sizes, most};
use crate::compute::Compute;
use crate::config::Config;
use crate::lora::{Lora, LoraConfig};
pub use crate::model::Error;
use crate::model::Model;
use crate::ops::attention::Shape;
pub use crate::ops::dropout::Dropout;
use batch::Batch;
use head::Head;
use homespun_kernels::Slots;
use inputs::Inputs;
use plan::sizes;
pub use plan::{Layout, Memory, Pieces};

/// A dialogue to learn from.
#[derive(Clone, Copy, Debug)]
pub struct Example<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Whether token `i` is predicted (from those before) and counted; never the first.
    pub targets: &'a [bool],
    /// Which dialogue it is: dropout's masks depend on it and not on the batch.
    pub id: u64,
}

impl Example<'_> {
    /// Tokens that count.
    pub fn count(&self) -> usize {
        self.targets.iter().filter(|&&target| target).count()
    }

    /// Tokens that the model must read: up to the one before the last target.
    pub fn rows(&self) -> usize {
        self.targets.iter().rposition(|&target| target).unwrap_or(0)
    }
}

/// Bytes of the arena with which [`loss_and_gradients`] keeps every activation of `rows` rows (the sum
/// of [`Example::rows`]) in default [`Pieces`], for any number of threads.
pub const fn training_bytes(config: &Config, lora: &LoraConfig, rows: usize) -> usize {
    Memory::new(config, lora, rows, PIECES, Slots::MOST).all()
}

/// Bytes of the arena with which [`loss_and_gradients`] makes everything again that it can, for any
/// number of threads.
pub const fn least_training_bytes(config: &Config, lora: &LoraConfig, rows: usize) -> usize {
    Memory::new(config, lora, rows, PIECES, Slots::MOST).least()
}

/// [`Pieces::default`], which is not const.
const PIECES: Pieces = Pieces { mlp_rows: 256, head_rows: 256, half_inputs: false };

/// Bytes of the arena that [`loss`] needs for the longest example, by [`Example::rows`].
pub const fn loss_bytes(
    config: &Config,
    lora: Option<&LoraConfig>,
    rows: usize,
    pieces: Pieces,
    workers: usize,
) -> usize {
    let block = f32_bytes(&Saved::lengths(config, rows, false))
        + f32_bytes(&Scratch::lengths(config, lora, sizes(rows, pieces, workers, false)));
    batch::bytes(rows)
        + f32_bytes(&Angles::lengths(config, rows))
        + f32_bytes(&[rows * config.dim])
        + most(block, f32_bytes(&Head::lengths(config, rows, pieces.head_rows)))
        + ALIGN
}

/// Jobs of attention that `compute` runs at once.
fn workers(compute: Compute) -> usize {
    compute.pool.threads().clamp(1, Slots::MOST)
}

/// Adds `scale` times the gradient of the summed negative log-likelihood of all targets to `gradients`,
/// laid out as [`LoraConfig::trained`] says, and returns that sum (unscaled). With `scale` one over
/// the targets of a whole batch, its micro-batches add up to the gradient of the mean.
///
/// `dropout` is `None` to train without it, else the rate is `lora.config.dropout`. The arena lends at
/// least [`Memory::least`]; with up to [`Memory::all`] less is computed twice.
///
/// # Errors
/// If an example is malformed, a token is not in the vocabulary, a length does not fit the adapter, the
/// arena is too small or an activation is not finite; `gradients` may then hold a part.
#[allow(clippy::too_many_arguments, reason = "each is a part of the step that the caller owns")]
pub fn loss_and_gradients(
    model: &Model,
    compute: Compute,
    lora: Lora,
    dropout: Option<Dropout>,
    scale: f32,
    pieces: Pieces,
    examples: &[Example],
    arena: &mut Arena,
    gradients: &mut [f32],
) -> Result<f64, Error> {
    let config = &model.config;
    let compute = compute.with_int8(false);
    model.check_adapter(Some(lora))?;
    model.check_gradients(&lora.config, gradients.len())?;
    check(model, examples)?;
    let rows = examples.iter().map(Example::rows).sum();
    if rows == 0 {
        return Ok(0.0);
    }
    let mut arena = arena.scope();
    let memory = Memory::new(config, &lora.config, rows, pieces, workers(compute));
    // What is needed to align the arena is behind us.
    let layout = memory.layout(arena.available() + ALIGN)?;
    let batch = Batch::pack(examples, dropout, &mut arena, rows)?;
    let angles = batch.angles(&mut arena, config)?;
    let wide = rows * most(config.dim, config.q_dim());
    let [inner, d_x] = arena.take_each([wide, rows * config.dim])?;
    let count = layout.slots();
    let mut inputs = Inputs::take(&mut arena, count, rows * config.dim, pieces.half_inputs)?;
    let mut kept = Kept::take(&mut arena, config, rows, layout)?;
    let keys = (dropout.is_some() && lora.config.dropout > 0.0).then_some(batch.keys);
    let run = Run {
        block: Block {
            compute,
            config,
            layer: &model.weights.layers[0],
            index: 0,
            lora: Some(lora),
            dropout: keys,
            starts: batch.starts,
            angles: &angles,
            shape: Shape::new(config, rows, 0),
        },
        model,
        layout,
        pieces,
    };
    let x = &mut inner[..d_x.len()];
    model.embed(compute, batch.tokens, x)?;
    run.forward(x, &mut inputs, &mut kept, arena.scope())?;
    d_x.fill(0.0);
    let mut head = Head::take(&mut arena.scope(), config, rows, pieces.head_rows)?;
    let sum = head.run(model, compute, &batch, x, Some((d_x, scale)))?;
    run.backward((inner, d_x), &mut inputs, &mut kept, arena, gradients)?;
    Ok(sum)
}

/// One micro-batch on its way through the blocks.
struct Run<'a> {
    /// The first block; the others differ in their layer.
    block: Block<'a>,
    model: &'a Model<'a>,
    layout: Layout,
    pieces: Pieces,
}

impl<'a> Run<'a> {
    fn block(&self, index: usize) -> Block<'a> {
        Block { layer: &self.model.weights.layers[index], index, ..self.block }
    }

    /// What a block works in, and activations that are not kept, if any are not.
    fn working<'w>(&self, arena: &mut Arena<'w>) -> Result<(Scratch<'w>, Saved<'w>), Error> {
        let Block { compute, config, lora, starts, .. } = self.block;
        let (lora, kept) = (lora.as_ref().map(|lora| &lora.config), self.layout.recomputed() == 0);
        let sizes = sizes(starts.len(), self.pieces, workers(compute), true);
        let scratch = Scratch::take(arena, config, lora, Sizes { kept, ..sizes })?;
        let rows = if kept { 0 } else { starts.len() };
        Ok((scratch, Saved::take(arena, config, rows, false)?))
    }

    /// `x (T, D)` through all blocks; stores the first input of each segment and what is kept.
    fn forward(
        &self,
        x: &mut [f32],
        inputs: &mut Inputs,
        kept: &mut Kept,
        mut arena: Arena,
    ) -> Result<(), Error> {
        let (mut scratch, mut again) = self.working(&mut arena)?;
        for segment in 0..self.layout.segments {
            let (from, to) = (self.layout.first(segment), self.layout.first(segment + 1));
            inputs.store(self.block.compute, segment, x);
            for index in from..to {
                self.block.compute.tell_ahead(index + 1);
                match kept.layer(index)? {
                    Some((mut saved, mut gates)) => {
                        let gates = Some(&mut gates);
                        self.block(index).forward(x, &mut saved, gates, &mut scratch, None)?;
                    }
                    None => self.block(index).forward(x, &mut again, None, &mut scratch, None)?,
                }
            }
        }
        Ok(())
    }

    /// The gradient `d_x (T, D)` of the last block's output back through all blocks; `inner` has no
    /// fixed use.
    fn backward(
        &self,
        (inner, d_x): (&mut [f32], &mut [f32]),
        inputs: &mut Inputs,
        kept: &mut Kept,
        mut arena: Arena,
        gradients: &mut [f32],
    ) -> Result<(), Error> {
        let Block { compute, config, starts, .. } = self.block;
        let (mut scratch, mut again) = self.working(&mut arena)?;
        let delta = arena.take_f32(starts.len() * config.heads)?;
        for segment in (0..self.layout.segments).rev() {
            let (from, to) = (self.layout.first(segment), self.layout.first(segment + 1));
            // Where the inputs inside this segment go.
            let slot = |index: usize| match index - from {
                0 => segment,
                inside => self.layout.segments + inside - 1,
            };
            if to - from > 1 {
                let x = &mut inner[..d_x.len()];
                compute.copy(inputs.read(compute, segment), x);
                compute.tell_ahead(from);
                for index in from..to - 1 {
                    compute.tell_ahead(index + 1);
                    self.block(index).forward(x, &mut again, None, &mut scratch, None)?;
                    inputs.store(compute, slot(index + 1), x);
                }
            }
            for index in (from..to).rev() {
                if index > 0 {
                    compute.tell_ahead(index - 1);
                }
                let (block, x) = (self.block(index), inputs.read(compute, slot(index)));
                let mut b = Backward { d_x: &mut *d_x, inner: &mut *inner, delta: &mut *delta };
                let (s, b, below) = (&mut scratch, &mut b, index > 0);
                match kept.layer(index)? {
                    Some((mut saved, mut gates)) => {
                        let gates = Some(&mut gates);
                        block.backward(x, &mut saved, gates, s, b, gradients, below);
                    }
                    None => {
                        block.recompute(x, &mut again, s);
                        block.backward(x, &mut again, None, s, b, gradients, below);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The summed negative log-likelihood of all targets and their number, one example at a time, without
/// dropout. The arena lends [`loss_bytes`].
///
/// # Errors
/// As [`loss_and_gradients`].
pub fn loss(
    model: &Model,
    compute: Compute,
    lora: Option<Lora>,
    pieces: Pieces,
    examples: &[Example],
    arena: &mut Arena,
) -> Result<(f64, usize), Error> {
    let config = &model.config;
    model.check_adapter(lora)?;
    check(model, examples)?;
    let mut sum = 0.0;
    for example in examples.iter().filter(|example| example.rows() > 0) {
        let (rows, workers) = (example.rows(), workers(compute));
        let lora_config = lora.as_ref().map(|lora| &lora.config);
        let mut arena = arena.scope();
        arena.require(loss_bytes(config, lora_config, rows, pieces, workers) - ALIGN)?;
        let batch = Batch::pack(core::slice::from_ref(example), None, &mut arena, rows)?;
        let angles = batch.angles(&mut arena, config)?;
        let x = arena.take_f32(rows * config.dim)?;
        model.embed(compute, batch.tokens, x)?;
        {
            let mut arena = arena.scope();
            let mut saved = Saved::take(&mut arena, config, rows, false)?;
            let sizes = sizes(rows, pieces, workers, false);
            let mut scratch = Scratch::take(&mut arena, config, lora_config, sizes)?;
            let (shape, starts) = (Shape::new(config, rows, 0), batch.starts);
            for (index, layer) in model.weights.layers.iter().enumerate() {
                let angles = &angles;
                let dropout = None;
                let block =
                    Block { compute, config, layer, index, lora, dropout, starts, angles, shape };
                block.forward(x, &mut saved, None, &mut scratch, None)?;
            }
        }
        let mut head = Head::take(&mut arena, config, rows, pieces.head_rows)?;
        sum += head.run(model, compute, &batch, x, None)?;
    }
    Ok((sum, examples.iter().map(Example::count).sum()))
}

fn check(model: &Model, examples: &[Example]) -> Result<(), Error> {
    for (index, example) in examples.iter().enumerate() {
        let first = example.targets.first().copied().unwrap_or(false);
        if example.tokens.len() != example.targets.len() || first {
            return Err(Error::Example { index });
        }
        model.check_tokens(example.tokens)?;
    }
    Ok(())
}

/// The activations of the last layers.
struct Kept<'a> {
    config: &'a Config,
    rows: usize,
    /// One slot after the other.
    slots: &'a mut [u8],
    /// Bytes of a slot.
    bytes: usize,
    /// The lowest layer with a slot.
    first: usize,
}

impl<'a> Kept<'a> {
    fn take(
        arena: &mut Arena<'a>,
        config: &'a Config,
        rows: usize,
        layout: Layout,
    ) -> Result<Self, Error> {
        let bytes = f32_bytes(&Saved::lengths(config, rows, false))
            + f32_bytes(&Gates::lengths(config, rows));
        let (slots, first) = (arena.take(layout.kept * bytes)?, layout.layers - layout.kept);
        Ok(Self { config, rows, slots, bytes, first })
    }

    /// A layer's slot, if it has one.
    fn layer(&mut self, index: usize) -> Result<Option<(Saved<'_>, Gates<'_>)>, Error> {
        let Some(slot) = index.checked_sub(self.first) else { return Ok(None) };
        let mut slot = Arena::new(&mut self.slots[slot * self.bytes..][..self.bytes]);
        let saved = Saved::take(&mut slot, self.config, self.rows, false)?;
        Ok(Some((saved, Gates::take(&mut slot, self.config, self.rows)?)))
    }
}

#[cfg(test)]
mod tests;
