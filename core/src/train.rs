//! Exact LoRA gradients of a micro-batch of dialogues, through the frozen model.
//!
//! ```text
//! pack      rows = the tokens of each dialogue up to its last target's predecessor, without padding
//! forward   inputs[l] = x ; x = block_l(x), its activations kept for the last layers, as memory allows
//! head      loss and d_x of the rows that predict a target, ROWS at a time
//! backward  for l from the top: activations of block l, kept or made again from inputs[l]; d_x, d_lora
//! ```
//! Made again is bit-identical to kept, so memory changes time and never a result.

use crate::arena::{ALIGN, Arena, f32_bytes, padded};
use crate::block::Block;
use crate::buffers::{Backward, Saved, Scratch};
use crate::compute::Compute;
use crate::config::Config;
use crate::lora::{Lora, LoraConfig};
pub use crate::model::Error;
use crate::model::Model;
use crate::ops::attention::Shape;
use crate::ops::cross_entropy::{self, ROWS};
pub use crate::ops::dropout::Dropout;
use crate::ops::{rmsnorm, rope};

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
/// of [`Example::rows`]).
pub const fn training_bytes(config: &Config, lora: &LoraConfig, rows: usize) -> usize {
    fixed_bytes(config, lora, rows) + config.layers * saved_bytes(config, rows) + ALIGN
}

/// Bytes of the arena with which [`loss_and_gradients`] makes each block's activations again; with less
/// it fails.
pub const fn least_training_bytes(config: &Config, lora: &LoraConfig, rows: usize) -> usize {
    fixed_bytes(config, lora, rows) + saved_bytes(config, rows) + ALIGN
}

/// Bytes of the arena that [`loss`] needs for the longest example, by [`Example::rows`].
pub const fn loss_bytes(config: &Config, lora: Option<&LoraConfig>, rows: usize) -> usize {
    packed_bytes(rows)
        + f32_bytes(&[rows * config.dim])
        + saved_bytes(config, rows)
        + f32_bytes(&Scratch::lengths(config, lora, rows, false))
        + f32_bytes(&Head::lengths(config, rows))
        + ALIGN
}

const fn saved_bytes(config: &Config, rows: usize) -> usize {
    f32_bytes(&Saved::lengths(config, rows, false))
}

const fn packed_bytes(rows: usize) -> usize {
    4 * padded(4 * rows) + padded(8 * rows)
}

const fn fixed_bytes(config: &Config, lora: &LoraConfig, rows: usize) -> usize {
    packed_bytes(rows)
        + f32_bytes(&[rows * config.dim, config.layers * rows * config.dim])
        + f32_bytes(&Scratch::lengths(config, Some(lora), rows, true))
        + f32_bytes(&Backward::lengths(config, rows))
        + f32_bytes(&Head::lengths(config, rows))
}

/// Adds `scale` times the gradient of the summed negative log-likelihood of all targets to `gradients`,
/// laid out as [`LoraConfig::trained`] says, and returns that sum (unscaled). With `scale` one over the targets
/// of a whole batch, its micro-batches add up to the gradient of the mean.
///
/// `dropout` is `None` to train without it, else the rate is `lora.config.dropout`. The arena lends
/// between [`least_training_bytes`] and [`training_bytes`].
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
    arena.require(least_training_bytes(config, &lora.config, rows) - ALIGN)?;
    let batch = Batch::pack(examples, dropout, &mut arena, rows)?;
    let [x, inputs] = arena.take_each([rows * config.dim, config.layers * rows * config.dim])?;
    let mut scratch = Scratch::take(&mut arena, config, Some(&lora.config), rows, true)?;
    let mut b = Backward::take(&mut arena, config, rows)?;
    let mut head = Head::take(&mut arena, config, rows)?;
    let mut kept = Kept::take(&mut arena, config, rows)?;

    let keys = (dropout.is_some() && lora.config.dropout > 0.0).then_some(batch.keys);
    let shape = Shape::new(config, rows, 0);
    let blocks = model.weights.layers.iter().enumerate().map(|(index, layer)| Block {
        compute,
        config,
        layer,
        index,
        lora: Some(lora),
        dropout: keys,
        starts: batch.starts,
        shape,
    });
    batch.start(model, compute, &mut scratch, x)?;
    for (block, input) in blocks.clone().zip(inputs.chunks_exact_mut(x.len())) {
        input.copy_from_slice(x);
        block.forward(x, &mut kept.slot(block.index)?, &mut scratch, None)?;
    }
    b.d_x.fill(0.0);
    let sum = head.run(model, compute, &batch, x, Some((b.d_x, scale)))?;
    for (block, input) in blocks.zip(inputs.chunks_exact(x.len())).rev() {
        let held = kept.holds(block.index);
        let mut saved = kept.slot(block.index)?;
        if !held {
            block.recompute(input, &mut saved, &mut scratch);
        }
        block.backward(input, &mut saved, &mut scratch, &mut b, gradients, block.index > 0);
    }
    Ok(sum)
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
    examples: &[Example],
    arena: &mut Arena,
) -> Result<(f64, usize), Error> {
    let config = &model.config;
    model.check_adapter(lora)?;
    check(model, examples)?;
    let mut sum = 0.0;
    for example in examples.iter().filter(|example| example.rows() > 0) {
        let rows = example.rows();
        let lora_config = lora.as_ref().map(|lora| &lora.config);
        let mut arena = arena.scope();
        arena.require(loss_bytes(config, lora_config, rows) - ALIGN)?;
        let batch = Batch::pack(core::slice::from_ref(example), None, &mut arena, rows)?;
        let x = arena.take_f32(rows * config.dim)?;
        let mut saved = Saved::take(&mut arena, config, rows, false)?;
        let mut scratch = Scratch::take(&mut arena, config, lora_config, rows, false)?;
        let mut head = Head::take(&mut arena, config, rows)?;
        batch.start(model, compute, &mut scratch, x)?;
        let (shape, starts) = (Shape::new(config, rows, 0), batch.starts);
        for (index, layer) in model.weights.layers.iter().enumerate() {
            let block = Block { compute, config, layer, index, lora, dropout: None, starts, shape };
            block.forward(x, &mut saved, &mut scratch, None)?;
        }
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

/// The rows of some dialogues, one after the other.
struct Batch<'a> {
    tokens: &'a [u32],
    /// The first row of each row's dialogue.
    starts: &'a [u32],
    /// Dropout's key of each row; zero without dropout.
    keys: &'a [u64],
    /// Rows that predict a target.
    predicting: &'a [u32],
    /// What each of them predicts.
    predicted: &'a [u32],
}

impl<'a> Batch<'a> {
    fn pack(
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

    /// Writes RoPE's tables and the embeddings `x (T, D)`.
    fn start(
        &self,
        model: &Model,
        compute: Compute,
        s: &mut Scratch,
        x: &mut [f32],
    ) -> Result<(), Error> {
        rope::frequencies(&model.config, s.frequencies);
        rope::table(s.frequencies, |t| t - self.starts[t] as usize, s.cos, s.sin);
        model.embed(compute, self.tokens, x)
    }
}

/// The activations of the last layers, as many as the arena had room for, and of at least one.
struct Kept<'a> {
    config: &'a Config,
    rows: usize,
    /// One slot after the other.
    slots: &'a mut [u8],
    /// The lowest layer with a slot of its own; those below use its slot in turn.
    first: usize,
}

impl<'a> Kept<'a> {
    fn take(arena: &mut Arena<'a>, config: &'a Config, rows: usize) -> Result<Self, Error> {
        let bytes = saved_bytes(config, rows);
        let slots = (arena.available() / bytes).clamp(1, config.layers);
        Ok(Self { config, rows, slots: arena.take(slots * bytes)?, first: config.layers - slots })
    }

    fn slot(&mut self, layer: usize) -> Result<Saved<'_>, Error> {
        let bytes = saved_bytes(self.config, self.rows);
        let from = layer.saturating_sub(self.first) * bytes;
        let mut slot = Arena::new(&mut self.slots[from..from + bytes]);
        Ok(Saved::take(&mut slot, self.config, self.rows, false)?)
    }

    /// Whether a layer's activations are still there after the forward of all.
    const fn holds(&self, layer: usize) -> bool {
        layer >= self.first
    }
}

