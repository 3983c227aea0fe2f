//! The buffers of a decoder block, each listed once: sizes and slices come from the same array.
//!
//! ```text
//! Saved     what backward reads, one set a layer (or one for all, made again going back)
//! Scratch   what a block writes and no other block reads
//! Backward  gradients on their way down
//! ```

use homespun_kernels::quant::{ActivationBlock, Activations};

use crate::arena::{Arena, OutOfMemory};
use crate::config::Config;
use crate::lora::{LoraConfig, Target};
use crate::ops::attention::Shape;
use crate::ops::linear;

/// Activations of one block.
pub(crate) struct Saved<'a> {
    /// q before its norm, `(T, q_dim)`; empty without one.
    pub q_raw: &'a mut [f32],
    /// k before its norm, `(T, kv_dim)`; empty without one.
    pub k_raw: &'a mut [f32],
    /// q as attention reads it, `(T, q_dim)`.
    pub q: &'a mut [f32],
    /// `(kv_heads, T, head_dim)`; empty where a cache holds them.
    pub keys: &'a mut [f32],
    /// `(kv_heads, T, head_dim)`; empty where a cache holds them.
    pub values: &'a mut [f32],
    /// Log-sum-exp of the scores, `(T, heads)`.
    pub z: &'a mut [f32],
    /// Attention's output, `(T, q_dim)`.
    pub attended: &'a mut [f32],
    /// The residual stream between attention and MLP, `(T, D)`.
    pub middle: &'a mut [f32],
    /// `(T, H)`.
    pub gate: &'a mut [f32],
    /// `(T, H)`.
    pub up: &'a mut [f32],
}

impl<'a> Saved<'a> {
    pub(crate) const fn lengths(c: &Config, t: usize, cached: bool) -> [usize; 10] {
        let (raw, own) = (c.qk_norm as usize, !cached as usize);
        [
            raw * t * c.q_dim(),
            raw * t * c.kv_dim(),
            t * c.q_dim(),
            own * t * c.kv_dim(),
            own * t * c.kv_dim(),
            t * c.heads,
            t * c.q_dim(),
            t * c.dim,
            t * c.hidden,
            t * c.hidden,
        ]
    }

    pub(crate) fn take(
        arena: &mut Arena<'a>,
        config: &Config,
        t: usize,
        cached: bool,
    ) -> Result<Self, OutOfMemory> {
        let [q_raw, k_raw, q, keys, values, z, attended, middle, gate, up] =
            arena.take_each(Self::lengths(config, t, cached))?;
        Ok(Self { q_raw, k_raw, q, keys, values, z, attended, middle, gate, up })
    }

    /// Room for one token whose keys and values lie in a cache.
    pub(crate) fn for_one(&mut self, config: &Config) -> Saved<'_> {
        let [q_raw, k_raw, q, keys, values, z, attended, middle, gate, up] =
            Self::lengths(config, 1, true);
        Saved {
            q_raw: &mut self.q_raw[..q_raw],
            k_raw: &mut self.k_raw[..k_raw],
            q: &mut self.q[..q],
            keys: &mut self.keys[..keys],
            values: &mut self.values[..values],
            z: &mut self.z[..z],
            attended: &mut self.attended[..attended],
            middle: &mut self.middle[..middle],
            gate: &mut self.gate[..gate],
            up: &mut self.up[..up],
        }
    }
}

/// f32 elements that a block of int8 activations takes.
const BLOCK_LEN: usize = size_of::<ActivationBlock>() / size_of::<f32>();

