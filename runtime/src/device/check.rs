//! Figures to the last bit, by which one machine is compared with another.

use embedded_storage::nor_flash::NorFlash;
use homespun_core::arena::Arena;
use homespun_core::cache::KvCache;
use homespun_core::lora::Lora;
use homespun_core::train::{self, Example};

use super::learn::{page, render};
use super::{Device, Error, learned};
use crate::samples::Message;
use crate::samples::crc::Crc;

/// What many numbers are, in one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Digest {
    /// CRC of their bits, little-endian.
    pub crc: u32,
    /// How many.
    pub count: usize,
    /// The first.
    pub first: f32,
    /// The largest.
    pub largest: f32,
}

impl Digest {
    /// Of `numbers`.
    pub fn of(numbers: &[f32]) -> Self {
        let mut crc = Crc::new();
        numbers.iter().for_each(|x| crc.add(&x.to_bits().to_le_bytes()));
        let largest = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let first = numbers.first().copied().unwrap_or_default();
        Digest { crc: crc.value(), count: numbers.len(), first, largest }
    }
}

impl core::fmt::Display for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Digest { crc, count, first, largest } = self;
        let bits = (first.to_bits(), largest.to_bits());
        write!(f, "{crc:08x} of {count}, first {:08x}, largest {:08x}", bits.0, bits.1)
    }
}

/// A loss and its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient {
    /// Summed over the targets, in nats.
    pub loss: f64,
    /// Its gradient by the adapter.
    pub digest: Digest,
}

impl<'a, F: NorFlash> Device<'a, F> {
    /// The logits after `messages` and what begins a reply.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn logits(&mut self, messages: &[Message<'_>]) -> Result<Digest, Error<F::Error>> {
        let Device { image, model, compute, setting, room, steps, .. } = self;
        let config = &model.config;
        let mut page = page(room.text, room.words, room.targets);
        image.render(messages, true, &mut page)?;
        let (found, limit) = (page.tokens.len(), setting.context);
        if found > limit {
            return Err(Error::TooLong { found, limit });
        }
        let lora = learned(setting, *steps, room.parameters);
        let mut arena = Arena::new(room.work);
        let words = KvCache::words(config, setting.kv, setting.context);
        let mut cache = KvCache::new(config, setting.kv, arena.take(words)?)?;
        let state = arena.take_f32(config.dim)?;
        let normed = arena.take_f32(config.dim)?;
        let logits = arena.take_f32(config.vocab)?;
        for ids in page.tokens.ids().chunks(setting.prefill.max(1)) {
            model.prefill(*compute, lora, ids, &mut cache, &mut arena.scope(), state)?;
        }
        model.final_norm(*compute, state, normed)?;
        model.logits(*compute, normed, &mut arena, logits)?;
        Ok(Digest::of(logits))
    }

    /// Loss and gradient of the dialogue in `bin`, as a step would take them.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn gradient(&mut self, bin: usize) -> Result<Gradient, Error<F::Error>> {
        let Device { image, model, compute, setting, samples, room, .. } = self;
        let sample = samples.read(bin, room.record)?;
        let mut page = page(room.text, room.words, room.targets);
        if render::<F::Error>(image, &sample, setting.context, &mut page)? == 0 {
            return Err(Error::NothingToLearn);
        }
        let mut arena = Arena::new(room.work);
        let gradients = arena.take_f32(room.first.len())?;
        gradients.fill(0.0);
        let targets = &page.targets[..page.tokens.len()];
        let example = Example { tokens: page.tokens.ids(), targets, id: sample.arrival };
        let lora = Lora { config: setting.lora, parameters: room.parameters };
        let loss = train::loss_and_gradients(
            model,
            *compute,
            lora,
            None,
            1.0,
            setting.pieces,
            &[example],
            &mut arena,
            gradients,
        )?;
        Ok(Gradient { loss, digest: Digest::of(gradients) })
    }
}
