//! The buffers of a decoder block, each listed once: sizes and slices come from the same array.
//!
//! ```text
//! Saved     what the backward of attention reads, one set a layer or one for all, made again
//! Gates     the same of the MLP: of all tokens where they are kept, else of some at a time
//! Scratch   what a block writes and no other block reads
//! ```

use homespun_kernels::quant::{ActivationBlock, Activations};

use crate::arena::{Arena, OutOfMemory};
use crate::config::Config;
use crate::lora::LoraConfig;
use crate::ops::attention::Shape;
use crate::ops::{linear, rope};

/// Activations of one block's attention.
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
    /// Attention's output, `(T, q_dim)`; backward leaves the gradient of q in it.
    pub attended: &'a mut [f32],
    /// The residual stream between attention and MLP, `(T, D)`; before and after that, the normed
    /// input.
    pub middle: &'a mut [f32],
}

impl<'a> Saved<'a> {
    pub(crate) const fn lengths(c: &Config, t: usize, cached: bool) -> [usize; 8] {
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
        ]
    }

    pub(crate) fn take(
        arena: &mut Arena<'a>,
        config: &Config,
        t: usize,
        cached: bool,
    ) -> Result<Self, OutOfMemory> {
        let [q_raw, k_raw, q, keys, values, z, attended, middle] =
            arena.take_each(Self::lengths(config, t, cached))?;
        Ok(Self { q_raw, k_raw, q, keys, values, z, attended, middle })
    }

    /// Room for one token whose keys and values lie in a cache.
    pub(crate) fn for_one(&mut self, config: &Config) -> Saved<'_> {
        let [q_raw, k_raw, q, keys, values, z, attended, middle] = Self::lengths(config, 1, true);
        Saved {
            q_raw: &mut self.q_raw[..q_raw],
            k_raw: &mut self.k_raw[..k_raw],
            q: &mut self.q[..q],
            keys: &mut self.keys[..keys],
            values: &mut self.values[..values],
            z: &mut self.z[..z],
            attended: &mut self.attended[..attended],
            middle: &mut self.middle[..middle],
        }
    }
}

/// The MLP's two inner products, `(T, H)` each.
pub(crate) struct Gates<'a> {
    pub gate: &'a mut [f32],
    pub up: &'a mut [f32],
}

impl<'a> Gates<'a> {
    pub(crate) const fn lengths(c: &Config, t: usize) -> [usize; 2] {
        [t * c.hidden, t * c.hidden]
    }

    pub(crate) fn take(
        arena: &mut Arena<'a>,
        config: &Config,
        t: usize,
    ) -> Result<Self, OutOfMemory> {
        let [gate, up] = arena.take_each(Self::lengths(config, t))?;
        Ok(Self { gate, up })
    }

    /// Those of tokens `from..to`.
    pub(crate) fn part(&mut self, config: &Config, from: usize, to: usize) -> Gates<'_> {
        let part = from * config.hidden..to * config.hidden;
        Gates { gate: &mut self.gate[part.clone()], up: &mut self.up[part] }
    }
}

/// f32 elements that a block of int8 activations takes.
const BLOCK_LEN: usize = size_of::<ActivationBlock>() / size_of::<f32>();

/// How much a block computes at once.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// T.
    pub tokens: usize,
    /// Tokens that pass through the MLP together.
    pub mlp_rows: usize,
    /// Jobs of attention that run at once.
    pub workers: usize,
    /// Whether there is a backward.
    pub training: bool,
    /// Whether gates are kept elsewhere, so that the MLP needs no room for them.
    pub kept: bool,
}

/// Room for what a block computes on the way.
pub(crate) struct Scratch<'a> {
    /// `(T, kv_dim)`; in backward the gradient.
    pub k: &'a mut [f32],
    /// `(T, kv_dim)`; in backward the gradient.
    pub v: &'a mut [f32],
    /// What linear layers write on the way.
    pub linear: linear::Scratch<'a>,
    /// Attention's work.
    pub work: &'a mut [f32],
    /// The MLP's.
    pub mlp: Mlp<'a>,
}

