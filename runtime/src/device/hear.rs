//! A dialogue arrives: it is scored with the frozen model, and kept or not.

use embedded_storage::nor_flash::NorFlash;
use homespun_core::arena::Arena;
use homespun_core::cache::KvCache;
use homespun_core::select::{self, Lexicons, Measured, States};

use super::{Device, Error};
use crate::image::bpe::Tokens;
use crate::lexicon::LEXICONS;
use crate::samples::{Message, Messages, Observed, Sample};

/// What became of a dialogue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// Its arrival number, from 0.
    pub arrival: u64,
    /// Verdict and scores.
    pub observed: Observed,
}

impl<'a, F: NorFlash> Device<'a, F> {
    /// Scores a dialogue and puts it where the policy says.
    ///
    /// # Errors
    /// If it is too long, or model or flash fail: the buffer is then as it was.
    pub fn hear(&mut self, messages: &[Message<'_>]) -> Result<Heard, Error<F::Error>> {
        let scores = self.measure(messages)?.scores();
        let arrival = self.arrivals;
        let messages = Messages::Given(messages);
        let sample = Sample { id: arrival, arrival, scores, messages, ..Sample::default() };
        let Device { samples, setting, room, .. } = self;
        let mut choice =
            select::Setting { seed: setting.seed, frozen: false, scratch: room.scratch };
        let observed = samples.observe(setting.policy, &sample, room.embedding, &mut choice)?;
        self.arrivals += 1;
        Ok(Heard { arrival, observed })
    }

    /// Entropy, domain and tokens of a dialogue; its embedding is left in the room.
    pub(super) fn measure(
        &mut self,
        messages: &[Message<'_>],
    ) -> Result<Measured, Error<F::Error>> {
        let Device { image, model, compute, setting, room, .. } = self;
        let mut length = 0;
        for (i, message) in messages.iter().enumerate() {
            let newline = usize::from(i > 0);
            let end = length + newline + message.content.len();
            let (found, limit) = (end, room.text.len());
            let Some(place) = room.text.get_mut(length..end) else {
                return Err(Error::TooLong { found, limit });
            };
            place[..newline].fill(b'\n');
            place[newline..].copy_from_slice(message.content.as_bytes());
            length = end;
        }
        let text = core::str::from_utf8(&room.text[..length]).unwrap_or_default();
        let mut tokens = Tokens::new(room.words);
        let bpe = image.tokenizer();
        bpe.encode_whole(text, &mut tokens).map_err(crate::image::template::Error::from)?;
        tokens.truncate(setting.context);
        let (ids, dim) = (tokens.into_ids(), model.config.dim);
        let mut arena = Arena::new(room.work);
        let before = arena.available();
        let words = KvCache::words(&model.config, setting.kv, setting.context);
        let mut cache = KvCache::new(&model.config, setting.kv, arena.take(words)?)?;
        let raw = arena.take_f32(ids.len() * dim)?;
        let normed = arena.take_f32(ids.len() * dim)?;
        let left = arena.available();
        let piece = setting.prefill.max(1);
        for (ids, states) in ids.chunks(piece).zip(raw.chunks_mut(piece * dim)) {
            model.forward(*compute, None, ids, &mut cache, &mut arena.scope(), states)?;
        }
        model.final_norm(*compute, raw, normed)?;
        let lexicons = Lexicons::sorted(&LEXICONS);
        let states = States { before: raw, after: normed, dim };
        let measured = setting.scoring.measure(text, &lexicons, states, room.embedding);
        let inner = homespun_core::model::inference_bytes(&model.config, None, piece);
        room.note(before - left + inner);
        Ok(measured)
    }
}