/// Room for what a block computes on the way.
pub(crate) struct Scratch<'a> {
    /// RoPE's frequencies, `(head_dim / 2)`.
    pub frequencies: &'a mut [f32],
    /// `(T, head_dim / 2)`.
    pub cos: &'a mut [f32],
    /// `(T, head_dim / 2)`.
    pub sin: &'a mut [f32],
    /// A norm's output, `(T, D)`.
    pub normed: &'a mut [f32],
    /// `(T, kv_dim)`.
    pub k: &'a mut [f32],
    /// `(T, kv_dim)`.
    pub v: &'a mut [f32],
    /// The MLP's activation, `(T, H)`.
    pub act: &'a mut [f32],
    /// What linear layers write on the way.
    pub linear: linear::Scratch<'a>,
    /// Attention's work.
    pub work: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    pub(crate) const fn lengths(
        c: &Config,
        lora: Option<&LoraConfig>,
        t: usize,
        training: bool,
    ) -> [usize; 12] {
        let shape = Shape::new(c, t, 0);
        let (forward, backward) = (shape.work(t), shape.backward_work(t));
        let (rank, dropout) = match lora {
            None => (0, false),
            Some(lora) => (lora.rank, training && lora.dropout > 0.0),
        };
        [
            c.head_dim / 2,
            t * c.head_dim / 2,
            t * c.head_dim / 2,
            t * c.dim,
            t * c.kv_dim(),
            t * c.kv_dim(),
            t * c.hidden,
            t * rank,
            if training { t * rank } else { 0 },
            if dropout { t * widest(c) } else { 0 },
            if training && backward > forward { backward } else { forward },
            if training { 0 } else { t * Activations::width(widest(c)) * BLOCK_LEN },
        ]
    }

    pub(crate) fn take(
        arena: &mut Arena<'a>,
        config: &Config,
        lora: Option<&LoraConfig>,
        t: usize,
        training: bool,
    ) -> Result<Self, OutOfMemory> {
        let [frequencies, cos, sin, normed, k, v, act, low, d_low, dropped, work, blocks] =
            arena.take_each(Self::lengths(config, lora, t, training))?;
        let linear =
            linear::Scratch { dropped, low, d_low, blocks: bytemuck::cast_slice_mut(blocks) };
        Ok(Self { frequencies, cos, sin, normed, k, v, act, linear, work })
    }
}

impl Scratch<'_> {
    /// Room for the last token alone, at its position.
    pub(crate) fn for_last(&mut self, config: &Config) -> Scratch<'_> {
        let last = self.cos.len() - config.head_dim / 2;
        Scratch {
            frequencies: self.frequencies,
            cos: &mut self.cos[last..],
            sin: &mut self.sin[last..],
            normed: &mut self.normed[..config.dim],
            k: &mut self.k[..config.kv_dim()],
            v: &mut self.v[..config.kv_dim()],
            act: &mut self.act[..config.hidden],
            linear: linear::Scratch {
                dropped: self.linear.dropped,
                low: self.linear.low,
                d_low: self.linear.d_low,
                blocks: self.linear.blocks,
            },
            work: self.work,
        }
    }
}

/// The widest input of any linear layer.
const fn widest(config: &Config) -> usize {
    let (mut max, mut i) = (0, 0);
    while i < Target::ALL.len() {
        let (_, inputs) = Target::ALL[i].shape(config);
        if inputs > max {
            max = inputs;
        }
        i += 1;
    }
    max
}

/// Gradients of one block, shared by all.
pub(crate) struct Backward<'a> {
    /// Of the residual stream: the block's output when it starts, its input when it ends, `(T, D)`.
    pub d_x: &'a mut [f32],
    /// `(T, D)`.
    pub d_normed: &'a mut [f32],
    /// `(T, q_dim)`.
    pub d_q: &'a mut [f32],
    /// `(T, kv_dim)`.
    pub d_k: &'a mut [f32],
    /// `(T, kv_dim)`.
    pub d_v: &'a mut [f32],
    /// `(T, q_dim)`.
    pub d_attended: &'a mut [f32],
    /// `(T, heads)`.
    pub delta: &'a mut [f32],
    /// `(T, H)`.
    pub d_act: &'a mut [f32],
}

impl<'a> Backward<'a> {
    pub(crate) const fn lengths(c: &Config, t: usize) -> [usize; 8] {
        [
            t * c.dim,
            t * c.dim,
            t * c.q_dim(),
            t * c.kv_dim(),
            t * c.kv_dim(),
            t * c.q_dim(),
            t * c.heads,
            t * c.hidden,
        ]
    }

    pub(crate) fn take(
        arena: &mut Arena<'a>,
        config: &Config,
        t: usize,
    ) -> Result<Self, OutOfMemory> {
        let [d_x, d_normed, d_q, d_k, d_v, d_attended, delta, d_act] =
            arena.take_each(Self::lengths(config, t))?;
        Ok(Self { d_x, d_normed, d_q, d_k, d_v, d_attended, delta, d_act })
    }
}
