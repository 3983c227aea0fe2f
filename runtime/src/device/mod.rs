//! All of Homespun on a device without an operating system: a model in flash, one block of memory,
//! two ranges of flash, and nothing else.
//!
//! ```text
//! image    model, tokenizer, template, used where they lie
//! memory   | adapter, moments | text, tokens, record | work: of scoring, a reply or a step in turn |
//! samples  the sample buffer          adapter   the adapter and its training, the old or the new
//!
//! hear     a dialogue is scored and kept or not          [`hear`](Device::hear)
//! ask      which one the person should look at           [`request`](Device::request)
//! answer   what they would have liked                    [`answer`](Device::answer)
//! learn    a step of AdamW over what was answered        [`step`](Device::step)
//! save     from here on a cut of power changes nothing   [`save`](Device::save)
//! reply    as the person likes it                        [`reply`](Device::reply)
//! ```
//! No allocation, no thread, no clock and no random number that the caller does not give.

mod answer;
mod check;
pub mod console;
mod error;
mod hear;
mod keep;
mod learn;
mod memory;
mod reply;

pub use answer::Request;
pub use check::{Digest, Gradient};
pub use error::Error;
pub use hear::Heard;
pub use keep::adapter_bytes;
pub use learn::Step;
pub use memory::{Plan, index};

use embedded_storage::nor_flash::NorFlash;
use homespun_boards::{LARGE, SMALL};
use homespun_core::cache::KvType;
use homespun_core::compute::Compute;
use homespun_core::lora::{Lora, LoraConfig};
use homespun_core::model::Model;
use homespun_core::rng::{Rng, hash};
use homespun_core::select::Scoring;
use homespun_core::select::policy::{Policy, QUALITY};
use homespun_core::train::Pieces;
use homespun_core::weights::{self, Layer};

use crate::flash::pair::Pair;
use crate::image::Image;
pub use crate::samples::Answer;
use crate::samples::{self, BinInfo, Samples, Seal};
use memory::Room;

/// How a device lives with a person.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// T: the most tokens of a dialogue, a prompt with its reply included.
    pub context: usize,
    /// The most bytes of a dialogue's text.
    pub text: usize,
    /// Bins of the sample buffer.
    pub bins: usize,
    /// The adapter's shape; dropout is not done.
    pub lora: LoraConfig,
    /// Learning rate.
    pub lr: f64,
    /// Dialogues of a step.
    pub batch: usize,
    /// The gradient's greatest norm.
    pub clip: f64,
    /// Pieces that a step is made of.
    pub pieces: Pieces,
    /// Tokens of a text that are computed at once.
    pub prefill: usize,
    /// How keys and values are kept while text is read or written.
    pub kv: KvType,
    /// Which dialogues are kept.
    pub policy: &'static Policy,
    /// How they are scored.
    pub scoring: Scoring,
    /// Of every draw.
    pub seed: u64,
}

impl Setting {
    /// For a microcontroller with half a megabyte: rank 4 on q and v, 32 tokens.
    pub const SMALL: Setting = Setting {
        context: SMALL.context,
        text: 512,
        bins: 8,
        lora: SMALL.lora,
        lr: 5e-3,
        batch: 2,
        clip: 1.0,
        pieces: Pieces { mlp_rows: 8, head_rows: 4, half_inputs: false },
        prefill: 8,
        kv: KvType::F16,
        policy: &QUALITY,
        scoring: Scoring { entropy: DEFAULT.entropy, pooling: DEFAULT.pooling },
        seed: 0,
    };

    /// For megabytes: rank 8 on all of attention, 256 tokens.
    pub const LARGE: Setting = Setting {
        context: LARGE.context,
        text: 2048,
        bins: 16,
        lora: LARGE.lora,
        pieces: Pieces { mlp_rows: 64, head_rows: 32, half_inputs: false },
        prefill: 32,
        kv: KvType::F32,
        ..Setting::SMALL
    };

    /// The setting of that name.
    pub fn named(name: &str) -> Option<Setting> {
        match name {
            "small" => Some(Setting::SMALL),
            "large" => Some(Setting::LARGE),
            _ => None,
        }
    }
}

/// [`Scoring::default`], which is not const.
const DEFAULT: Scoring = Scoring {
    entropy: homespun_core::select::Entropy::Histogram,
    pooling: homespun_core::select::Pooling::Mean,
};

/// The flash of a device: two ranges, or two parts of one.
#[derive(Debug)]
pub struct Flash<F> {
    /// Of the sample buffer.
    pub samples: F,
    /// Of the adapter.
    pub adapter: F,
    /// What seals both, where they are to be sealed.
    pub seal: Option<Seal>,
}

