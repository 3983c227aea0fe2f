//! A conversation with a model: its KV cache, its scratch memory, and what it has computed so far.

use homespun_core::arena::Arena;
use homespun_core::cache::KvCache;
use homespun_core::lora::LoraConfig;
use homespun_core::model;
use homespun_core::sampler::{self, Sampler};

use super::{Engine, Error};
use crate::adapter::Adapter;
use crate::dialogue::Message;

/// How a reply is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// At most this many new tokens.
    pub max_tokens: usize,
    /// How each is drawn.
    pub draw: sampler::Sampling,
    /// Seed of the draws.
    pub seed: u64,
}

impl Sampling {
    /// The likeliest token, at most `max_tokens` times.
    pub fn greedy(max_tokens: usize) -> Self {
        Self { max_tokens, draw: sampler::Sampling::default(), seed: 0 }
    }
}

/// States of a token sequence.
pub struct States<'s> {
    /// `(T, D)`, before the final norm.
    pub raw: &'s [f32],
    /// `(T, D)`, after it.
    pub normed: &'s [f32],
}

/// An engine with memory for one conversation.
pub struct Session<'m> {
    engine: Engine<'m>,
    /// Borrowed as long as the session uses it; another one empties the cache.
    adapter: Option<&'m Adapter>,
    cache: Vec<u32>,
    arena: Vec<u8>,
    raw: Vec<f32>,
    normed: Vec<f32>,
    logits: Vec<f32>,
    order: Vec<u32>,
    /// Tokens in the cache.
    known: Vec<u32>,
}

impl<'m> Session<'m> {
    pub(super) fn new(engine: Engine<'m>, adapter: Option<&'m Adapter>, context: usize) -> Self {
        let config = &engine.model.config;
        Self {
            engine,
            adapter,
            cache: vec![0; KvCache::words(config, engine.kv, context)],
            arena: Vec::new(),
            raw: Vec::new(),
            normed: Vec::new(),
            logits: Vec::new(),
            order: vec![0; config.vocab],
            known: Vec::with_capacity(context),
        }
    }

    /// Goes on with another adapter, or with the base alone: the cache is forgotten, nothing is loaded
    /// or allocated. What follows is as in a fresh session.
    pub fn set_adapter(&mut self, adapter: Option<&'m Adapter>) {
        self.known.clear();
        self.adapter = adapter;
    }

    /// Bytes of the KV cache of a session of `engine` for `context` tokens, and of what it computes in.
    pub(crate) fn bytes(
        engine: &Engine,
        lora: Option<&LoraConfig>,
        context: usize,
    ) -> (usize, usize) {
        let config = &engine.model.config;
        let arena = model::inference_bytes(config, lora, context);
        let arena = arena.max(model::logits_bytes(config, 1));
        // A state before and after the norm; logits and their order.
        let rows = 4 * (2 * config.dim + 2 * config.vocab);
        (4 * KvCache::words(config, engine.kv, context), arena + rows)
    }

    /// Tokens that there is room for.
    fn capacity(&self) -> usize {
        self.cache.len() / KvCache::words(&self.engine.model.config, self.engine.kv, 1)
    }

    /// Computes `tokens` that follow those in the cache: the states of all, or of the last alone.
    fn feed(&mut self, tokens: &[u32], all: bool) -> Result<(), Error> {
        let Engine { model, compute, .. } = self.engine;
        let config = &model.config;
        let lora = self.adapter.map(Adapter::lora);
        let bytes = model::inference_bytes(config, lora.as_ref().map(|l| &l.config), tokens.len());
        let bytes = bytes.max(model::logits_bytes(config, 1));
        if self.arena.len() < bytes {
            self.arena.resize(bytes, 0);
        }
        self.raw.resize(if all { tokens.len() } else { 1 } * config.dim, 0.0);
        let error = |source| self.engine.error(source);
        let mut cache = KvCache::resume(config, self.engine.kv, &mut self.cache, self.known.len())
            .map_err(|e| error(e.into()))?;
        let arena = &mut Arena::new(&mut self.arena);
        let work = self.engine.base.work();
        if all {
            model.forward(compute, lora, tokens, &mut cache, arena, &mut self.raw)
        } else {
            work.unwanted(tokens.len() - 1);
            model.prefill(compute, lora, tokens, &mut cache, arena, &mut self.raw)
        }
        .map_err(error)?;
        self.known.extend_from_slice(tokens);
        work.forward(tokens.len());
        Ok(())
    }

    /// How many of `tokens`, from the first on, are in the cache and need not be computed.
    pub fn shared(&self, tokens: &[u32]) -> usize {
        self.known.iter().zip(tokens).take_while(|(a, b)| a == b).count()
    }

