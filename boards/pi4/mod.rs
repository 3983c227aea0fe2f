//! Raspberry Pi 4: four Cortex-A72 at 1.8 GHz, NEON without dot products.

use crate::model::PERSON;
use crate::{Board, Peak, Tier};

/// The 4 GB model.
pub const BOARD: Board = Board {
    name: "pi4",
    tier: Tier::Runs,
    target: "aarch64-unknown-linux-musl",
    target_cpu: "cortex-a72",
    features: &["asimd"],
    clusters: &[4],
    ram: 4 << 30,
    flash: 0,
    // A cycle: one fused multiply-addition of four f32; one widening product of eight i8 and its
    // pairwise addition every other cycle.
    peak: Some(Peak { float: 14.4e9, int8: 14.4e9 }),
    thermal_zone: "cpu-thermal",
    bins: 128,
    partitions: &[],
    model: PERSON,
    size_budget: None,
};