/// Buffers of the loss for up to [`ROWS`] predicting rows at a time.
struct Head<'a> {
    states: &'a mut [f32],
    normed: &'a mut [f32],
    d_normed: &'a mut [f32],
    d_states: &'a mut [f32],
    scratch: cross_entropy::Scratch<'a>,
}

impl<'a> Head<'a> {
    const fn lengths(config: &Config, rows: usize) -> [usize; 6] {
        let t = if rows < ROWS { rows } else { ROWS };
        let [logits, z] = cross_entropy::lengths(t, config.vocab);
        [t * config.dim, t * config.dim, t * config.dim, t * config.dim, logits, z]
    }

    fn take(arena: &mut Arena<'a>, config: &Config, rows: usize) -> Result<Self, Error> {
        let [states, normed, d_normed, d_states, logits, z] =
            arena.take_each(Self::lengths(config, rows))?;
        let scratch = cross_entropy::Scratch { logits, z };
        Ok(Self { states, normed, d_normed, d_states, scratch })
    }

    /// The summed loss of `x (T, D)`; its gradient, times the scale, goes into the rows of the given
    /// `d_x (T, D)` that predict.
    fn run(
        &mut self,
        model: &Model,
        compute: Compute,
        batch: &Batch,
        x: &[f32],
        mut d_x: Option<(&mut [f32], f32)>,
    ) -> Result<f64, Error> {
        let (dim, eps) = (model.config.dim, model.config.norm_eps);
        let (norm, head) = (model.weights.norm, model.weights.head);
        let mut sum = 0.0;
        for (rows, ids) in batch.predicting.chunks(ROWS).zip(batch.predicted.chunks(ROWS)) {
            let states = &mut self.states[..rows.len() * dim];
            for (state, &row) in states.chunks_exact_mut(dim).zip(rows) {
                state.copy_from_slice(&x[row as usize * dim..][..dim]);
            }
            let normed = &mut self.normed[..states.len()];
            model.final_norm(compute, states, normed)?;
            let d_normed = &mut self.d_normed[..states.len()];
            let gradient = d_x.as_ref().map(|&(_, scale)| (&mut *d_normed, scale));
            let scratch = &mut self.scratch;
            sum += cross_entropy::forward_backward(compute, normed, head, ids, gradient, scratch);
            let Some((d_x, _)) = &mut d_x else { continue };
            let d_states = &mut self.d_states[..states.len()];
            d_states.fill(0.0);
            rmsnorm::backward(compute, states, norm, eps, d_normed, d_states);
            for (d_state, &row) in d_states.chunks_exact(dim).zip(rows) {
                d_x[row as usize * dim..][..dim].copy_from_slice(d_state);
            }
        }
        if sum.is_finite() {
            Ok(sum)
        } else {
            Err(Error::NonFinite { layer: None, tensor: "lm_head" })
        }
    }
}

#[cfg(test)]
mod tests;
