//! Homespun on Arm's MPS2 board with the image AN386, in QEMU. All but the numbers is in `cortex_m`, which
//! other boards with a Cortex-M share.
#![no_std]
#![no_main]

mod cortex_m;

pub(crate) use homespun_boards::MPS2_AN386 as BOARD;

/// Bytes that the model may write to. With `ram-512k` what is left of 512 KiB is stack and statics.
pub(crate) const ARENA_BYTES: usize = if cfg!(feature = "ram-512k") { 477_184 } else { 15 << 20 };
