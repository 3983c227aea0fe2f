//! One decoder block, forward and backward; the backward reads as the forward upside down.
//!
//! ```text
//! x (T, D) ─ input_norm ─ q,k,v ─ [q_norm, k_norm] ─ rope ─ attention ─ o ─(+x)─ middle
//! middle ─── post_norm ── gate,up ─ swiglu ─ down ─(+middle)─ x of the next block
//! ```

use homespun_kernels::Data;

use crate::buffers::{Backward, Saved, Scratch};
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
    pub shape: Shape,
}

/// The caches of keys and values.
pub(crate) type Cache<'a> = (Rows<'a>, Rows<'a>);

impl<'a> Block<'a> {
    fn linear(&self, target: Target) -> Adapted<'a> {
        let adapter = self.lora.and_then(|lora| lora.adapter(self.config, self.index, target));
        let mask = match (self.lora, self.dropout, adapter) {
            (Some(lora), Some(rows), Some(_)) if lora.config.dropout > 0.0 => {
                Some(Mask::new(rows, self.index, target, lora.config.dropout))
            }
            _ => None,
        };
        Adapted { base: base_of(self.layer, target), adapter, mask }
    }

    /// Turns `x (T, D)`, the block's input, into its output. Keys and values go to `cache`, or into
    /// `saved` where there is none.
    ///
    /// # Errors
    /// If an activation is not finite.
    pub(crate) fn forward(
        &self,
        x: &mut [f32],
        saved: &mut Saved,
        scratch: &mut Scratch,
        cache: Option<Cache>,
    ) -> Result<(), Error> {
        let infinity = cache.as_ref().map_or(f32::INFINITY, |(keys, _)| keys.infinity());
        self.attention(x, saved, scratch, cache);
        self.mlp(x, saved, scratch);
        if finite(x) { Ok(()) } else { Err(self.diagnose(saved, scratch, infinity)) }
    }

    /// Only the keys and values of `x (T, D)`, all that later tokens need of a last block.
    pub(crate) fn keys_values(
        &self,
        x: &[f32],
        saved: &mut Saved,
        s: &mut Scratch,
        (mut keys, mut values): Cache,
    ) {
        let Self { compute, config, layer, shape, .. } = *self;
        let tokens = x.len() / config.dim;
        let (eps, width) = (config.norm_eps, tokens * config.kv_dim());
        let (normed, v) = (&mut s.normed[..x.len()], &mut s.v[..width]);
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
        let angles = tokens * (config.head_dim / 2);
        rope::forward(compute, &s.cos[..angles], &s.sin[..angles], config.head_dim, k);
        let place = (config.kv_heads, shape.capacity, shape.past);
        keys.append(compute, place, k);
        values.append(compute, place, v);
    }

    fn attention(&self, x: &[f32], saved: &mut Saved, s: &mut Scratch, cache: Option<Cache>) {
        let Self { compute, config, layer, shape, .. } = *self;
        let eps = config.norm_eps;
        rmsnorm::forward(compute, x, layer.input_norm, eps, s.normed);
        let (q, k) = match (layer.q_norm, layer.k_norm) {
            (Some(_), Some(_)) => (&mut *saved.q_raw, &mut *saved.k_raw),
            _ => (&mut *saved.q, &mut *s.k),
        };
        let each = [
            (self.linear(Target::Q), false, q),
            (self.linear(Target::K), false, k),
            (self.linear(Target::V), false, &mut *s.v),
        ];
        linear::forward(compute, s.normed, each, &mut s.linear);
        if let (Some(q_norm), Some(k_norm)) = (layer.q_norm, layer.k_norm) {
            rmsnorm::forward(compute, saved.q_raw, q_norm, eps, saved.q);
            rmsnorm::forward(compute, saved.k_raw, k_norm, eps, s.k);
        }
        rope::forward(compute, s.cos, s.sin, config.head_dim, saved.q);
        rope::forward(compute, s.cos, s.sin, config.head_dim, s.k);
        let (mut keys, mut values) = match cache {
            Some(cache) => cache,
            None => (Rows::F32(&mut *saved.keys), Rows::F32(&mut *saved.values)),
        };
        let place = (config.kv_heads, shape.capacity, shape.past);
        keys.append(compute, place, s.k);
        values.append(compute, place, s.v);
        let (keys, values) = (keys.view(), values.view());
        let (out, z) = (&mut *saved.attended, &mut *saved.z);
        attention::forward(compute, shape, self.starts, saved.q, keys, values, s.work, out, z);
        compute.copy(x, saved.middle);
        let o = (self.linear(Target::O), true, &mut *saved.middle);
        linear::forward(compute, saved.attended, [o], &mut s.linear);
    }

    fn mlp(&self, x: &mut [f32], saved: &mut Saved, s: &mut Scratch) {
        self.gates(saved, s);
        swiglu::forward(self.compute, saved.gate, saved.up, self.config.hidden, s.act);
        self.compute.copy(saved.middle, x);
        let down = (self.linear(Target::Down), true, x);
        linear::forward(self.compute, s.act, [down], &mut s.linear);
    }

    fn gates(&self, saved: &mut Saved, s: &mut Scratch) {
        let Self { compute, config, layer, .. } = *self;
        rmsnorm::forward(compute, saved.middle, layer.post_norm, config.norm_eps, s.normed);
        let each = [
            (self.linear(Target::Gate), false, &mut *saved.gate),
            (self.linear(Target::Up), false, &mut *saved.up),
        ];
        linear::forward(compute, s.normed, each, &mut s.linear);
    }

    /// Makes `saved` again from the block's input `x (T, D)`, as [`forward`](Self::forward) left it.
    pub(crate) fn recompute(&self, x: &[f32], saved: &mut Saved, scratch: &mut Scratch) {
        self.attention(x, saved, scratch, None);
        self.gates(saved, scratch);
    }

    /// `b.d_x` holds the gradient of the block's output and becomes that of its input `x (T, D)`, which
    /// is left unfinished where `below` is false: nothing there needs it. The adapters' gradients are
    /// added to `gradients`, the flat ones of all layers. `saved` is used up.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        saved: &mut Saved,
        scratch: &mut Scratch,
        b: &mut Backward,
        gradients: &mut [f32],
        below: bool,
    ) {
        let adapted = |target| self.lora.is_some_and(|lora| lora.config.targets.contains(target));
        let qkv = adapted(Target::Q) || adapted(Target::K) || adapted(Target::V);
        self.mlp_backward(saved, scratch, b, gradients, below || qkv || adapted(Target::O));
        if below || qkv || adapted(Target::O) {
            self.attention_backward(x, saved, scratch, b, gradients, (below, qkv));
        }
    }

    fn mlp_backward(
        &self,
        saved: &mut Saved,
        s: &mut Scratch,
        b: &mut Backward,
        gradients: &mut [f32],
        below: bool,
    ) {
        let Self { compute, config, layer, .. } = *self;
        swiglu::forward(compute, saved.gate, saved.up, config.hidden, s.act);
        let mut part = |target, x: &[f32], d_y: &[f32], d_x: Option<(&mut [f32], bool)>| {
            let gradient = self.gradient(gradients, target);
            self.linear(target).backward(compute, x, d_y, gradient, &mut s.linear, d_x);
        };
        part(Target::Down, s.act, b.d_x, Some((b.d_act, false)));
        swiglu::backward(compute, b.d_act, config.hidden, saved.gate, saved.up);
        let (d_gate, d_up) = (&*saved.gate, &*saved.up);
        rmsnorm::forward(compute, saved.middle, layer.post_norm, config.norm_eps, s.normed);
        part(Target::Up, s.normed, d_up, below.then_some((&mut *b.d_normed, false)));
        part(Target::Gate, s.normed, d_gate, below.then_some((&mut *b.d_normed, true)));
        if below {
            let eps = config.norm_eps;
            rmsnorm::backward(compute, saved.middle, layer.post_norm, eps, b.d_normed, b.d_x);
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
        let Self { compute, config, layer, shape, .. } = *self;
        let (eps, inner) = (config.norm_eps, below || qkv);
        let mut part = |target, x: &[f32], d_y: &[f32], d_x: Option<(&mut [f32], bool)>| {
            let gradient = self.gradient(gradients, target);
            self.linear(target).backward(compute, x, d_y, gradient, &mut s.linear, d_x);
        };
        part(Target::O, saved.attended, b.d_x, inner.then_some((&mut *b.d_attended, false)));
        if !inner {
            return;
        }
        let read = attention::backward::Saved {
            starts: self.starts,
            q: saved.q,
            keys: saved.keys,
            values: saved.values,
            out: saved.attended,
            z: saved.z,
        };
        let write = attention::backward::Gradients { d_q: b.d_q, d_k: b.d_k, d_v: b.d_v };
        let d_out = &*b.d_attended;
        attention::backward::backward(compute, shape, read, d_out, b.delta, s.work, write);
        rope::backward(compute, s.cos, s.sin, config.head_dim, b.d_q);
        rope::backward(compute, s.cos, s.sin, config.head_dim, b.d_k);
        if let (Some(q_norm), Some(k_norm)) = (layer.q_norm, layer.k_norm) {
            rmsnorm::backward_in_place(compute, saved.q_raw, q_norm, eps, b.d_q);
            rmsnorm::backward_in_place(compute, saved.k_raw, k_norm, eps, b.d_k);
        }
        rmsnorm::forward(compute, x, layer.input_norm, eps, s.normed);
        part(Target::V, s.normed, b.d_v, below.then_some((&mut *b.d_normed, false)));
        part(Target::K, s.normed, b.d_k, below.then_some((&mut *b.d_normed, true)));
        part(Target::Q, s.normed, b.d_q, below.then_some((&mut *b.d_normed, true)));
        if below {
            rmsnorm::backward(compute, x, layer.input_norm, eps, b.d_normed, b.d_x);
        }
    }

    /// The part of the flat gradients that belongs to `target` here.
    fn gradient<'g>(&self, gradients: &'g mut [f32], target: Target) -> Option<&'g mut [f32]> {
        let lora = self.lora?;
        let from = lora.config.gradient_offset(self.config, self.index, target)?;
        Some(&mut gradients[from..from + lora.config.target_trainable(self.config, target)])
    }

    /// Names the first tensor of this block that is not finite, or of keys and values that the cache
    /// keeps as `infinity`.
    fn diagnose(&self, saved: &Saved, s: &Scratch, infinity: f32) -> Error {
        let kept = |x: &[f32]| x.iter().all(|x| x.abs() < infinity);
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
            ("self_attn.k_proj", kept(s.k)),
            ("self_attn.v_proj", kept(s.v)),
            ("self_attn.o_proj", finite(saved.middle)),
            ("post_attention_layernorm", good(Some(post_norm))),
            ("mlp.gate_proj", finite(saved.gate)),
            ("mlp.up_proj", finite(saved.up)),
        ];
        let bad = checks.iter().find(|(_, good)| !good).map(|(name, _)| *name);
        let last = if finite(s.act) { "mlp.down_proj" } else { "mlp.act_fn" };
        Error::NonFinite { layer: Some(self.index), tensor: bad.unwrap_or(last) }
    }
}

/// The frozen layer of `target`.
const fn base_of<'a>(layer: &Layer<'a>, target: Target) -> Linear<'a> {
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