/// Room for the tokens that pass through an MLP together.
pub(crate) struct Mlp<'a> {
    /// The MLP's normed input, `(rows, D)`.
    pub normed: &'a mut [f32],
    /// Its activation, then its gradient, `(rows, H)`.
    pub act: &'a mut [f32],
    /// For layers whose gates are not kept, `(rows, H)`.
    pub gates: Gates<'a>,
}

impl<'a> Scratch<'a> {
    pub(crate) const fn lengths(c: &Config, lora: Option<&LoraConfig>, s: Sizes) -> [usize; 12] {
        let (t, training) = (s.tokens, s.training);
        let rows = if t < s.mlp_rows { t } else { s.mlp_rows };
        let shape = Shape::new(c, t, 0);
        let (forward, backward) = (shape.work(t, s.workers), shape.backward_work(t, s.workers));
        let (rank, dropout, dora) = match lora {
            None => (0, false, false),
            Some(lora) => (lora.rank, training && lora.dropout > 0.0, lora.dora),
        };
        let (wide, narrow) = (most(c.dim, c.q_dim()), most(c.dim, c.hidden));
        let [gate, up] = Gates::lengths(c, if s.kept { 0 } else { rows });
        [
            t * c.kv_dim(),
            t * c.kv_dim(),
            t * rank,
            if training { t * rank } else { 0 },
            if dropout { most(t * wide, rows * narrow) } else { 0 },
            if training && backward > forward { backward } else { forward },
            if training { 0 } else { t * Activations::width(most(wide, narrow)) * BLOCK_LEN },
            // Forward alone wants it where the output is added to the residual stream.
            match (dora, training) {
                (false, _) => 0,
                (true, false) => t * c.dim,
                (true, true) => most(t * most(wide, c.kv_dim()), rows * narrow),
            },
            rows * c.dim,
            rows * c.hidden,
            gate,
            up,
        ]
    }

    pub(crate) fn take(
        arena: &mut Arena<'a>,
        config: &Config,
        lora: Option<&LoraConfig>,
        sizes: Sizes,
    ) -> Result<Self, OutOfMemory> {
        let [k, v, low, d_low, dropped, work, blocks, outputs, normed, act, gate, up] =
            arena.take_each(Self::lengths(config, lora, sizes))?;
        let blocks = bytemuck::cast_slice_mut(blocks);
        let linear = linear::Scratch { dropped, low, d_low, blocks, wide: outputs };
        Ok(Self { k, v, linear, work, mlp: Mlp { normed, act, gates: Gates { gate, up } } })
    }
}

/// The larger one, where `max` is not to be had.
pub(crate) const fn most(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// RoPE's angles.
pub(crate) struct Angles<'a> {
    /// `(T, head_dim / 2)`.
    pub cos: &'a [f32],
    /// `(T, head_dim / 2)`.
    pub sin: &'a [f32],
}

impl<'a> Angles<'a> {
    pub(crate) const fn lengths(c: &Config, t: usize) -> [usize; 3] {
        [c.head_dim / 2, t * c.head_dim / 2, t * c.head_dim / 2]
    }

    /// Those of `t` tokens, the one at `i` at `position(i)`.
    pub(crate) fn take(
        arena: &mut Arena<'a>,
        config: &Config,
        t: usize,
        position: impl Fn(usize) -> usize,
    ) -> Result<Self, OutOfMemory> {
        let [frequencies, cos, sin] = arena.take_each(Self::lengths(config, t))?;
        rope::frequencies(config, frequencies);
        rope::table(frequencies, position, cos, sin);
        Ok(Self { cos, sin })
    }

    /// The last token's.
    pub(crate) fn last(&self, config: &Config) -> Angles<'a> {
        let from = self.cos.len() - config.head_dim / 2;
        Angles { cos: &self.cos[from..], sin: &self.sin[from..] }
    }
}
