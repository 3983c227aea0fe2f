//! Raspberry Pi 5: four Cortex-A76 at 2.4 GHz, NEON and dotprod.

use crate::model::PERSON;
use crate::{Board, Peak, Tier};

/// The 8 GB model.
pub const BOARD: Board = Board {
    name: "pi5",
    tier: Tier::Runs,
    target: "aarch64-unknown-linux-musl",
    target_cpu: "cortex-a76",
    features: &["asimd", "asimddp"],
    clusters: &[4],
    ram: 8 << 30,
    flash: 0,
    // A cycle: two fused multiply-additions of four f32, two dot products of sixteen i8.
    peak: Some(Peak { float: 38.4e9, int8: 153.6e9 }),
    thermal_zone: "cpu-thermal",
    bins: 128,
    partitions: &[],
    model: PERSON,
    size_budget: None,
};
