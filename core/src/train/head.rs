//! The loss of the rows that predict a target, and its gradient in their states.

use super::batch::Batch;
use crate::arena::Arena;
use crate::compute::Compute;
use crate::config::Config;
use crate::model::{Error, Model};
use crate::ops::{cross_entropy, rmsnorm};

/// Buffers of the loss for some predicting rows at a time.
pub(super) struct Head<'a> {
    rows: usize,
    states: &'a mut [f32],
    normed: &'a mut [f32],
    d_normed: &'a mut [f32],
    d_states: &'a mut [f32],
    scratch: cross_entropy::Scratch<'a>,
}

impl<'a> Head<'a> {
    /// For batches of `rows` rows, `at_once` of them at a time.
    pub(super) const fn lengths(config: &Config, rows: usize, at_once: usize) -> [usize; 6] {
        let t = if rows < at_once { rows } else { at_once };
        let [logits, z] = cross_entropy::lengths(t, config.vocab);
        [t * config.dim, t * config.dim, t * config.dim, t * config.dim, logits, z]
    }

    pub(super) fn take(
        arena: &mut Arena<'a>,
        config: &Config,
        rows: usize,
        at_once: usize,
    ) -> Result<Self, Error> {
        let [states, normed, d_normed, d_states, logits, z] =
            arena.take_each(Self::lengths(config, rows, at_once))?;
        let scratch = cross_entropy::Scratch { logits, z };
        Ok(Self { rows: at_once, states, normed, d_normed, d_states, scratch })
    }

    /// The summed loss of `x (T, D)`; its gradient, times the scale, goes into the rows of the given
    /// `d_x (T, D)` that predict.
    pub(super) fn run(
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
        for (rows, ids) in batch.predicting.chunks(self.rows).zip(batch.predicted.chunks(self.rows))
        {
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
