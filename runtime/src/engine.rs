//! A model that is ready to compute: its files opened, its threads and its memory at hand.
//!
//! ```text
//! Base     what was opened: checkpoint, tokenizer, template
//! Engine   a base with kernels and threads
//! Session  an engine with a KV cache and scratch memory: generates, reuses a common prefix
//! ```

mod base;
mod session;
mod work;

use homespun_core::arena::Arena;
use homespun_core::cache::{KvCache, KvType};
use homespun_core::compute::Compute;
use homespun_core::lora::Lora;
use homespun_core::model::{self, Model};
use homespun_core::sampler;
use homespun_core::train::{self, Dropout, Pieces};
use homespun_core::weights::Layer;
use homespun_kernels::{Kernels, Pool};

use crate::adapter::Adapter;
use crate::memory;
use crate::tune::{Budget, Example};
use crate::{chat, checkpoint, tokenizer};
pub use base::Base;
pub use session::{Sampling, Session, States};
pub use work::Work;

/// Tokens of the longest context that a session has room for.
const MAX_CONTEXT: usize = 2048;

/// Why something with a model failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// The chat template.
    #[error(transparent)]
    Chat(#[from] chat::Error),
    /// The model itself.
    #[error("{model}: {source}")]
    Model {
        /// The model's name.
        model: String,
        /// What went wrong in it.
        source: model::Error,
    },
    /// The settings of the draws.
    #[error(transparent)]
    Sampling(#[from] sampler::Error),
    /// The terminal, or another output.
    #[error("cannot write the reply: {0}")]
    Output(#[from] std::io::Error),
    /// A prompt that is longer than the context.
    #[error("{tokens} tokens do not fit the context of {context}")]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// The context.
        context: usize,
    },
    /// No token at all.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// No dialogue has a response.
    #[error("no dialogue has a reply to compare with")]
    NothingToEvaluate,
    /// No dialogue has a target.
    #[error("no dialogue has a target to learn")]
    NothingToLearn,
    /// Training does not fit the memory that it may take.
    #[error("{}", too_little(*needed, *given))]
    TooLittleMemory {
        /// The smallest `--memory` that there is a plan for, or the bytes that must be free.
        needed: u64,
        /// `--memory`.
        given: Option<u64>,
    },
    /// The system gives no memory.
    #[error("no memory for training: {0}")]
    Memory(std::io::Error),
    /// A training step went wrong.
    #[error(
        "step {step}: the loss, its gradient or the adapter is not finite; a lower --lr may help"
    )]
    NonFinite {
        /// The step, from 1.
        step: usize,
    },
}

impl Error {
    /// Whether a number in the model or in a step of its training was infinite or none.
    pub fn is_non_finite(&self) -> bool {
        let model = |source: &model::Error| matches!(source, model::Error::NonFinite { .. });
        match self {
            Error::NonFinite { .. } => true,
            Error::Model { source, .. } => model(source),
            _ => false,
        }
    }
}

fn too_little(needed: u64, given: Option<u64>) -> String {
    // Rounded up, so that the number printed is enough.
    let needed = (needed as f64 / 1e5).ceil() / 10.0;
    match given {
        Some(given) => format!(
            "--memory: {:.1} MB are too little to train in; {needed:.1} MB are needed",
            given as f64 / 1e6
        ),
        None => format!("training needs {needed:.1} MB of free memory, and there is less"),
    }
}

/// How exactly a model computes outside of training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Precision {
    /// How keys and values are kept.
    pub kv: KvType,
    /// Whether linear layers with quantised weights take their input as int8.
    pub int8: bool,
}

impl Precision {
    /// For talking: a KV cache in f16, int8 activations.
    pub const FAST: Precision = Precision { kv: KvType::F16, int8: true };
    /// For measuring: f32.
    pub const EXACT: Precision = Precision { kv: KvType::F32, int8: false };
}

/// A base with kernels and threads.
#[derive(Clone, Copy)]
pub struct Engine<'m> {
    base: &'m Base,
    model: Model<'m>,
    compute: Compute<'m>,
    kv: KvType,
    budget: Budget,
}

