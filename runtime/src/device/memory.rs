//! The one block of memory of a device, and what it needs of it.
//!
//! ```text
//! always   adapter (P), two moments (G each), tokens, text, targets, a record, selection's floats
//! work     scoring: cache, a piece's activations, states (2, T, D)
//!          reply:   cache, a piece's activations, a state, logits and their order (V)
//!          step:    gradients (G), what `core::train` lays out
//! ```
//! The work of one kind is over before that of another begins, so the largest counts.

use embedded_storage::nor_flash::NorFlash;
use homespun_core::arena::{Arena, OutOfMemory, padded};
use homespun_core::cache::KvCache;
use homespun_core::config::Config;
use homespun_core::model;
use homespun_core::select::policy::scratch_len;
use homespun_core::train::Memory;

use super::Setting;
use crate::image::bpe::Tokens;
use crate::samples;

/// Entries of the index that a sample buffer in `flash` needs.
pub fn index<F: NorFlash>(flash: &F) -> usize {
    samples::slots::<F>(flash.capacity())
}

/// Bytes of memory that a device needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Always.
    pub always: usize,
    /// To score a dialogue.
    pub scoring: usize,
    /// To write a reply.
    pub reply: usize,
    /// For a step at least.
    pub least_step: usize,
    /// For a step that computes nothing twice.
    pub whole_step: usize,
}

impl Plan {
    /// Of a model and a setting, with `threads` threads.
    pub fn of(config: &Config, setting: &Setting, threads: usize) -> Self {
        let lora = &setting.lora;
        let (p, g) = (lora.parameters(config), lora.trainable(config));
        let tokens = setting.text;
        let f32s = |n: usize| padded(4 * n);
        let always = f32s(p)
            + 2 * f32s(g)
            + f32s(Tokens::words(tokens))
            + padded(setting.text)
            + padded(tokens)
            + padded(record_bytes(config, setting))
            + f32s(config.dim)
            + f32s(scratch_len(setting.bins, config.dim))
            + f32s(setting.bins)
            + homespun_core::arena::ALIGN;
        let cache = f32s(KvCache::words(config, setting.kv, setting.context));
        let piece = setting.prefill.clamp(1, setting.context);
        let piece = padded(model::inference_bytes(config, Some(lora), piece));
        let logits = padded(model::logits_bytes(config, 1));
        let states = 2 * f32s(setting.context * config.dim);
        let memory = Memory::new(config, lora, setting.context, setting.pieces, threads);
        Plan {
            always,
            scoring: cache + piece + states,
            reply: cache + piece.max(logits) + 2 * f32s(config.dim) + 2 * f32s(config.vocab),
            least_step: f32s(g) + padded(memory.least()),
            whole_step: f32s(g) + padded(memory.all()),
        }
    }

    /// Bytes with which everything can be done.
    pub const fn least(&self) -> usize {
        let mut most = self.scoring;
        if self.reply > most {
            most = self.reply;
        }
        if self.least_step > most {
            most = self.least_step;
        }
        self.always + most
    }
}

/// The largest record of a dialogue of `setting.text` bytes with a preferred reply.
pub(super) const fn record_bytes(config: &Config, setting: &Setting) -> usize {
    let bytes = 2 * setting.text + 2 * config.dim + 256;
    if bytes < samples::RECORD_BYTES { bytes } else { samples::RECORD_BYTES }
}

/// What a device's memory was carved into.
pub(super) struct Room<'a> {
    /// `(P)`.
    pub parameters: &'a mut [f32],
    /// `(G)`.
    pub first: &'a mut [f32],
    /// `(G)`.
    pub second: &'a mut [f32],
    /// Of [`Tokens`].
    pub words: &'a mut [u32],
    /// Text that is encoded.
    pub text: &'a mut [u8],
    /// Zeros and ones: which tokens are learned.
    pub targets: &'a mut [u8],
    /// A dialogue of the buffer.
    pub record: &'a mut [u8],
    /// `(D)`.
    pub embedding: &'a mut [f32],
    /// Of selection.
    pub scratch: &'a mut [f32],
    /// The bins of an epoch.
    pub order: &'a mut [u32],
    /// The rest.
    pub work: &'a mut [u8],
    always: usize,
    most: usize,
}

impl<'a> Room<'a> {
    pub fn carve(
        config: &Config,
        setting: &Setting,
        threads: usize,
        memory: &'a mut [u8],
    ) -> Result<Self, OutOfMemory> {
        let (needed, available) = (Plan::of(config, setting, threads).least(), memory.len());
        if needed > available {
            return Err(OutOfMemory { needed, available });
        }
        let (p, g) = (setting.lora.parameters(config), setting.lora.trainable(config));
        let mut arena = Arena::new(memory);
        let parameters = arena.take_f32(p)?;
        let first = arena.take_f32(g)?;
        let second = arena.take_f32(g)?;
        let words = arena.take(Tokens::words(setting.text))?;
        let text = arena.take(setting.text)?;
        let targets = arena.take(setting.text)?;
        let record = arena.take(record_bytes(config, setting))?;
        let embedding = arena.take_f32(config.dim)?;
        let scratch = arena.take_f32(scratch_len(setting.bins, config.dim))?;
        let order = arena.take(setting.bins)?;
        let rest = arena.available();
        let work = arena.take(rest)?;
        let always = available - work.len();
        let most = always;
        Ok(Room {
            parameters,
            first,
            second,
            words,
            text,
            targets,
            record,
            embedding,
            scratch,
            order,
            work,
            always,
            most,
        })
    }

    /// Remembers that so many bytes of the work were used.
    pub fn note(&mut self, work: usize) {
        self.most = self.most.max(self.always + work);
    }

    pub const fn used(&self) -> usize {
        self.most
    }
}
