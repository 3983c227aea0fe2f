//! Homespun on a Raspberry Pi RP2350. All but the numbers and what its boot ROM wants is in `cortex_m`, which
//! is that of the board `mps2_an386`. It was built and never run.
#![no_std]
#![no_main]

#[path = "../../../mps2_an386/firmware/src/cortex_m.rs"]
mod cortex_m;
mod image;

pub(crate) use homespun_boards::RP2350 as BOARD;

/// Bytes that the model may write to; what is left of 512 KiB is stack and statics.
pub(crate) const ARENA_BYTES: usize = 384 << 10;