impl<'m> Engine<'m> {
    /// An engine over `base` and its [`layers`](Base::layers).
    ///
    /// # Errors
    /// None that opening the base has not seen.
    pub fn new(
        base: &'m Base,
        layers: &'m [Layer<'m>],
        kernels: &'static Kernels,
        pool: &'m dyn Pool,
    ) -> Result<Self, Error> {
        let weights = base.checkpoint().weights(layers)?;
        let model = Model { config: *base.config(), weights };
        let compute = Compute::new(kernels, pool);
        Ok(Self { base, model, compute, kv: KvType::F32, budget: Budget::default() })
    }

    /// The same, computing as `precision` says; a new engine is [`Precision::EXACT`].
    pub const fn with_precision(self, precision: Precision) -> Self {
        Self { compute: self.compute.with_int8(precision.int8), kv: precision.kv, ..self }
    }

    /// The same, training in the memory that `budget` says.
    pub const fn with_budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// How exactly it computes.
    pub const fn precision(&self) -> Precision {
        Precision { kv: self.kv, int8: self.compute.int8 }
    }

    /// The memory that training may take.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.compute.pool.threads()
    }

    /// What computes.
    pub const fn kernels(&self) -> &'static Kernels {
        self.compute.kernels
    }

    /// What was opened.
    pub const fn base(&self) -> &'m Base {
        self.base
    }

    /// The model.
    pub const fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// Tokens that a session has room for.
    pub fn context(&self) -> usize {
        self.model.config.max_context.min(MAX_CONTEXT)
    }

    /// Tokens that a prompt may take so that `reply` tokens, or half a context, are left.
    pub fn room(&self, reply: usize) -> usize {
        self.context() - reply.min(self.context() / 2)
    }

    /// Makes what an adapter has of this base beside its file: see [`Adapter::prepare`].
    ///
    /// # Errors
    /// If the adapter is not of this model.
    pub fn prepare(&self, adapter: &mut Adapter) -> Result<(), Error> {
        adapter.prepare(&self.model, self.compute).map_err(|source| self.error(source))
    }

    /// The same after a step of training.
    pub(crate) fn renew(&self, adapter: &mut Adapter) -> Result<(), Error> {
        adapter.renew(&self.model, self.compute).map_err(|source| self.error(source))
    }

    /// A session with `adapter`, its cache empty.
    pub fn session<'s>(&self, adapter: Option<&'s Adapter>) -> Session<'s>
    where
        'm: 's,
    {
        Session::new(*self, adapter, self.context())
    }

    /// Sum of the negative log-likelihoods of the examples' targets, and the number of targets.
    ///
    /// # Errors
    /// If the model fails.
    pub fn loss(
        &self,
        adapter: Option<&Adapter>,
        examples: &[Example],
    ) -> Result<(f64, usize), Error> {
        self.loss_in(adapter, examples, Pieces::default(), &mut [])
    }

    /// The same in `memory`, if that is enough.
    pub(crate) fn loss_in(
        &self,
        adapter: Option<&Adapter>,
        examples: &[Example],
        pieces: Pieces,
        memory: &mut [u8],
    ) -> Result<(f64, usize), Error> {
        let lora = adapter.map(Adapter::lora);
        let lent: Vec<_> = examples.iter().map(Example::lend).collect();
        let longest = lent.iter().map(train::Example::rows).max().unwrap_or(0);
        self.base.work().forward(lent.iter().map(train::Example::rows).sum());
        self.base.work().head(lent.iter().map(train::Example::count).sum());
        let config = &self.model.config;
        let lora_config = lora.as_ref().map(|lora| &lora.config);
        let bytes = train::loss_bytes(config, lora_config, longest, pieces, self.threads());
        let mut own = Vec::new();
        let memory = if bytes <= memory.len() {
            memory
        } else {
            own.resize(bytes, 0);
            &mut own
        };
        let arena = &mut Arena::new(memory);
        train::loss(&self.model, self.compute, lora, pieces, &lent, arena)
            .map_err(|source| self.error(source))
    }

    /// Whether the weights are more than the memory that is free for them, so that they are read from
    /// the disk again and again.
    pub(crate) fn streams(&self) -> bool {
        let weights = self.base.checkpoint().weight_bytes();
        memory::free_bytes().is_some_and(|free| free < weights + weights / 4)
    }

    /// Adds the gradient of the summed loss times `scale` to `gradients`; returns the sum. With `fetch`
    /// the system is told which weights come next.
    #[allow(clippy::too_many_arguments, reason = "each is a part of the step that the caller owns")]
    pub(crate) fn gradients(
        &self,
        lora: Lora,
        dropout: Dropout,
        examples: &[train::Example],
        scale: f32,
        pieces: Pieces,
        fetch: bool,
        mut arena: Arena,
        gradients: &mut [f32],
    ) -> Result<f64, Error> {
        let rows = examples.iter().map(train::Example::rows).sum();
        self.base.work().forward(rows);
        self.base.work().backward(rows);
        self.base.work().head(2 * examples.iter().map(train::Example::count).sum::<usize>());
        let ahead = |layer| self.base.checkpoint().will_need(layer);
        let compute = if fetch { self.compute.with_ahead(&ahead) } else { self.compute };
        train::loss_and_gradients(
            &self.model,
            compute,
            lora,
            (lora.config.dropout > 0.0).then_some(dropout),
            scale,
            pieces,
            examples,
            &mut arena,
            gradients,
        )
        .map_err(|source| self.error(source))
    }

    fn error(&self, source: model::Error) -> Error {
        Error::Model { model: self.base.name().into(), source }
    }
}

/// Logits `(T, V)` of `tokens (T)`; needs neither tokenizer nor template. Activations are as
/// `compute` says.
///
/// # Errors
/// If a token is not in the vocabulary, the adapter does not fit or an activation is not finite.
pub fn logits(
    model: &Model,
    compute: Compute,
    kv: KvType,
    lora: Option<Lora>,
    tokens: &[u32],
) -> Result<Vec<f32>, model::Error> {
    let (config, context) = (&model.config, tokens.len().max(1));
    let mut cache = vec![0; KvCache::words(config, kv, context)];
    let mut cache = KvCache::new(config, kv, &mut cache)?;
    let lora_config = lora.as_ref().map(|lora| &lora.config);
    let bytes = model::inference_bytes(config, lora_config, tokens.len());
    let mut memory = vec![0; bytes.max(model::logits_bytes(config, tokens.len()))];
    let mut states = vec![0.0; tokens.len() * config.dim];
    let arena = &mut Arena::new(&mut memory);
    model.forward(compute, lora, tokens, &mut cache, arena, &mut states)?;
    let mut normed = vec![0.0; states.len()];
    model.final_norm(compute, &states, &mut normed)?;
    let mut logits = vec![0.0; tokens.len() * config.vocab];
    model.logits(compute, &normed, arena, &mut logits)?;
    Ok(logits)
}
