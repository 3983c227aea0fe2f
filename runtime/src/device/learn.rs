//! A step of AdamW over a few dialogues that the person answered for.
//!
//! ```text
//! epoch e    the answered bins, shuffled by hash(seed, e); step s takes the next `batch` of them
//! dialogue   its messages with the preferred reply for the last, oldest ones left out to fit
//! loss       mean over the reply's tokens of all dialogues of the step, in nats
//! ```
//! What a step does depends on the adapter, the moments, the number of steps and the buffer alone: one
//! that is saved and loaded goes on as if nothing had been.

use embedded_storage::nor_flash::NorFlash;
use homespun_core::adamw::{self, AdamW, Moments};
use homespun_core::arena::Arena;
use homespun_core::lora::Lora;
use homespun_core::rng::{Rng, hash};
use homespun_core::train::{self, Example, Memory};

use super::{Device, Error};
use crate::image::Image;
use crate::image::bpe::Tokens;
use crate::image::template::{self, Page};
use crate::samples::{BinInfo, Flags, Message, Sample, Samples};

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub step: u64,
    /// Mean over the targets, before the step, in nats.
    pub loss: f64,
    /// Targets.
    pub targets: usize,
    /// Tokens that the model read.
    pub rows: usize,
    /// The gradient's norm before it was clipped.
    pub norm: f64,
}

/// The most messages of a dialogue that is learned; older ones are left out.
const MOST_MESSAGES: usize = 16;

/// Renders a dialogue as it is learned, without its oldest messages where it would not fit; the number
/// of its targets, 0 where it has none.
pub(super) fn render<E>(
    image: &Image<'_>,
    sample: &Sample<'_>,
    context: usize,
    page: &mut Page<'_>,
) -> Result<usize, Error<E>> {
    let mut messages: heapless::Vec<Message<'_>, MOST_MESSAGES> = heapless::Vec::new();
    let count = sample.messages.count();
    messages.extend(sample.messages.iter().skip(count.saturating_sub(MOST_MESSAGES)));
    if let Some(preferred) = sample.preferred {
        if messages.last().is_some_and(|message| message.role == "assistant") || messages.is_full()
        {
            messages.pop();
        }
        let _ = messages.push(Message { role: "assistant", content: preferred });
    }
    let mut from = 0;
    loop {
        let rendered = image.render(&messages[from..], false, page);
        let fits = rendered.is_ok() && page.tokens.len() <= context;
        if fits {
            let targets = &page.targets[..page.tokens.len()];
            return Ok(targets.iter().filter(|&&target| target).count());
        }
        // A reply is learned with its question at least.
        if from + 2 >= messages.len() {
            return match rendered {
                Err(error @ (template::Error::Role { .. } | template::Error::NoMessages)) => {
                    Err(error.into())
                }
                Ok(()) | Err(template::Error::Text { .. } | template::Error::Tokens(_)) => Ok(0),
            };
        }
        from += 2;
    }
}

/// The bin that is learned at `place`, counted in dialogues since the first step.
fn draw<F: NorFlash>(
    samples: &Samples<F, &mut [BinInfo]>,
    order: &mut [u32],
    (seed, place): (u64, u64),
) -> Option<usize> {
    let mut count = 0;
    for (bin, info) in samples.entries() {
        if info.header().flags.contains(Flags::ANNOTATED) {
            order[count] = bin as u32;
            count += 1;
        }
    }
    let order = &mut order[..count];
    let epoch = place.checked_div(count as u64)?;
    Rng::new(hash(&[seed, 3, epoch])).shuffle(order);
    Some(order[(place % count as u64) as usize] as usize)
}

impl<'a, F: NorFlash> Device<'a, F> {
    /// Bins that were answered, which steps learn from.
    pub fn answered(&self) -> usize {
        let flags = self.samples.entries().map(|(_, info)| info.header().flags);
        flags.filter(|flags| flags.contains(Flags::ANNOTATED)).count()
    }

    /// One step. Nothing of it is durable before [`save`](Self::save).
    ///
    /// # Errors
    /// If nothing was answered, a record is damaged, the gradient is not finite or there is too little
    /// memory: the adapter is then as it was.
    pub fn step(&mut self) -> Result<Step, Error<F::Error>> {
        let Device { image, model, compute, setting, samples, room, steps, .. } = self;
        let batch = setting.batch.max(1) as u64;
        let (mut targets, mut rows) = (0, 0);
        for i in 0..batch {
            let place = (setting.seed, *steps * batch + i);
            let bin = draw(samples, room.order, place).ok_or(Error::NothingToLearn)?;
            let sample = samples.read(bin, room.record)?;
            let mut page = page(room.text, room.words, room.targets);
            targets += render(image, &sample, setting.context, &mut page)?;
        }
        if targets == 0 {
            return Err(Error::NothingToLearn);
        }
        let lora = Lora { config: setting.lora, parameters: room.parameters };
        let mut arena = Arena::new(room.work);
        let whole = arena.available();
        let gradients = arena.take_f32(room.first.len())?;
        gradients.fill(0.0);
        let (scale, mut sum) = (1.0 / targets as f32, 0.0);
        let mut inner = 0;
        for i in 0..batch {
            let place = (setting.seed, *steps * batch + i);
            let bin = draw(samples, room.order, place).ok_or(Error::NothingToLearn)?;
            let sample = samples.read(bin, room.record)?;
            let mut page = page(room.text, room.words, room.targets);
            if render::<F::Error>(image, &sample, setting.context, &mut page)? == 0 {
                continue;
            }
            let learned = &page.targets[..page.tokens.len()];
            let example =
                Example { tokens: page.tokens.ids(), targets: learned, id: sample.arrival };
            let available = arena.available();
            sum += train::loss_and_gradients(
                model,
                *compute,
                lora,
                None,
                scale,
                setting.pieces,
                &[example],
                &mut arena,
                gradients,
            )?;
            let memory = Memory::new(
                &model.config,
                &setting.lora,
                example.rows(),
                setting.pieces,
                compute.pool.threads(),
            );
            let layout = memory.layout(available)?;
            inner = inner.max(memory.bytes(layout));
            rows += example.rows();
        }
        let left = arena.available();
        let norm = adamw::clip(gradients, setting.clip);
        if !norm.is_finite() {
            return Err(Error::NonFinite);
        }
        let mut moments = Moments { first: room.first, second: room.second, steps: &mut *steps };
        AdamW::default().step_parts(
            setting.lr,
            gradients,
            &mut moments,
            room.parameters,
            setting.lora.trained(&model.config),
        );
        room.note(whole - left + inner);
        Ok(Step { step: *steps, loss: sum / targets as f64, targets, rows, norm })
    }
}

/// A page over a room's memory.
pub(super) fn page<'p>(
    text: &'p mut [u8],
    words: &'p mut [u32],
    targets: &'p mut [u8],
) -> Page<'p> {
    targets.fill(0);
    let targets = bytemuck::checked::cast_slice_mut::<u8, bool>(targets);
    Page { text, tokens: Tokens::new(words), targets }
}
