//! The machine that builds: everything is asked of the system.

use crate::Board;

/// The host.
pub const BOARD: Board = Board {
    name: "host",
    target: "",
    target_cpu: "",
    features: &[],
    clusters: &[],
    ram: 0,
    peak: None,
    thermal_zone: "",
    bins: 128,
    partitions: &[],
};