    /// Forgets what is not a common prefix of the cache and `tokens`, leaves one token to compute,
    /// and returns how many it kept.
    fn keep_prefix(&mut self, tokens: &[u32]) -> usize {
        let kept = self.shared(tokens).min(tokens.len().saturating_sub(1));
        self.known.truncate(kept);
        kept
    }

    /// Logits `(V)` after the last token that was fed.
    fn last_logits(&mut self) -> Result<(), Error> {
        self.engine.base.work().head(1);
        let Engine { model, compute, .. } = self.engine;
        let dim = model.config.dim;
        self.normed.resize(dim, 0.0);
        self.logits.resize(model.config.vocab, 0.0);
        let error = |source| self.engine.error(source);
        model.final_norm(compute, &self.raw, &mut self.normed).map_err(error)?;
        let arena = &mut Arena::new(&mut self.arena);
        model.logits(compute, &self.normed, arena, &mut self.logits).map_err(error)
    }

    /// Forgets everything, computes `tokens`, and gives the likeliest token after them.
    ///
    /// # Errors
    /// If there is no token, or more than the context, or the model fails.
    pub(crate) fn start(&mut self, tokens: &[u32]) -> Result<u32, Error> {
        self.known.clear();
        self.go_on(tokens)
    }

    /// Computes `tokens` after those in the cache, and gives the likeliest token after them.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn go_on(&mut self, tokens: &[u32]) -> Result<u32, Error> {
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        self.feed(tokens, false)?;
        self.last_logits()?;
        let mut greedy = Sampler::try_new(sampler::Sampling::default(), 0)?;
        Ok(greedy.sample(&mut self.logits, &self.known, &mut self.order))
    }

    /// Continues `prompt`, giving each new token to `on_token` until that says false, an end token
    /// comes, or there are `max_tokens`. Returns the new tokens, the end token left out.
    ///
    /// # Errors
    /// If the prompt is empty or longer than the context, or the model fails.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        on_token: &mut dyn FnMut(u32) -> Result<bool, Error>,
    ) -> Result<Vec<u32>, Error> {
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let context = self.capacity();
        if prompt.len() > context {
            return Err(Error::TooLong { tokens: prompt.len(), context });
        }
        let mut sampler = Sampler::try_new(sampling.draw, sampling.seed)?;
        let kept = self.keep_prefix(prompt);
        self.feed(&prompt[kept..], false)?;
        let mut new = Vec::new();
        while new.len() < sampling.max_tokens {
            self.last_logits()?;
            let token = sampler.sample(&mut self.logits, &self.known, &mut self.order);
            if self.engine.base.tokenizer().is_eos(token) {
                break;
            }
            new.push(token);
            if !on_token(token)? || self.known.len() == context {
                break;
            }
            self.feed(&[token], false)?;
        }
        Ok(new)
    }

    /// The reply to `messages`, and the tokens computed for it; the oldest turns are left out where
    /// the prompt is longer than `limit` or leaves no room for the reply.
    ///
    /// # Errors
    /// If the template, the tokenizer or the model fails.
    pub fn reply(
        &mut self,
        messages: &[Message],
        sampling: &Sampling,
        limit: usize,
    ) -> Result<(String, usize), Error> {
        self.reply_while(messages, sampling, limit, &mut |_| true)
    }

    /// [`reply`](Self::reply), ended early once `go_on` says false of the text so far.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn reply_while(
        &mut self,
        messages: &[Message],
        sampling: &Sampling,
        limit: usize,
        go_on: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(String, usize), Error> {
        let tokenizer = self.engine.base.tokenizer();
        let room = self.engine.room(sampling.max_tokens);
        let prompt = self.engine.base.prompt(messages, limit.min(room))?;
        let (mut stream, mut text) = (tokenizer.stream(), String::new());
        let new = self.generate(&prompt, sampling, &mut |token| {
            text.push_str(&stream.push(token)?);
            Ok(go_on(&text))
        })?;
        text.push_str(&stream.finish()?);
        Ok((text.trim().to_owned(), prompt.len() + new.len()))
    }

    /// States of `tokens`.
    ///
    /// # Errors
    /// If they do not fit the context, or the model fails.
    pub fn states(&mut self, tokens: &[u32]) -> Result<States<'_>, Error> {
        self.known.clear();
        self.feed(tokens, true)?;
        let Engine { model, compute, .. } = self.engine;
        self.normed.resize(self.raw.len(), 0.0);
        model
            .final_norm(compute, &self.raw, &mut self.normed)
            .map_err(|source| self.engine.error(source))?;
        Ok(States { raw: &self.raw, normed: &self.normed })
    }
}
