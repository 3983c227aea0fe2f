//! Where the parts of a device lie in the caller's memory, and how much they take.
//!
//! ```text
//! memory  [ up to 63 bytes ][ hs_device ][ layers ][ index ][ arena: adapter, texts, work .. the end ]
//!         so that all begins at multiples of 64
//! ```

use core::mem::size_of;

use embedded_storage::nor_flash::NorFlash;
use homespun_core::arena::{ALIGN, padded};
use homespun_core::config::Config;
use homespun_core::weights::Layer;
use homespun_runtime::device::{self, Plan, Setting};
use homespun_runtime::image::{ALIGN as IMAGE_ALIGN, Image};
use homespun_runtime::samples::{self, BinInfo};

use crate::flash::{Driver, HS_ERASE_BYTES, hs_flash};
use crate::open::hs_device;
use crate::setting::hs_setting;
use crate::status::hs_status;
use crate::text;

/// An image begins at a multiple of this many bytes.
pub const HS_IMAGE_ALIGN: usize = 64;
const _: () = assert!(HS_IMAGE_ALIGN == IMAGE_ALIGN);

/// Where the parts begin, counted from the first multiple of 64 in the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub layers: usize,
    pub layers_at: usize,
    pub slots: usize,
    pub slots_at: usize,
    pub arena: usize,
    pub arena_at: usize,
}

impl Place {
    /// `None` where it is more than there are addresses.
    pub fn of(config: &Config, setting: &Setting, samples: &Driver) -> Option<Self> {
        let (layers, slots) = (config.layers, device::index(samples));
        let layers_at = padded(size_of::<hs_device>());
        let layers_bytes = layers.checked_mul(size_of::<Layer<'_>>())?;
        let slots_at = layers_at.checked_add(layers_bytes)?.checked_next_multiple_of(ALIGN)?;
        let slots_bytes = slots.checked_mul(size_of::<BinInfo>())?;
        let arena_at = slots_at.checked_add(slots_bytes)?.checked_next_multiple_of(ALIGN)?;
        let arena = Plan::of(config, setting, 1).least();
        let place = Place { layers, layers_at, slots, slots_at, arena, arena_at };
        arena_at.checked_add(arena)?.checked_add(ALIGN)?;
        Some(place)
    }

    /// Bytes of the whole, wherever the memory begins.
    pub fn bytes(&self) -> usize {
        ALIGN + self.arena_at + self.arena
    }
}

/// How many bytes of memory `hs_open` takes, as long as `samples` has the capacity that it has. With more,
/// a step computes less twice.
///
/// # Safety
/// Pointers are null or lead to what they say; `image` is followed by `image_bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_memory_bytes(
    image: *const u8,
    image_bytes: usize,
    setting: *const hs_setting,
    samples: *const hs_flash,
    bytes: *mut usize,
) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    hs_status::of((|| unsafe {
        let image = Image::open(text::bytes(image, image_bytes)?)?;
        let setting = hs_setting::read(setting)?;
        let samples = Driver::new(samples)?;
        let place = Place::of(image.config(), &setting, &samples).ok_or(hs_status::HS_MEMORY)?;
        text::give(bytes, place.bytes())
    })())
}

/// How many bytes of flash a setting takes at least, for samples and for the adapter. More blocks for
/// samples wear each of them less.
///
/// # Safety
/// Pointers are null or lead to what they say; `image` is followed by `image_bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_flash_bytes(
    image: *const u8,
    image_bytes: usize,
    setting: *const hs_setting,
    samples: *mut usize,
    adapter: *mut usize,
) -> hs_status {
    // SAFETY: what the caller of this function vouches for.
    hs_status::of((|| unsafe {
        let image = Image::open(text::bytes(image, image_bytes)?)?;
        let setting = hs_setting::read(setting)?;
        text::give(samples, samples::flash_bytes::<Driver>(setting.bins, 1))?;
        text::give(adapter, device::adapter_bytes::<Driver>(image.config(), &setting.lora))
    })())
}

const _: () = assert!(HS_ERASE_BYTES == Driver::ERASE_SIZE);
