//! Arm's MPS2 board with the image AN386, as QEMU emulates it: one Cortex-M4F, no vector unit.
//!
//! ```text
//! 0x0000_0000  4 MiB of flash   [ code, 1.5 MiB ][ weights, 2.5 MiB, read in place ]
//! 0x2100_0000  16 MiB of RAM
//! flash.bin    a file of the machine that debugs it: [ samples, 2 MiB ][ adapter, 1 MiB ]
//! ```

use crate::model::LARGE;
use crate::{Board, Medium, Partition, SizeBudget, Tier};

/// `qemu-system-arm -M mps2-an386`.
pub const BOARD: Board = Board {
    name: "mps2_an386",
    tier: Tier::Runs,
    target: "thumbv7em-none-eabihf",
    target_cpu: "cortex-m4",
    features: &[],
    clusters: &[1],
    ram: 16 << 20,
    flash: 4 << 20,
    peak: None,
    thermal_zone: "",
    bins: 80,
    partitions: &[
        Partition { name: "weights", medium: Medium::Memory, start: 0x18_0000, len: 0x28_0000 },
        Partition { name: "samples", medium: Medium::HostFile, start: 0, len: 2 << 20 },
        Partition { name: "adapter", medium: Medium::HostFile, start: 2 << 20, len: 1 << 20 },
    ],
    model: LARGE,
    size_budget: Some(SizeBudget { code: 512 << 10, ram: (15 << 20) + 65536 }),
};
