//! The decoder: token ids in, states and logits out, keys and values into a cache.
//!
//! ```text
//! x = embed[tokens]                          (T, D)
//! for each layer: x = block(x, cache)        at most BATCH tokens at a time
//! states = x            logits = rmsnorm(states) headᵀ        (T, V)
//! ```
//! Prefill and decode are the same function; only T differs.

use homespun_kernels::quant::{ActivationBlock, Activations};
use homespun_kernels::{DType, Input, Product, Storage};

use crate::arena::{Arena, OutOfMemory, f32_bytes, padded};
use crate::block::{Block, finite};
use crate::buffers::{Angles, Saved, Scratch, Sizes};
use crate::cache::KvCache;
use crate::compute::Compute;
use crate::config::Config;
use crate::lora::{Lora, LoraConfig};
use crate::ops::attention::Shape;
use crate::ops::rmsnorm;
use crate::weights::Weights;

/// Tokens that pass through the blocks together; a longer prompt goes in pieces, which bounds memory.
pub const BATCH: usize = 128;

/// Why a model cannot compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The lent arena is too small.
    OutOfMemory(OutOfMemory),
    /// A token is not in the vocabulary.
    Token {
        /// Its position among the tokens given.
        index: usize,
        /// The id.
        token: u32,
        /// V.
        vocab: usize,
    },
    /// The cache has no room for the tokens.
    Full {
        /// Tokens given.
        tokens: usize,
        /// Tokens in the cache.
        len: usize,
        /// C.
        capacity: usize,
    },
    /// The cache was made for a model of another shape.
    Cache,
    /// The adapter's parameters, or their gradients, are not as many as its configuration says.
    Adapter {
        /// Parameters by the configuration.
        expected: usize,
        /// Parameters given.
        found: usize,
    },
    /// An example's tokens and targets differ in number, or its first token is a target.
    Example {
        /// Its position among the examples given.
        index: usize,
    },
    /// An activation is infinite or not a number.
    NonFinite {
        /// The layer, or `None` outside the blocks.
        layer: Option<usize>,
        /// The module whose output it is, as Hugging Face names it below the layer.
        tensor: &'static str,
    },
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match *self {
            Error::OutOfMemory(error) => error.fmt(f),
            Error::Token { index, token, vocab } => {
                write!(f, "token {token} at {index} is not below the vocabulary's size {vocab}")
            }
            Error::Full { tokens, len, capacity } => {
                write!(f, "{tokens} more tokens after {len} exceed the context of {capacity}")
            }
            Error::Cache => f.write_str("the cache was made for a model of another shape"),
            Error::Adapter { expected, found } => {
                write!(f, "the adapter needs {expected} parameters, {found} were given")
            }
            Error::Example { index } => {
                write!(f, "example {index}: a target for each token but the first is needed")
            }
            Error::NonFinite { layer: Some(layer), tensor } => {
                write!(f, "layer {layer}: the output of {tensor} is not finite")
            }
            Error::NonFinite { layer: None, tensor } => {
                write!(f, "the output of {tensor} is not finite")
            }
        }
    }
}

impl core::error::Error for Error {}

impl From<OutOfMemory> for Error {
    fn from(error: OutOfMemory) -> Self {
        Error::OutOfMemory(error)
    }
}

/// A model: its shape and its borrowed weights.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// The shape.
    pub config: Config,
    /// The weights.
    pub weights: Weights<'a>,
}

