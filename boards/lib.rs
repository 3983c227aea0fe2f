//! The devices that Homespun is configured for, as data: a board is a `const` in its own folder.
//!
//! A folder holds `mod.rs` (the [`Board`]), `config.toml` (for `cargo build --config`) and a README; that of
//! a board without an operating system also holds `firmware/`, a crate of its own.
#![no_std]
#![forbid(unsafe_code)]

mod host;
mod jetson_orin;
mod model;
mod mps2_an386;
mod pi4;
mod pi5;
mod rp2350;
mod virt_a76;

pub use model::{BUILTIN, LARGE, Model, SMALL};

/// The machine that the program runs on, where nothing else is said.
pub use host::BOARD as HOST;
/// For its firmware.
pub use mps2_an386::BOARD as MPS2_AN386;
/// For its firmware.
pub use rp2350::BOARD as RP2350;
/// For its firmware.
pub use virt_a76::BOARD as VIRT_A76;

/// What a partition's bytes are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Addresses of the processor: read in place.
    Memory,
    /// Bytes of a NOR flash chip, whose first byte the processor sees at this address.
    Nor {
        /// That address.
        at: u64,
    },
    /// Bytes of a file on the machine that debugs this one.
    HostFile,
}

/// A part of a board's flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What lies there: `weights`, `samples` or `adapter`.
    pub name: &'static str,
    /// What is counted.
    pub medium: Medium,
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Partition {
    /// Where the processor sees its first byte, if it does.
    pub const fn address(&self) -> Option<u64> {
        match self.medium {
            Medium::Memory => Some(self.start),
            Medium::Nor { at } => Some(at + self.start),
            Medium::HostFile => None,
        }
    }

    /// Whether a byte belongs to both: of the same addresses, or of the same file.
    pub const fn overlaps(&self, other: &Partition) -> bool {
        let (a, b) = match (self.address(), other.address()) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => (self.start, other.start),
            (Some(_), None) | (None, Some(_)) => return false,
        };
        a < b + other.len && b < a + self.len
    }
}

/// What is done with a board for every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// It runs: here, or its processor's emulation.
    Runs,
    /// It is built.
    Builds,
    /// Nothing.
    Untested,
}

/// The most that a firmware may take, without its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeBudget {
    /// Bytes of code, constants and initial values, in flash.
    pub code: u64,
    /// Bytes of RAM that are taken from the start, the model's memory included, the stack not.
    pub ram: u64,
}

/// Operations a second that one core cannot exceed, counting multiplications and additions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// In f32.
    pub float: f64,
    /// On 8-bit integers.
    pub int8: f64,
}

/// A device: what it has, and what Homespun does with it by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Board {
    /// The folder's name.
    pub name: &'static str,
    /// What is done with it for every change.
    pub tier: Tier,
    /// The Rust target; empty where it is the machine that builds.
    pub target: &'static str,
    /// `-C target-cpu`.
    pub target_cpu: &'static str,
    /// What its CPU has, as `/proc/cpuinfo` calls it; what a kernel needs is asked at run time.
    pub features: &'static [&'static str],
    /// Cores of each cluster.
    pub clusters: &'static [usize],
    /// RAM in bytes; 0 where the system is asked.
    pub ram: u64,
    /// Flash in bytes; 0 where a file system holds it.
    pub flash: u64,
    /// What a core can do at most, where it is known.
    pub peak: Option<Peak>,
    /// Its processor's thermal zone, as Linux calls its type; empty where it is not known.
    pub thermal_zone: &'static str,
    /// Bins of the sample buffer by default.
    pub bins: usize,
    /// Where the weights, the samples and the adapter lie; empty where a file system holds them.
    pub partitions: &'static [Partition],
    /// The model that it runs where nothing else is said, and the memory for it.
    pub model: Model,
    /// What its firmware may take; `None` where there is an operating system.
    pub size_budget: Option<SizeBudget>,
}

