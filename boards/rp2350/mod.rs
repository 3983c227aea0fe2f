//! Raspberry Pi RP2350, as on a Pico 2: two Cortex-M33 with an FPU, of which one is used.
//!
//! ```text
//! 0x1000_0000  4 MiB of flash, read in place   [ code, 1.5 MiB ][ weights, 2.5 MiB ]
//! 0x2000_0000  512 KiB of RAM
//! flash.bin    a file of the machine that debugs it: [ samples, 2 MiB ][ adapter, 1 MiB ]
//! ```

use crate::model::SMALL;
use crate::{Board, Medium, Partition, SizeBudget, Tier};

/// A Pico 2 and a debug probe. It was built and never run.
pub const BOARD: Board = Board {
    name: "rp2350",
    tier: Tier::Builds,
    target: "thumbv8m.main-none-eabihf",
    target_cpu: "cortex-m33",
    features: &[],
    clusters: &[2],
    ram: 512 << 10,
    flash: 4 << 20,
    peak: None,
    thermal_zone: "",
    bins: 80,
    partitions: &[
        Partition { name: "weights", medium: Medium::Memory, start: 0x1018_0000, len: 0x28_0000 },
        Partition { name: "samples", medium: Medium::HostFile, start: 0, len: 2 << 20 },
        Partition { name: "adapter", medium: Medium::HostFile, start: 2 << 20, len: 1 << 20 },
    ],
    model: SMALL,
    size_budget: Some(SizeBudget { code: 512 << 10, ram: 480 << 10 }),
};
