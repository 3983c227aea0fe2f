//! A reply, token by token.

use core::fmt::Write;

use embedded_storage::nor_flash::NorFlash;
use homespun_core::arena::Arena;
use homespun_core::cache::KvCache;
use homespun_core::sampler::{Sampler, Sampling};

use super::learn::page;
use super::{Device, Error, learned};
use crate::samples::Message;

impl<'a, F: NorFlash> Device<'a, F> {
    /// Writes the reply to `messages` as it comes: at most `most` tokens, or what the context has room
    /// for. Gives how many there were.
    ///
    /// # Errors
    /// If the prompt alone is longer than the context, or template or model fail. What `out` fails on
    /// is lost.
    pub fn reply(
        &mut self,
        messages: &[Message<'_>],
        sampling: Sampling,
        seed: u64,
        most: usize,
        out: &mut impl Write,
    ) -> Result<usize, Error<F::Error>> {
        let mut sampler = Sampler::try_new(sampling, seed)?;
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
        let whole = arena.available();
        let words = KvCache::words(config, setting.kv, setting.context);
        let mut cache = KvCache::new(config, setting.kv, arena.take(words)?)?;
        let state = arena.take_f32(config.dim)?;
        let normed = arena.take_f32(config.dim)?;
        let logits = arena.take_f32(config.vocab)?;
        let order = arena.take::<u32>(config.vocab)?;
        let left = arena.available();
        let piece = setting.prefill.max(1);
        for ids in page.tokens.ids().chunks(piece) {
            model.prefill(*compute, lora, ids, &mut cache, &mut arena.scope(), state)?;
        }
        let mut decoder = image.tokenizer().decoder();
        let mut count = 0;
        while count < most {
            model.final_norm(*compute, state, normed)?;
            model.logits(*compute, normed, &mut arena.scope(), logits)?;
            let id = sampler.sample(logits, page.tokens.ids(), order);
            if image.is_eos(id) {
                break;
            }
            count += 1;
            let _ = decoder.push(id, out);
            if page.tokens.len() == limit || page.tokens.push(id, 0).is_err() {
                break;
            }
            model.prefill(*compute, lora, &[id], &mut cache, &mut arena.scope(), state)?;
        }
        let _ = decoder.finish(out);
        let inner = homespun_core::model::inference_bytes(config, Some(&setting.lora), piece);
        room.note(whole - left + inner);
        Ok(count)
    }
}