impl Board {
    /// The board of that name.
    pub fn named(name: &str) -> Option<&'static Board> {
        ALL.into_iter().find(|board| board.name == name)
    }

    /// The architecture, as Rust calls it; empty where it is the machine that builds.
    pub fn arch(&self) -> &'static str {
        self.target.split('-').next().unwrap_or_default()
    }

    /// Whether there is no operating system, so that a firmware of its own runs on it.
    pub const fn is_firmware(&self) -> bool {
        self.size_budget.is_some()
    }

    /// The partition of that name.
    ///
    /// # Panics
    /// If there is none, which is a mistake in the board's data.
    pub const fn partition(&self, name: &str) -> &Partition {
        let mut i = 0;
        while i < self.partitions.len() {
            if is_same(self.partitions[i].name, name) {
                return &self.partitions[i];
            }
            i += 1;
        }
        panic!("the board has no such partition")
    }

    /// That the default model fits: its weights into their partition, what training takes into the budget,
    /// and that into RAM.
    ///
    /// # Panics
    /// If it does not, which is a mistake in the board's data.
    pub const fn fits(&self) {
        let budget = self.model.budget;
        let (weights, threads) =
            (self.model.weight_bytes(), if self.is_firmware() { 1 } else { self.cores() });
        let training = self.model.training_bytes(threads);
        if self.is_firmware() {
            assert!(
                weights < self.partition("weights").len,
                "the model is larger than its partition"
            );
            assert!(training <= budget, "training takes more than the budget");
        } else {
            assert!(weights + training <= budget, "weights and training take more than the budget");
        }
        assert!(self.ram == 0 || budget <= self.ram, "the budget is more than there is");
    }

    /// All cores.
    pub const fn cores(&self) -> usize {
        let (mut cores, mut i) = (0, 0);
        while i < self.clusters.len() {
            cores += self.clusters[i];
            i += 1;
        }
        cores
    }
}

/// `a == b`, while compiling.
const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// Every board.
pub const ALL: [&Board; 7] = [
    &host::BOARD,
    &pi5::BOARD,
    &pi4::BOARD,
    &jetson_orin::BOARD,
    &virt_a76::BOARD,
    &mps2_an386::BOARD,
    &rp2350::BOARD,
];

const _: () = {
    let mut i = 0;
    while i < ALL.len() {
        let parts = ALL[i].partitions;
        let mut a = 0;
        while a < parts.len() {
            let mut b = 0;
            while b < a {
                assert!(!parts[a].overlaps(&parts[b]), "partitions overlap");
                b += 1;
            }
            a += 1;
        }
        ALL[i].fits();
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;
    use std::string::String;

    #[test]
    fn every_folder_is_a_board_and_every_board_a_folder() {
        let root = env!("CARGO_MANIFEST_DIR");
        let folders: BTreeSet<String> = std::fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("mod.rs").is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        let boards: BTreeSet<String> = ALL.iter().map(|board| board.name.into()).collect();
        assert_eq!(folders, boards);
    }

    #[test]
    fn every_board_has_cores_and_bins() {
        for board in ALL {
            assert!(board.bins > 0, "{}", board.name);
            assert!(board.name == "host" || board.cores() > 0, "{}", board.name);
            assert_eq!(Board::named(board.name), Some(board));
            let arch = if board.target.starts_with("thumb") { "thumb" } else { "aarch64" };
            assert!(board.name == "host" || board.arch().starts_with(arch), "{}", board.name);
        }
    }

    #[test]
    fn a_firmware_has_its_folder_its_partitions_and_a_budget_within_the_board() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for board in ALL {
            let crate_file = root.join(board.name).join("firmware/Cargo.toml");
            assert_eq!(board.is_firmware(), crate_file.is_file(), "{}", board.name);
            let Some(budget) = board.size_budget else { continue };
            assert!(budget.ram < board.ram && budget.code < board.flash, "{}", board.name);
            for name in ["weights", "samples", "adapter"] {
                assert!(board.partition(name).len > 0, "{}", board.name);
            }
            assert!(board.partition("weights").address().is_some(), "{}", board.name);
        }
    }

    #[test]
    fn partitions_overlap_within_one_medium_only() {
        let part = |medium, start, len| Partition { name: "", medium, start, len };
        let chip = Medium::Nor { at: 0x100 };
        assert!(part(chip, 0, 16).overlaps(&part(chip, 15, 1)));
        assert!(part(chip, 15, 1).overlaps(&part(chip, 0, 16)));
        assert!(!part(chip, 0, 16).overlaps(&part(chip, 16, 1)));
        assert!(part(chip, 0, 16).overlaps(&part(Medium::Memory, 0x10F, 1)));
        assert!(!part(chip, 0, 16).overlaps(&part(Medium::Memory, 0, 0x100)));
        assert!(!part(Medium::HostFile, 0, 16).overlaps(&part(Medium::Memory, 0, 16)));
        assert!(part(Medium::HostFile, 0, 16).overlaps(&part(Medium::HostFile, 8, 1)));
    }
}
