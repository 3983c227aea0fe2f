//! Borrowed weights of a whole model, named as Hugging Face names them, and how they are gathered.
//!
//! ```text
//! for each layer i:  slot[i] = { model.layers.i.input_layernorm.weight, ... }   names: the family's
//! weights          = { embed, slots, norm, head = embed if tied }
//! ```

use core::fmt::{self, Write};

use homespun_kernels::quant::Packed;
use homespun_kernels::{Data, Matrix};

use crate::config::Config;

/// A linear layer `y = x weightᵀ + bias`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `(outputs, inputs)`.
    pub weight: Matrix<'a>,
    /// `(outputs)`.
    pub bias: Option<Data<'a>>,
}

/// One decoder block.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// `input_layernorm.weight`, `(D)`.
    pub input_norm: Data<'a>,
    /// `self_attn.q_proj`, `(heads * head_dim, D)`.
    pub q_proj: Linear<'a>,
    /// `self_attn.k_proj`, `(kv_heads * head_dim, D)`.
    pub k_proj: Linear<'a>,
    /// `self_attn.v_proj`, `(kv_heads * head_dim, D)`.
    pub v_proj: Linear<'a>,
    /// `self_attn.o_proj`, `(D, heads * head_dim)`.
    pub o_proj: Linear<'a>,
    /// `self_attn.q_norm.weight`, `(head_dim)`.
    pub q_norm: Option<Data<'a>>,
    /// `self_attn.k_norm.weight`, `(head_dim)`.
    pub k_norm: Option<Data<'a>>,
    /// `post_attention_layernorm.weight`, `(D)`.
    pub post_norm: Data<'a>,
    /// `mlp.gate_proj`, `(H, D)`.
    pub gate_proj: Linear<'a>,
    /// `mlp.up_proj`, `(H, D)`.
    pub up_proj: Linear<'a>,
    /// `mlp.down_proj`, `(D, H)`.
    pub down_proj: Linear<'a>,
}

/// All weights; the layers lie in a slice that the caller lends.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `model.embed_tokens.weight`, `(V, D)`.
    pub embed: Matrix<'a>,
    /// `model.layers`.
    pub layers: &'a [Layer<'a>],
    /// `model.norm.weight`, `(D)`.
    pub norm: Data<'a>,
    /// `lm_head.weight`, `(V, D)`; the embedding where they are tied.
    pub head: Matrix<'a>,
}

/// Where tensors come from: a checkpoint's map, an image in flash, a test's vectors.
pub trait TensorSource<'a> {
    /// Why a tensor cannot be had.
    type Error;

    /// The tensor `name`, whose shape must be `shape`; `Ok(None)` if there is none of that name.
    ///
    /// # Errors
    /// If the tensor is there with another shape or an unreadable element type.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Option<Data<'a>>, Self::Error>;

    /// The quantised matrix `(rows, cols)` of this name; `Ok(None)` if there is none, or a dense one.
    ///
    /// # Errors
    /// If it is there with another shape or in an unreadable format.
    fn packed(
        &self,
        _name: &str,
        _rows: usize,
        _cols: usize,
    ) -> Result<Option<Packed<'a>>, Self::Error> {
        Ok(None)
    }
}

/// A tensor's name.
pub type Name = heapless::String<80>;

/// Why the weights could not be gathered.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadError<E> {
    /// The source has no tensor of this name.
    Missing {
        /// The name.
        name: Name,
    },
    /// The source gave another number of elements than the shape that was asked for.
    Length {
        /// The name.
        name: Name,
        /// The elements it gave.
        found: usize,
        /// The elements of the shape.
        expected: usize,
    },
    /// The source's own reason: a shape or an element type.
    Source(E),
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Missing { name } => write!(f, "tensor `{name}` is missing"),
            LoadError::Length { name, found, expected } => {
                write!(f, "tensor `{name}` has {found} elements, not {expected}")
            }
            LoadError::Source(error) => error.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for LoadError<E> {}

impl<'a> Linear<'a> {
    /// No weight: a slot for [`load`] to fill.
    pub fn empty() -> Self {
        Linear { weight: Matrix::new(Data::F32(&[]), 0, 0), bias: None }
    }
}

