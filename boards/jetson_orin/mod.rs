//! NVIDIA Jetson Orin Nano: six Cortex-A78AE in clusters of four and two, NEON and dotprod.

use crate::model::PERSON;
use crate::{Board, Tier};

/// The 8 GB developer kit.
pub const BOARD: Board = Board {
    name: "jetson_orin",
    tier: Tier::Untested,
    target: "aarch64-unknown-linux-musl",
    target_cpu: "cortex-a78ae",
    features: &["asimd", "asimddp"],
    clusters: &[4, 2],
    ram: 8 << 30,
    flash: 0,
    peak: None,
    thermal_zone: "cpu-thermal",
    bins: 128,
    partitions: &[],
    model: PERSON,
    size_budget: None,
};