/// Which states a piece is asked for.
enum Wanted<'a> {
    /// All, `(T, D)`.
    All(&'a mut [f32]),
    /// The last token's, `(D)`.
    Last(&'a mut [f32]),
    None,
}

/// How a piece of `tokens` tokens passes through a block. So many jobs of attention at once are enough
/// for any pool to be busy.
const fn sizes(tokens: usize) -> Sizes {
    Sizes { tokens, mlp_rows: tokens, workers: 16, training: false, kept: false }
}

/// Bytes of the arena that [`Model::forward`] needs for `tokens` tokens at once.
pub const fn inference_bytes(config: &Config, lora: Option<&LoraConfig>, tokens: usize) -> usize {
    let t = if tokens < BATCH { tokens } else { BATCH };
    f32_bytes(&Saved::lengths(config, t, true))
        + f32_bytes(&Scratch::lengths(config, lora, sizes(t)))
        + f32_bytes(&Angles::lengths(config, t))
        + f32_bytes(&[t * config.dim])
        + padded(4 * t)
        + crate::arena::ALIGN
}

/// Bytes of the arena that [`Model::logits`] needs for `tokens` tokens.
pub const fn logits_bytes(config: &Config, tokens: usize) -> usize {
    let blocks = tokens * Activations::width(config.dim);
    padded(blocks * size_of::<ActivationBlock>()) + crate::arena::ALIGN
}

impl<'a> Model<'a> {
    /// Computes the `states (T, D)` before the final norm of `tokens (T)` that follow those in `cache`,
    /// and appends them to it. The arena lends [`inference_bytes`].
    ///
    /// # Errors
    /// If a token is not in the vocabulary, the cache is full or of another model, the arena is too
    /// small, or an activation is not finite; the cache then holds what it held before.
    ///
    /// # Panics
    /// If `states` is not `(T, D)`.
    pub fn forward(
        &self,
        compute: Compute,
        lora: Option<Lora>,
        tokens: &[u32],
        cache: &mut KvCache,
        arena: &mut Arena,
        states: &mut [f32],
    ) -> Result<(), Error> {
        assert_eq!(states.len(), tokens.len() * self.config.dim, "states are (T, D)");
        self.check(lora, tokens, cache)?;
        let len = cache.len();
        let states = states.chunks_mut(BATCH * self.config.dim);
        for (tokens, states) in tokens.chunks(BATCH).zip(states) {
            let piece =
                self.piece(compute, lora, tokens, cache, arena.scope(), Wanted::All(states));
            if let Err(error) = piece {
                cache.truncate(len);
                return Err(error);
            }
        }
        Ok(())
    }

    /// [`forward`](Self::forward) for a prompt: only the `state (D)` of the last token is wanted, and
    /// the last block computes nothing for the others but their keys and values.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    /// If there is no token, or `state` is not `(D)`.
    pub fn prefill(
        &self,
        compute: Compute,
        lora: Option<Lora>,
        tokens: &[u32],
        cache: &mut KvCache,
        arena: &mut Arena,
        state: &mut [f32],
    ) -> Result<(), Error> {
        assert!(!tokens.is_empty() && state.len() == self.config.dim, "the state is (D)");
        self.check(lora, tokens, cache)?;
        let len = cache.len();
        let pieces = tokens.len().div_ceil(BATCH);
        for (i, tokens) in tokens.chunks(BATCH).enumerate() {
            let wanted = if i + 1 < pieces { Wanted::None } else { Wanted::Last(&mut *state) };
            let piece = self.piece(compute, lora, tokens, cache, arena.scope(), wanted);
            if let Err(error) = piece {
                cache.truncate(len);
                return Err(error);
            }
        }
        Ok(())
    }

    /// How the weights of linear layers are stored.
    pub fn linear_dtype(&self) -> DType {
        self.weights.layers.first().map_or(self.weights.embed, |l| l.gate_proj.weight).dtype()
    }

    fn check(&self, lora: Option<Lora>, tokens: &[u32], cache: &KvCache) -> Result<(), Error> {
        let (len, capacity) = (cache.len(), cache.capacity());
        if !cache.fits(&self.config) {
            return Err(Error::Cache);
        }
        if tokens.len() > capacity - len {
            return Err(Error::Full { tokens: tokens.len(), len, capacity });
        }
        self.check_adapter(lora)?;
        self.check_tokens(tokens)
    }

    fn piece(
        &self,
        compute: Compute,
        lora: Option<Lora>,
        tokens: &[u32],
        cache: &mut KvCache,
        mut arena: Arena,
        wanted: Wanted,
    ) -> Result<(), Error> {
        let Self { config, weights } = self;
        let (t, past) = (tokens.len(), cache.len());
        let lora_config = lora.as_ref().map(|lora| &lora.config);
        arena.require(inference_bytes(config, lora_config, t) - crate::arena::ALIGN)?;
        let starts = arena.take::<u32>(t)?;
        starts.fill(0);
        let mut saved = Saved::take(&mut arena, config, t, true)?;
        let mut scratch = Scratch::take(&mut arena, config, lora_config, sizes(t))?;
        let angles = Angles::take(&mut arena, config, t, |t| past + t)?;
        let own = arena.take_f32(t * config.dim)?;
        let (x, whole, last) = match wanted {
            Wanted::All(states) => (states, config.layers, None),
            Wanted::Last(state) if t == 1 => (state, config.layers, None),
            Wanted::Last(state) => (own, config.layers - 1, Some(state)),
            Wanted::None => (own, config.layers - 1, None),
        };
        self.embed(compute, tokens, x)?;
        let shape = Shape::new(config, cache.capacity(), past);
        let block = Block {
            compute,
            config,
            layer: &weights.layers[0],
            index: 0,
            lora,
            dropout: None,
            starts,
            angles: &angles,
            shape,
        };
        for (index, layer) in weights.layers.iter().enumerate() {
            let block = Block { layer, index, ..block };
            if index < whole {
                block.forward(x, &mut saved, None, &mut scratch, Some(cache.layer(index)))?;
                continue;
            }
            let others = if last.is_some() { t - 1 } else { t };
            let x = &x[..others * config.dim];
            block.keys_values(x, &mut saved, &mut scratch, cache.layer(index));
        }
        if let Some(state) = last {
            let (index, shape) = (config.layers - 1, Shape { past: past + t - 1, ..shape });
            let (layer, starts, angles) =
                (&weights.layers[index], &starts[..1], &angles.last(config));
            let block = Block { layer, index, starts, angles, shape, ..block };
            state.copy_from_slice(&x[(t - 1) * config.dim..]);
            let mut saved = saved.for_one(config);
            block.forward(state, &mut saved, None, &mut scratch, Some(cache.layer(index)))?;
        }
        cache.advance(t);
        Ok(())
    }

    /// `x = embed[tokens]`, `(T, D)`; the tokens are checked.
    pub(crate) fn embed(
        &self,
        compute: Compute,
        tokens: &[u32],
        x: &mut [f32],
    ) -> Result<(), Error> {
        let embed = self.weights.embed;
        compute.rows(x, self.config.dim, &|t, x| {
            compute.kernels.widen_row(embed, tokens[t] as usize, x);
        });
        named(x, "model.embed_tokens")
    }

    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<(), Error> {
        let vocab = self.weights.embed.rows().min(self.weights.head.rows());
        match tokens.iter().position(|&token| token as usize >= vocab) {
            Some(index) => Err(Error::Token { index, token: tokens[index], vocab }),
            None => Ok(()),
        }
    }

    pub(crate) fn check_adapter(&self, lora: Option<Lora>) -> Result<(), Error> {
        let Some(lora) = lora else { return Ok(()) };
        let (expected, found) = (lora.config.parameters(&self.config), lora.parameters.len());
        if expected == found { Ok(()) } else { Err(Error::Adapter { expected, found }) }
    }

    pub(crate) fn check_gradients(&self, lora: &LoraConfig, found: usize) -> Result<(), Error> {
        let expected = lora.trainable(&self.config);
        if expected == found { Ok(()) } else { Err(Error::Adapter { expected, found }) }
    }

    /// `normed = rmsnorm(states)`, both `(T, D)`.
    ///
    /// # Errors
    /// If the result is not finite.
    ///
    /// # Panics
    /// If the lengths differ or are not multiples of D.
    pub fn final_norm(
        &self,
        compute: Compute,
        states: &[f32],
        normed: &mut [f32],
    ) -> Result<(), Error> {
        assert!(states.len() == normed.len() && states.len().is_multiple_of(self.config.dim));
        rmsnorm::forward(compute, states, self.weights.norm, self.config.norm_eps, normed);
        named(normed, "model.norm")
    }

    /// `logits (T, V)` of states after the final norm, `(T, D)`. The arena lends [`logits_bytes`].
    ///
    /// # Errors
    /// If the arena is too small or the result is not finite.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn logits(
        &self,
        compute: Compute,
        normed: &[f32],
        arena: &mut Arena,
        logits: &mut [f32],
    ) -> Result<(), Error> {
        let (head, dim) = (self.weights.head, self.config.dim);
        let mut arena = arena.scope();
        let x = match head.storage() {
            Storage::Packed(_) if compute.int8 => {
                let tokens = normed.len() / dim;
                let blocks = arena.take(tokens * Activations::width(dim))?;
                Input::I8(compute.kernels.quantize(compute.pool, normed, dim, blocks))
            }
            Storage::Packed(_) | Storage::Dense(_) => Input::F32(normed),
        };
        let product = Product { w: head, accumulate: false, y: logits };
        compute.kernels.matmul_each(compute.pool, x, [product]);
        named(logits, "lm_head")
    }
}

/// An error that names `tensor` if `x` is not finite.
fn named(x: &[f32], tensor: &'static str) -> Result<(), Error> {
    if finite(x) { Ok(()) } else { Err(Error::NonFinite { layer: None, tensor }) }
}

#[cfg(test)]
mod tests;
