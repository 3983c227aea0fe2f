//! Raspberry Pi 5: four Cortex-A76 at 2.4 GHz, NEON and dotprod.

use crate::Board;

/// The 8 GB model.
pub const BOARD: Board = Board {
    name: "pi5",
    target: "aarch64-unknown-linux-musl",
    target_cpu: "cortex-a76",
    clusters: &[4],
    ram: 8 << 30,
    bins: 128,
    partitions: &[],
};