impl<'a> Layer<'a> {
    /// No weights: a slot for [`load`] to fill.
    pub fn empty() -> Self {
        let (none, linear) = (Data::F32(&[]), Linear::empty());
        Layer {
            input_norm: none,
            q_proj: linear,
            k_proj: linear,
            v_proj: linear,
            o_proj: linear,
            q_norm: None,
            k_norm: None,
            post_norm: none,
            gate_proj: linear,
            up_proj: linear,
            down_proj: linear,
        }
    }
}

/// Gathers all weights of a validated `config` from `source`; `layers` are [`Layer::empty`] slots,
/// one for each layer of the model, and are filled here.
///
/// # Errors
/// The first tensor that is missing or that the source refuses.
///
/// # Panics
/// If `layers` has another length than `config.layers`.
pub fn load<'s, 'a: 's, S: TensorSource<'a>>(
    source: &S,
    config: &Config,
    layers: &'s mut [Layer<'a>],
) -> Result<Weights<'s>, LoadError<S::Error>> {
    load_layers(source, config, layers)?;
    assemble(source, config, layers)
}

/// The first half of [`load`]: fills `layers`.
///
/// # Errors
/// As [`load`].
///
/// # Panics
/// As [`load`].
pub fn load_layers<'a, S: TensorSource<'a>>(
    source: &S,
    config: &Config,
    layers: &mut [Layer<'a>],
) -> Result<(), LoadError<S::Error>> {
    assert_eq!(layers.len(), config.layers, "layer slots and num_hidden_layers differ");
    for (index, slot) in layers.iter_mut().enumerate() {
        *slot = load_layer(&Loader { source, config, layer: Some(index) })?;
    }
    Ok(())
}

/// The second half of [`load`]: the embedding, the last norm and the head, beside filled `layers`.
///
/// Where embedding and head are tied, either name will do for both.
///
/// # Errors
/// As [`load`].
///
/// # Panics
/// As [`load`].
pub fn assemble<'s, 'a: 's, S: TensorSource<'a>>(
    source: &S,
    config: &Config,
    layers: &'s [Layer<'a>],
) -> Result<Weights<'s>, LoadError<S::Error>> {
    assert_eq!(layers.len(), config.layers, "layer slots and num_hidden_layers differ");
    let names = &config.family.spec().names;
    let get = Loader { source, config, layer: None };
    let table = |name| get.maybe_matrix(name, config.vocab, config.dim);
    let missing = |name| LoadError::Missing { name: get.name(name, "") };
    let (embed, head) = if config.tied {
        let one = match table(names.embed)? {
            Some(embed) => embed,
            None => table(names.head)?.ok_or_else(|| missing(names.embed))?,
        };
        (one, one)
    } else {
        let embed = table(names.embed)?.ok_or_else(|| missing(names.embed))?;
        (embed, table(names.head)?.ok_or_else(|| missing(names.head))?)
    };
    Ok(Weights { embed, layers, norm: get.vector(names.norm, "", config.dim)?, head })
}

fn load_layer<'a, S: TensorSource<'a>>(
    get: &Loader<'_, S>,
) -> Result<Layer<'a>, LoadError<S::Error>> {
    let c = get.config;
    let names = &c.family.spec().names;
    let (q, kv) = (c.q_dim(), c.kv_dim());
    let head_norm =
        |name| if c.qk_norm { get.vector(name, "", c.head_dim).map(Some) } else { Ok(None) };
    Ok(Layer {
        input_norm: get.vector(names.input_norm, "", c.dim)?,
        q_proj: get.linear(names.q_proj, q, c.dim, c.qkv_bias)?,
        k_proj: get.linear(names.k_proj, kv, c.dim, c.qkv_bias)?,
        v_proj: get.linear(names.v_proj, kv, c.dim, c.qkv_bias)?,
        o_proj: get.linear(names.o_proj, c.dim, q, c.o_bias)?,
        q_norm: head_norm(names.q_norm)?,
        k_norm: head_norm(names.k_norm)?,
        post_norm: get.vector(names.post_norm, "", c.dim)?,
        gate_proj: get.linear(names.gate_proj, c.hidden, c.dim, c.mlp_bias)?,
        up_proj: get.linear(names.up_proj, c.hidden, c.dim, c.mlp_bias)?,
        down_proj: get.linear(names.down_proj, c.dim, c.hidden, c.mlp_bias)?,
    })
}