/// A model that learns a person.
pub struct Device<'a, F: NorFlash> {
    image: Image<'a>,
    model: Model<'a>,
    compute: Compute<'a>,
    setting: Setting,
    samples: Samples<F, &'a mut [BinInfo]>,
    pair: Pair<F>,
    room: Room<'a>,
    /// Steps of the adapter.
    steps: u64,
    /// Dialogues that arrived.
    arrivals: u64,
}

impl<'a, F: NorFlash> Device<'a, F> {
    /// Opens what is in the flash, or begins: blank flash becomes an empty buffer.
    ///
    /// `layers` are as many [`Layer::empty`] as the model has, `index` as many [`BinInfo::FREE`] as
    /// [`index`] says, and `memory` has what [`Plan`] says.
    ///
    /// # Errors
    /// If the image, the flash, or what lies in it does not suit, or there is too little memory.
    pub fn open(
        image: Image<'a>,
        layers: &'a mut [Layer<'a>],
        index: &'a mut [BinInfo],
        memory: &'a mut [u8],
        flash: Flash<F>,
        setting: Setting,
        compute: Compute<'a>,
    ) -> Result<Self, Error<F::Error>> {
        let config = *image.config();
        let Flash { mut samples, adapter, seal } = flash;
        let wanted = config.layers;
        if layers.len() != wanted {
            return Err(Error::Layers { needed: wanted, available: layers.len() });
        }
        let weights = weights::load(&image, &config, layers).map_err(Error::weights)?;
        let model = Model { config, weights };
        let room = Room::carve(&config, &setting, compute.pool.threads(), memory)?;
        if is_blank(&mut samples)? {
            samples::format(&mut samples, setting.bins, seal.is_some())?;
        }
        let samples = match &seal {
            Some(seal) => Samples::mount_sealed(samples, index, seal.clone())?,
            None => Samples::mount(samples, index)?,
        };
        let range = 0..adapter.capacity() as u32;
        let pair = match seal {
            Some(seal) => Pair::mount_sealed(adapter, range, seal)?,
            None => Pair::mount(adapter, range)?,
        };
        let arrivals = samples.entries().map(|(_, info)| info.header().arrival + 1).max();
        let mut device = Device {
            image,
            model,
            compute: compute.with_int8(false),
            setting,
            samples,
            pair,
            room,
            steps: 0,
            arrivals: arrivals.unwrap_or(0),
        };
        if device.samples.bins() != setting.bins {
            let (asked, found) = (setting.bins, device.samples.bins());
            return Err(Error::Bins { asked, found });
        }
        let needed = keep::bytes(&config, &setting.lora);
        if needed > device.pair.capacity() {
            let available = device.pair.capacity();
            return Err(Error::AdapterFlash { needed, available });
        }
        device.load()?;
        Ok(device)
    }

    /// A fresh adapter, which changes nothing yet. What was saved stays until the next
    /// [`save`](Self::save).
    pub fn begin_anew(&mut self) {
        let mut rng = Rng::new(hash(&[self.setting.seed, 1]));
        self.setting.lora.init(&self.model.config, &mut rng, self.room.parameters);
        self.room.first.fill(0.0);
        self.room.second.fill(0.0);
        self.steps = 0;
    }

    /// What it was opened with.
    pub const fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The model.
    pub const fn image(&self) -> &Image<'a> {
        &self.image
    }

    /// Steps that the adapter was trained.
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The sample buffer.
    pub const fn samples(&self) -> &Samples<F, &'a mut [BinInfo]> {
        &self.samples
    }

    /// The sample buffer, to put something in by hand.
    pub const fn samples_mut(&mut self) -> &mut Samples<F, &'a mut [BinInfo]> {
        &mut self.samples
    }

    /// The adapter's parameters.
    pub const fn parameters(&self) -> &[f32] {
        self.room.parameters
    }

    /// The most bytes of memory that were used so far.
    pub const fn used(&self) -> usize {
        self.room.used()
    }
}

/// The adapter, once it has learned something: a fresh one changes nothing.
fn learned<'r>(setting: &Setting, steps: u64, parameters: &'r [f32]) -> Option<Lora<'r>> {
    (steps > 0).then_some(Lora { config: setting.lora, parameters })
}

/// Whether nothing was ever written to the begin of `flash`.
fn is_blank<F: NorFlash>(flash: &mut F) -> Result<bool, Error<F::Error>> {
    let mut stage = [0; samples::STAGE];
    let bytes = crate::flash::io::padded::<F>(samples::layout::SUPERBLOCK_BYTES);
    crate::flash::io::is_blank(flash, 0, bytes as u32, &mut stage).map_err(Error::Flash)
}

#[cfg(test)]
#[cfg(feature = "std")]
mod tests;
