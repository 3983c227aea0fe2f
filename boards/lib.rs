//! The devices that Homespun is configured for, as data: a board is a `const` in its own folder.
//!
//! A folder holds `mod.rs` (the [`Board`]), `config.toml` (for `cargo build --config`) and a README.
#![no_std]
#![forbid(unsafe_code)]

mod host;
mod jetson_orin;
mod pi4;
mod pi5;

/// The machine that the program runs on, where nothing else is said.
pub use host::BOARD as HOST;

/// A part of a board's flash or disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What lies there.
    pub name: &'static str,
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
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
    /// What a core can do at most, where it is known.
    pub peak: Option<Peak>,
    /// Its processor's thermal zone, as Linux calls its type; empty where it is not known.
    pub thermal_zone: &'static str,
    /// Bins of the sample buffer by default.
    pub bins: usize,
    /// Where the weights, the samples and the adapter lie; empty where a file system holds them.
    pub partitions: &'static [Partition],
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

    /// All cores.
    pub fn cores(&self) -> usize {
        self.clusters.iter().sum()
    }
}

/// Every board.
pub const ALL: [&Board; 4] = [&host::BOARD, &pi5::BOARD, &pi4::BOARD, &jetson_orin::BOARD];

const _: () = {
    let mut i = 0;
    while i < ALL.len() {
        let parts = ALL[i].partitions;
        let mut a = 0;
        while a + 1 < parts.len() {
            assert!(parts[a].start + parts[a].len <= parts[a + 1].start, "partitions overlap");
            a += 1;
        }
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
            assert_eq!(board.arch() == "aarch64", board.name != "host", "{}", board.name);
        }
    }
}