/// Asks a source for the tensors of one layer, or for those outside of the layers.
struct Loader<'l, S> {
    source: &'l S,
    config: &'l Config,
    layer: Option<usize>,
}

impl<S> Loader<'_, S> {
    /// The whole name. One beyond [`Name`]'s capacity is cut, so reported missing; none is that long.
    fn name(&self, part: &str, end: &str) -> Name {
        let mut name = Name::new();
        let written = match self.layer {
            None => write!(name, "{part}{end}"),
            Some(i) => write!(name, "{}{i}.{part}{end}", self.config.family.spec().names.layer),
        };
        written.ok();
        name
    }
}

impl<'a, S: TensorSource<'a>> Loader<'_, S> {
    fn maybe(&self, name: &Name, shape: &[usize]) -> Result<Option<Data<'a>>, LoadError<S::Error>> {
        let Some(data) = self.source.tensor(name, shape).map_err(LoadError::Source)? else {
            return Ok(None);
        };
        let expected = shape.iter().product();
        if data.len() != expected {
            return Err(LoadError::Length { name: name.clone(), found: data.len(), expected });
        }
        Ok(Some(data))
    }

    fn maybe_matrix(
        &self,
        part: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Option<Matrix<'a>>, LoadError<S::Error>> {
        self.named_matrix(&self.name(part, ""), rows, cols)
    }

    fn named_matrix(
        &self,
        name: &Name,
        rows: usize,
        cols: usize,
    ) -> Result<Option<Matrix<'a>>, LoadError<S::Error>> {
        if let Some(packed) = self.source.packed(name, rows, cols).map_err(LoadError::Source)? {
            return Ok(Some(Matrix::packed(packed)));
        }
        let data = self.maybe(name, &[rows, cols])?;
        Ok(data.map(|data| Matrix::new(data, rows, cols)))
    }

    fn vector(&self, part: &str, end: &str, len: usize) -> Result<Data<'a>, LoadError<S::Error>> {
        let name = self.name(part, end);
        self.maybe(&name, &[len])?.ok_or(LoadError::Missing { name })
    }

    fn linear(
        &self,
        part: &str,
        outputs: usize,
        inputs: usize,
        bias: bool,
    ) -> Result<Linear<'a>, LoadError<S::Error>> {
        let name = self.name(part, ".weight");
        let weight =
            self.named_matrix(&name, outputs, inputs)?.ok_or(LoadError::Missing { name })?;
        let bias = if bias { Some(self.vector(part, ".bias", outputs)?) } else { None };
        Ok(Linear { weight, bias })
    }
}

/// Whether a checkpoint of `config` may hold a tensor of this name.
///
/// A tensor that [`load`] would never ask for tells of a model with more parts than `config` says,
/// so whoever opens a checkpoint refuses it.
pub fn expects(config: &Config, name: &str) -> bool {
    let names = &config.family.spec().names;
    if [names.embed, names.norm, names.head].contains(&name) {
        return true;
    }
    let Some((index, part)) = name.strip_prefix(names.layer).and_then(|n| n.split_once('.')) else {
        return false;
    };
    if !index.parse::<usize>().is_ok_and(|i| i < config.layers) {
        return false;
    }
    if names.ignored.contains(&part) || [names.input_norm, names.post_norm].contains(&part) {
        return true;
    }
    if [names.q_norm, names.k_norm].contains(&part) {
        return config.qk_norm;
    }
    let groups: [(&[&str], bool); 3] = [
        (&[names.q_proj, names.k_proj, names.v_proj], config.qkv_bias),
        (&[names.o_proj], config.o_bias),
        (&[names.gate_proj, names.up_proj, names.down_proj], config.mlp_bias),
    ];
    match part.rsplit_once('.') {
        Some((linear, "weight")) => groups.iter().any(|(group, _)| group.contains(&linear)),
        Some((linear, "bias")) => {
            groups.iter().any(|&(group, bias)| bias && group.contains(&linear))
        }
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests;
