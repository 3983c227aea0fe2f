//! The machine that builds: everything is asked of the system.

use crate::model::PERSON;
use crate::{Board, Tier};

/// The host.
pub const BOARD: Board = Board {
    name: "host",
    tier: Tier::Runs,
    target: "",
    target_cpu: "",
    features: &[],
    clusters: &[],
    ram: 0,
    flash: 0,
    peak: None,
    thermal_zone: "",
    bins: 128,
    partitions: &[],
    model: PERSON,
    size_budget: None,
};
