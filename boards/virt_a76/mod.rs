//! QEMU's `virt` machine as one bare Cortex-A76: NEON and dotprod, and an emulated NOR flash chip.
//!
//! ```text
//! 0x0400_0000  64 MiB of NOR, CFI, two 16-bit chips side by side, blocks of 256 KiB
//!              [ weights, 32 MiB, read in place ][ samples, 16 MiB ][ adapter, 16 MiB ]
//! 0x4000_0000  256 MiB of RAM; the firmware is loaded there
//! ```

use crate::model::LARGE;
use crate::{Board, Medium, Partition, SizeBudget, Tier};

const CHIP: Medium = Medium::Nor { at: 0x0400_0000 };

/// `qemu-system-aarch64 -M virt -cpu cortex-a76 -m 256M`.
pub const BOARD: Board = Board {
    name: "virt_a76",
    tier: Tier::Runs,
    target: "aarch64-unknown-none",
    target_cpu: "cortex-a76",
    features: &["asimd", "asimddp"],
    clusters: &[1],
    ram: 256 << 20,
    flash: 64 << 20,
    peak: None,
    thermal_zone: "",
    bins: 60,
    partitions: &[
        Partition { name: "weights", medium: CHIP, start: 0, len: 32 << 20 },
        Partition { name: "samples", medium: CHIP, start: 32 << 20, len: 16 << 20 },
        Partition { name: "adapter", medium: CHIP, start: 48 << 20, len: 16 << 20 },
    ],
    model: LARGE,
    size_budget: Some(SizeBudget { code: 1 << 20, ram: 128 << 20 }),
};
