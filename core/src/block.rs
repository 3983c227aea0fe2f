//! One decoder block, forward and backward; the backward reads as the forward upside down.
//!
//! ```text
//! x (T, D) ─ input_norm ─ q,k,v ─ [q_norm, k_norm] ─ rope ─ attention ─ o ─(+x)─ middle
//! middle ─── post_norm ── gate,up ─ swiglu ─ down ─(+middle)─ x of the next block
//! ```

use core::ops::Range;

use homespun_kernels::Data;

use crate::buffers::{Angles, Gates, Mlp, Saved, Scratch};
use crate::cache::Rows;
use crate::compute::Compute;
use crate::config::Config;
use crate::lora::{Lora, Target};
use crate::model::Error;
use crate::ops::attention::{self, Shape};
use crate::ops::dropout::Mask;
use crate::ops::linear::{self, Adapted};
use crate::ops::{rmsnorm, rope, swiglu};
use crate::weights::{Layer, Linear};

/// A block of a model, an adapter on it and the tokens that pass.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub compute: Compute<'a>,
    pub config: &'a Config,
    pub layer: &'a Layer<'a>,
    /// Which layer it is.
    pub index: usize,
    pub lora: Option<Lora<'a>>,
    /// Keys of dropout's rows, `(T)`; `None` outside training.
    pub dropout: Option<&'a [u64]>,
    /// Where each token's dialogue begins, `(T)`.
    pub starts: &'a [u32],
    /// The tokens' angles.
    pub angles: &'a Angles<'a>,
    pub shape: Shape,
}

/// The caches of keys and values.
pub(crate) type Cache<'a> = (Rows<'a>, Rows<'a>);

/// The gradients of one block, shared by all.
pub(crate) struct Backward<'a> {
    /// Of the residual stream: the block's output when it starts, its input when it ends, `(T, D)`.
    pub d_x: &'a mut [f32],
    /// Of attention's output, then of a norm's, `(T, max(D, q_dim))`.
    pub inner: &'a mut [f32],
    /// `(T, heads)`.
    pub delta: &'a mut [f32],
}

impl<'a> Block<'a> {
    fn tokens(&self) -> usize {
        self.starts.len()
    }

