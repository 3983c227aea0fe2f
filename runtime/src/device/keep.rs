//! The adapter and its training in flash: the old or the new, wherever the power is cut.
//!
//! ```text
//! content  [ postcard of `Kept`, zeros up to 128 ][ parameters (P) ][ first (G) ][ second (G) ]  f32
//! ```

use embedded_storage::nor_flash::NorFlash;
use homespun_core::config::Config;
use homespun_core::lora::{LoraConfig, Scaling};
use serde::{Deserialize, Serialize};

use super::{Device, Error};
use crate::flash::io;
use crate::flash::pair::header::HEADER_BYTES;

/// Bytes before the parameters.
const HEAD: usize = 128;
/// What it is, to the pair.
const KIND: [u8; 8] = *b"hs-train";
/// The version of the content.
const VERSION: u8 = 1;

/// What stands before the parameters.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u8,
    /// The image's hash.
    base: [u8; 32],
    shape: Shape,
    steps: u64,
    arrivals: u64,
}

/// An adapter's shape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Shape {
    rank: u32,
    alpha: f32,
    targets: [bool; 7],
    rank_stabilised: bool,
    freeze_a: bool,
    dora: bool,
}

impl Shape {
    fn of(lora: &LoraConfig) -> Self {
        let mut targets = [false; 7];
        lora.targets.iter().for_each(|target| targets[target as usize] = true);
        Shape {
            rank: lora.rank as u32,
            alpha: lora.alpha,
            targets,
            rank_stabilised: lora.scaling == Scaling::RankStabilised,
            freeze_a: lora.freeze_a,
            dora: lora.dora,
        }
    }
}

/// Bytes of the content.
pub(super) fn bytes(config: &Config, lora: &LoraConfig) -> usize {
    HEAD + 4 * (lora.parameters(config) + 2 * lora.trainable(config))
}

/// Bytes of flash that an adapter takes: two halves of whole blocks, each a header and the content.
pub fn adapter_bytes<F: NorFlash>(config: &Config, lora: &LoraConfig) -> usize {
    let half = io::padded::<F>(HEADER_BYTES) + io::padded::<F>(bytes(config, lora));
    2 * half.next_multiple_of(F::ERASE_SIZE)
}

impl<'a, F: NorFlash> Device<'a, F> {
    /// Makes the adapter durable, with what its training needs to go on. Gives the generation.
    ///
    /// # Errors
    /// If the flash fails: what was saved before still counts.
    pub fn save(&mut self) -> Result<u64, Error<F::Error>> {
        let kept = Kept {
            version: VERSION,
            base: *self.image.hash(),
            shape: Shape::of(&self.setting.lora),
            steps: self.steps,
            arrivals: self.arrivals,
        };
        let mut head = [0; HEAD];
        // It has at most 80 bytes.
        let _ = postcard::to_slice(&kept, &mut head);
        let mut write = self.pair.begin(KIND)?;
        write.push(&head)?;
        for floats in [&*self.room.parameters, &*self.room.first, &*self.room.second] {
            write.push(bytemuck::cast_slice(floats))?;
        }
        Ok(write.commit()?.generation)
    }

    /// Loads what was saved, or begins anew where nothing was.
    pub(super) fn load(&mut self) -> Result<(), Error<F::Error>> {
        self.begin_anew();
        if self.pair.info().is_none() {
            return Ok(());
        }
        let mut head = [0; HEAD];
        self.pair.read(0, &mut head)?;
        let kept: Kept = postcard::from_bytes(&head)
            .ok()
            .filter(|kept: &Kept| kept.version == VERSION)
            .ok_or(Error::Foreign { what: "version" })?;
        if kept.base != *self.image.hash() {
            return Err(Error::Foreign { what: "model" });
        }
        if kept.shape != Shape::of(&self.setting.lora) {
            return Err(Error::Foreign { what: "shape" });
        }
        let mut at = HEAD as u32;
        let room = &mut self.room;
        for floats in [&mut *room.parameters, &mut *room.first, &mut *room.second] {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(floats);
            self.pair.read(at, bytes)?;
            at += bytes.len() as u32;
        }
        (self.steps, self.arrivals) = (kept.steps, self.arrivals.max(kept.arrivals));
        Ok(())
    }

    /// The generation that was saved last, if any was.
    pub fn saved(&self) -> Option<u64> {
        self.pair.info().map(|header| header.generation)
    }

    /// Erases what was saved before the last time, so that nothing older can be read.
    ///
    /// # Errors
    /// If the flash fails.
    pub fn erase_older(&mut self) -> Result<(), Error<F::Error>> {
        self.pair.erase_older()?;
        Ok(())
    }
}
