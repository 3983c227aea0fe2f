//! Homespun in a firmware of your own: copy this, put your chip's drivers in, and call [`live`].
//!
//! ```text
//! your linker script   the image of `homespun pack`, at a multiple of 64 bytes of flash
//! your statics         the arena, by `cortex_m::singleton!` or the crate `static_cell`
//! your drivers         Chip (flash), random, what the person says, where the reply goes
//! ```
//! `cargo build -p homespun-runtime --example firmware --no-default-features --target thumbv7em-none-eabihf`
#![no_std]

use core::fmt::Write;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use homespun_core::{compute::Compute, sampler::Sampling, weights::Layer};
use homespun_kernels::Kernels;
use homespun_runtime::device::{Answer, Device, Error, Flash, Plan, Setting, index};
use homespun_runtime::image::Image;
use homespun_runtime::samples::{BinInfo, Message};
use homespun_runtime::seal::{Key, Random, Seal};

/// The memory of the model: `Plan` says how much.
pub const ARENA_BYTES: usize = 480 << 10;
/// At least the layers of the model.
const LAYERS: usize = 16;
/// At least the slots of the samples' flash.
const SLOTS: usize = 16;

/// What your board has.
pub struct Board {
    /// The model, where it lies.
    pub image: &'static [u8],
    /// All that is written to, of [`ARENA_BYTES`].
    pub arena: &'static mut [u8],
    /// A range of flash for the dialogues, and another for what was learned.
    pub flash: [Chip; 2],
    /// 32 bytes that only this device has, and its generator of random numbers.
    pub key: [u8; 32],
    /// Fills bytes with random ones.
    pub random: Random,
    /// Counts up; for what you want to time.
    pub clock: fn() -> u64,
}

/// Hears a dialogue, asks what would have been better, learns it and replies as the person likes it.
pub fn live(board: Board, mut out: &mut dyn Write) -> Result<u64, Error<NorFlashErrorKind>> {
    let Board { image, arena, flash: [samples, adapter], key, random, clock } = board;
    let image = Image::open(image)?;
    let setting = Setting { seed: 1, ..Setting::SMALL };
    let plan = Plan::of(image.config(), &setting, 1);
    let _ = writeln!(out, "needs {} of {} bytes", plan.least(), arena.len());
    let (mut layers, mut bins) = ([Layer::empty(); LAYERS], [BinInfo::FREE; SLOTS]);
    let layers = &mut layers[..image.config().layers];
    let bins = &mut bins[..index(&samples)];
    let seal = Some(Seal { key: Key::new(key), previous: None, random });
    let flash = Flash { samples, adapter, seal };
    let compute = Compute::serial(Kernels::detect());
    let mut device = Device::open(image, layers, bins, arena, flash, setting, compute)?;

    let question = Message { role: "user", content: "What shall I drink in the morning?" };
    let reply = Message { role: "assistant", content: "A cup of coffee with milk." };
    let heard = device.hear(&[question, reply])?;
    let _ = writeln!(out, "heard: {:?}", heard.observed.verdict);
    while let Some(request) = device.request()? {
        // Show `request.sample.messages` to the person; this is what they type.
        let bin = request.bin;
        device.answer(bin, Answer::Preferred("Mint tea, from the garden."))?;
    }
    let start = clock();
    for _ in 0..12 {
        // One step at a time, when there is nothing else to do.
        let step = device.step()?;
        let _ = writeln!(out, "step {}: loss {:.3}", step.step, step.loss);
    }
    let ticks = clock() - start;
    device.save()?;
    device.reply(&[question], Sampling::default(), 0, 24, &mut out)?;
    Ok(ticks)
}

/// Flash: here memory that keeps its bytes, in your firmware the driver of your chip.
pub struct Chip(pub &'static mut [u8]);

impl ErrorType for Chip {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, at, bytes.len())?;
        bytes.copy_from_slice(&self.0[at as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.0[from as usize..to as usize].fill(0xFF);
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, at, bytes.len())?;
        self.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}