    /// The layer of `target` for all tokens.
    fn linear(&self, target: Target) -> Adapted<'a> {
        self.linear_of(target, 0..self.tokens())
    }

    /// The layer of `target` for some of the tokens.
    fn linear_of(&self, target: Target, rows: Range<usize>) -> Adapted<'a> {
        let adapter = self.lora.and_then(|lora| lora.adapter(self.config, self.index, target));
        let mask = match (self.lora, self.dropout, adapter) {
            (Some(lora), Some(keys), Some(_)) if lora.config.dropout > 0.0 => {
                Some(Mask::new(&keys[rows], self.index, target, lora.config.dropout))
            }
            _ => None,
        };
        Adapted { base: base_of(self.layer, target), adapter, mask }
    }

    /// Turns `x (T, D)`, the block's input, into its output. Keys and values go to `cache`, or into
    /// `saved` where there is none; the MLP's inner products into `gates` where those are kept.
    ///
    /// # Errors
    /// If an activation is not finite.
    pub(crate) fn forward(
        &self,
        x: &mut [f32],
        saved: &mut Saved,
        gates: Option<&mut Gates>,
        scratch: &mut Scratch,
        cache: Option<Cache>,
    ) -> Result<(), Error> {
        let infinity = cache.as_ref().map_or(f32::INFINITY, |(keys, _)| keys.infinity());
        self.attention(x, saved, scratch, cache);
        self.mlp(x, saved, gates, scratch, infinity)
    }

    /// Only the keys and values of `x (T, D)`, all that later tokens need of a last block.
    pub(crate) fn keys_values(
        &self,
        x: &[f32],
        saved: &mut Saved,
        s: &mut Scratch,
        (mut keys, mut values): Cache,
    ) {
        let Self { compute, config, layer, shape, angles, .. } = *self;
        let tokens = x.len() / config.dim;
        let (eps, width) = (config.norm_eps, tokens * config.kv_dim());
        let (normed, v) = (&mut saved.middle[..x.len()], &mut s.v[..width]);
        rmsnorm::forward(compute, x, layer.input_norm, eps, normed);
        let k = if layer.k_norm.is_some() { &mut *saved.k_raw } else { &mut *s.k };
        let each = [
            (self.linear(Target::K), false, &mut k[..width]),
            (self.linear(Target::V), false, &mut *v),
        ];
        linear::forward(compute, normed, each, &mut s.linear);
        let k = &mut s.k[..width];
        if let Some(k_norm) = layer.k_norm {
            rmsnorm::forward(compute, &saved.k_raw[..width], k_norm, eps, k);
        }
        let many = tokens * (config.head_dim / 2);
        rope::forward(compute, &angles.cos[..many], &angles.sin[..many], config.head_dim, k);
        let place = (config.kv_heads, shape.capacity, shape.past);
        keys.append(compute, place, k);
        values.append(compute, place, v);
    }

    /// `saved.middle = x + o(attention(norm(x)))`.
    fn attention(&self, x: &[f32], saved: &mut Saved, s: &mut Scratch, cache: Option<Cache>) {
        let Self { compute, config, layer, shape, angles, .. } = *self;
        let (eps, width) = (config.norm_eps, self.tokens() * config.kv_dim());
        let (s_k, s_v) = (&mut s.k[..width], &mut s.v[..width]);
        rmsnorm::forward(compute, x, layer.input_norm, eps, saved.middle);
        let (q, k) = match (layer.q_norm, layer.k_norm) {
            (Some(_), Some(_)) => (&mut *saved.q_raw, &mut *saved.k_raw),
            _ => (&mut *saved.q, &mut *s_k),
        };
        let each = [
            (self.linear(Target::Q), false, q),
            (self.linear(Target::K), false, k),
            (self.linear(Target::V), false, &mut *s_v),
        ];
        linear::forward(compute, saved.middle, each, &mut s.linear);
        if let (Some(q_norm), Some(k_norm)) = (layer.q_norm, layer.k_norm) {
            rmsnorm::forward(compute, saved.q_raw, q_norm, eps, saved.q);
            rmsnorm::forward(compute, saved.k_raw, k_norm, eps, s_k);
        }
        rope::forward(compute, angles.cos, angles.sin, config.head_dim, saved.q);
        rope::forward(compute, angles.cos, angles.sin, config.head_dim, s_k);
        let (mut keys, mut values) = match cache {
            Some(cache) => cache,
            None => (Rows::F32(&mut *saved.keys), Rows::F32(&mut *saved.values)),
        };
        let place = (config.kv_heads, shape.capacity, shape.past);
        keys.append(compute, place, s_k);
        values.append(compute, place, s_v);
        let (keys, values) = (keys.view(), values.view());
        let (out, z) = (&mut *saved.attended, &mut *saved.z);
        attention::forward(compute, shape, self.starts, saved.q, keys, values, s.work, out, z);
        compute.copy(x, saved.middle);
        let o = (self.linear(Target::O), true, &mut *saved.middle);
        linear::forward(compute, saved.attended, [o], &mut s.linear);
    }

    /// The ranges of tokens that pass through the MLP together.
    fn pieces(&self, mlp: &Mlp) -> impl DoubleEndedIterator<Item = Range<usize>> + use<> {
        let (tokens, rows) = (self.tokens(), (mlp.act.len() / self.config.hidden).max(1));
        (0..tokens).step_by(rows).map(move |from| from..(from + rows).min(tokens))
    }

    /// `x = middle + mlp(norm(middle))`, some tokens at a time.
    fn mlp(
        &self,
        x: &mut [f32],
        saved: &mut Saved,
        mut kept: Option<&mut Gates>,
        s: &mut Scratch,
        infinity: f32,
    ) -> Result<(), Error> {
        let Self { compute, config, .. } = *self;
        for rows in self.pieces(&s.mlp) {
            let (from, to) = (rows.start, rows.end);
            let middle = &saved.middle[from * config.dim..to * config.dim];
            let x = &mut x[from * config.dim..to * config.dim];
            let mut gates = match &mut kept {
                Some(kept) => kept.part(config, from, to),
                None => s.mlp.gates.part(config, 0, to - from),
            };
            let normed = &mut s.mlp.normed[..x.len()];
            self.gates(middle, rows.clone(), normed, &mut gates, &mut s.linear);
            let act = &mut s.mlp.act[..gates.gate.len()];
            swiglu::forward(compute, gates.gate, gates.up, config.hidden, act);
            compute.copy(middle, x);
            let down = (self.linear_of(Target::Down, rows), true, &mut *x);
            linear::forward(compute, act, [down], &mut s.linear);
            if !finite(x) {
                let act = finite(act);
                return Err(self.diagnose(saved, &gates, act, (s.k, s.v), infinity));
            }
        }
        Ok(())
    }

    /// `gates` of the tokens `rows`, from their part of the residual stream.
    fn gates(
        &self,
        middle: &[f32],
        rows: Range<usize>,
        normed: &mut [f32],
        gates: &mut Gates,
        scratch: &mut linear::Scratch,
    ) {
        let Self { compute, config, layer, .. } = *self;
        rmsnorm::forward(compute, middle, layer.post_norm, config.norm_eps, normed);
        let each = [
            (self.linear_of(Target::Gate, rows.clone()), false, &mut *gates.gate),
            (self.linear_of(Target::Up, rows), false, &mut *gates.up),
        ];
        linear::forward(compute, normed, each, scratch);
    }

    /// Makes `saved` again from the block's input `x (T, D)`, as [`forward`](Self::forward) left it.
    pub(crate) fn recompute(&self, x: &[f32], saved: &mut Saved, scratch: &mut Scratch) {
        self.attention(x, saved, scratch, None);
    }

    /// `b.d_x` holds the gradient of the block's output and becomes that of its input `x (T, D)`, which
    /// is left unfinished where `below` is false: nothing there needs it. The adapters' gradients are
    /// added to `gradients`, the flat ones of all layers. `saved` and `gates` are used up; gates that
    /// were not kept are made again, some tokens at a time.
    #[allow(clippy::too_many_arguments, reason = "each is a buffer of its own")]
    pub(crate) fn backward(
        &self,
        x: &[f32],
        saved: &mut Saved,
        gates: Option<&mut Gates>,
        scratch: &mut Scratch,
        b: &mut Backward,
        gradients: &mut [f32],
        below: bool,
    ) {
        let adapted = |target| self.lora.is_some_and(|lora| lora.config.targets.contains(target));
        let qkv = adapted(Target::Q) || adapted(Target::K) || adapted(Target::V);
        let attention = below || qkv || adapted(Target::O);
        self.mlp_backward(saved, gates, scratch, b, gradients, attention);
        if attention {
            self.attention_backward(x, saved, scratch, b, gradients, (below, qkv));
        }
    }

    fn mlp_backward(
        &self,
        saved: &mut Saved,
        mut kept: Option<&mut Gates>,
        s: &mut Scratch,
        b: &mut Backward,
        gradients: &mut [f32],
        below: bool,
    ) {
        let Self { compute, config, layer, .. } = *self;
        let eps = config.norm_eps;
        for rows in self.pieces(&s.mlp) {
            let (from, to) = (rows.start, rows.end);
            let part = from * config.dim..to * config.dim;
            let (middle, d_x) = (&saved.middle[part.clone()], &mut b.d_x[part]);
            let normed = &mut s.mlp.normed[..d_x.len()];
            let mut gates = match &mut kept {
                Some(kept) => {
                    rmsnorm::forward(compute, middle, layer.post_norm, eps, normed);
                    kept.part(config, from, to)
                }
                None => {
                    let mut gates = s.mlp.gates.part(config, 0, to - from);
                    self.gates(middle, rows.clone(), normed, &mut gates, &mut s.linear);
                    gates
                }
            };
            let Gates { gate, up } = &mut gates;
            let act = &mut s.mlp.act[..gate.len()];
            swiglu::forward(compute, gate, up, config.hidden, act);
            let mut gradient = |target, x: &[f32], d_y: &[f32], scratch: &mut linear::Scratch| {
                let layer = self.linear_of(target, rows.clone());
                layer.gradients(compute, x, d_y, self.gradient(gradients, target), scratch);
                layer
            };
            // The activation becomes its own gradient.
            gradient(Target::Down, act, d_x, &mut s.linear).backward(
                compute,
                d_x,
                false,
                act,
                &mut s.linear,
            );
            swiglu::backward(compute, act, config.hidden, gate, up);
            let d_normed = &mut b.inner[..d_x.len()];
            for (target, d_y, accumulate) in [(Target::Up, up, false), (Target::Gate, gate, true)] {
                let layer = gradient(target, normed, d_y, &mut s.linear);
                if below {
                    layer.backward(compute, d_y, accumulate, d_normed, &mut s.linear);
                }
            }
            if below {
                rmsnorm::backward(compute, middle, layer.post_norm, eps, d_normed, d_x);
            }
        }
    }

    fn attention_backward(
        &self,
        x: &[f32],
        saved: &mut Saved,
        s: &mut Scratch,
        b: &mut Backward,
        gradients: &mut [f32],
        (below, qkv): (bool, bool),
    ) {
        let Self { compute, config, layer, shape, angles, .. } = *self;
        let eps = config.norm_eps;
        let mut gradient = |target, x: &[f32], d_y: &[f32], scratch: &mut linear::Scratch| {
            let layer = self.linear(target);
            layer.gradients(compute, x, d_y, self.gradient(gradients, target), scratch);
            layer
        };
        let o = gradient(Target::O, saved.attended, b.d_x, &mut s.linear);
        if !(below || qkv) {
            return;
        }
        let d_out = &mut b.inner[..self.tokens() * config.q_dim()];
        o.backward(compute, b.d_x, false, d_out, &mut s.linear);
        let read = attention::backward::Saved {
            starts: self.starts,
            q: saved.q,
            keys: saved.keys,
            values: saved.values,
            z: saved.z,
        };
        let width = self.tokens() * config.kv_dim();
        let (d_q, d_k, d_v) = (&mut *saved.attended, &mut s.k[..width], &mut s.v[..width]);
        let write = attention::backward::Gradients { d_q, d_k, d_v };
        attention::backward::backward(compute, shape, read, d_out, b.delta, s.work, write);
        rope::backward(compute, angles.cos, angles.sin, config.head_dim, d_q);
        rope::backward(compute, angles.cos, angles.sin, config.head_dim, d_k);
        if let (Some(q_norm), Some(k_norm)) = (layer.q_norm, layer.k_norm) {
            rmsnorm::backward_in_place(compute, saved.q_raw, q_norm, eps, d_q);
            rmsnorm::backward_in_place(compute, saved.k_raw, k_norm, eps, d_k);
        }
        let normed = &mut *saved.middle;
        rmsnorm::forward(compute, x, layer.input_norm, eps, normed);
        let d_normed = &mut b.inner[..x.len()];
        let each = [(Target::V, d_v, false), (Target::K, d_k, true), (Target::Q, d_q, true)];
        for (target, d_y, accumulate) in each {
            let layer = gradient(target, normed, d_y, &mut s.linear);
            if below {
                layer.backward(compute, d_y, accumulate, d_normed, &mut s.linear);
            }
        }
        if below {
            rmsnorm::backward(compute, x, layer.input_norm, eps, d_normed, b.d_x);
        }
    }

    /// The part of the flat gradients that belongs to `target` here.
    fn gradient<'g>(&self, gradients: &'g mut [f32], target: Target) -> Option<&'g mut [f32]> {
        let lora = self.lora?;
        let from = lora.config.gradient_offset(self.config, self.index, target)?;
        Some(&mut gradients[from..from + lora.config.target_trainable(self.config, target)])
    }

    /// Names the first tensor of this block that is not finite, or of keys and values that the cache
    /// keeps as `infinity`; of the MLP's, those of the tokens at hand.
    fn diagnose(
        &self,
        saved: &Saved,
        gates: &Gates,
        act: bool,
        (k, v): (&[f32], &[f32]),
        infinity: f32,
    ) -> Error {
        let width = self.tokens() * self.config.kv_dim();
        let kept = |x: &[f32]| x[..width].iter().all(|x| x.abs() < infinity);
        let Layer { input_norm, post_norm, q_norm, k_norm, .. } = *self.layer;
        let good = |weight: Option<Data>| {
            weight.is_none_or(|w| (0..w.len()).all(|i| w.get(i).is_finite()))
        };
        let checks: [(&'static str, bool); 12] = [
            ("input_layernorm", good(Some(input_norm))),
            ("self_attn.q_proj", q_norm.is_none() || finite(saved.q_raw)),
            ("self_attn.q_norm", good(q_norm)),
            ("self_attn.q_proj", finite(saved.q)),
            ("self_attn.k_proj", k_norm.is_none() || finite(saved.k_raw)),
            ("self_attn.k_norm", good(k_norm)),
            ("self_attn.k_proj", kept(k)),
            ("self_attn.v_proj", kept(v)),
            ("self_attn.o_proj", finite(saved.middle)),
            ("post_attention_layernorm", good(Some(post_norm))),
            ("mlp.gate_proj", finite(gates.gate)),
            ("mlp.up_proj", finite(gates.up)),
        ];
        let bad = checks.iter().find(|(_, good)| !good).map(|(name, _)| *name);
        let last = if act { "mlp.down_proj" } else { "mlp.act_fn" };
        Error::NonFinite { layer: Some(self.index), tensor: bad.unwrap_or(last) }
    }
}

/// The frozen layer of `target`.
pub(crate) const fn base_of<'a>(layer: &Layer<'a>, target: Target) -> Linear<'a> {
    match target {
        Target::Q => layer.q_proj,
        Target::K => layer.k_proj,
        Target::V => layer.v_proj,
        Target::O => layer.o_proj,
        Target::Gate => layer.gate_proj,
        Target::Up => layer.up_proj,
        Target::Down => layer.down_proj,
    }
}

/// Whether every element is finite; without branches, so that compilers find vectors in it.
pub(crate) fn finite(x: &[f32]) -> bool {
    let (chunks, tail) = x.as_chunks::<16>();
    let mut lanes = [0.0_f32; 16];
    for x in chunks {
        for (lane, x) in lanes.iter_mut().zip(x) {
            // Zero for every finite number, else not a number.
            *lane += x * 0.0;
        }
    }
    lanes.iter().all(|lane| *lane == 0.0) && tail.iter().all(|x| x.is_finite())
}
