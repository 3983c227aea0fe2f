//! `homespun doctor`: what this machine has, what is chosen for it, and whether a board's entry fits it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use homespun_boards::{Board, HOST};
use homespun_kernels::{Kernels, Pool};
use serde_json::{Value, json};

use super::Outcome;
use super::options::{Machine, board, print_json, say};
use crate::bench::Limits;
use crate::engine::Base;
use crate::memory;
use crate::sensors::Sensors;

/// Bytes that are read to measure the memory.
const READ: usize = 256 << 20;

/// Show what this machine has, and whether a board's entry fits it
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun doctor --board pi5")]
pub(crate) struct Args {
    /// The board that it is meant to be: host, pi5, pi4 or jetson_orin
    #[arg(long, value_name = "NAME", default_value = HOST.name)]
    board: String,
    /// Where a state would lie: how much room there is
    #[arg(long, value_name = "DIR", default_value = ".")]
    state: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What there is.
struct Found {
    arch: &'static str,
    cpu: String,
    features: BTreeSet<String>,
    cores: usize,
    ram: u64,
    free: Option<u64>,
    room: Option<u64>,
    zones: Vec<(String, Option<f32>)>,
    energy: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let board = board(&args.board)?;
    let (kernels, pool) = (machine.kernels()?, machine.pool()?);
    let found = Found::here(&args.state);
    let (wrong, pool_threads) = (found.misfits(board), pool.threads());
    let bytes = vec![1u8; READ];
    let limits = Limits::measure(&pool, kernels.isa(), core::iter::once(&bytes[..]));
    drop(bytes);
    // The smallest thing that must work is the built-in model.
    let model = Base::builtin(None)?;
    if args.json {
        print_json(&found.json(board, kernels, &pool, &limits, &wrong))?;
    } else {
        found.show(kernels, &pool, &limits)?;
        say(format_args!("model        {} opens", model.name()))?;
        say(format_args!("board        {}: {}", board.name, verdict(&wrong)))?;
        let default = board.model;
        say(format_args!(
            "default      {}: {} MB of weights in q8, training from {} MB, budget {} MB (computed)",
            default.name,
            mb(default.weight_bytes()),
            mb(default.training_bytes(pool_threads)),
            mb(default.budget),
        ))?;
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("--board {}: it does not fit", board.name).into())
    }
}

fn verdict(wrong: &[String]) -> String {
    if wrong.is_empty() { "fits".to_owned() } else { format!("does not fit: {}", wrong.join("; ")) }
}

impl Found {
    fn here(state: &Path) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |names: &[&str]| {
            let lines = info.lines().filter_map(|line| line.split_once(':'));
            let mut lines = lines.map(|(name, value)| (name.trim(), value.trim()));
            lines.find(|(name, _)| names.contains(name)).map(|(_, value)| value.to_owned())
        };
        let features = field(&["flags", "Features"]).unwrap_or_default();
        let sensors = Sensors::default();
        Self {
            arch: std::env::consts::ARCH,
            cpu: field(&["model name", "CPU part"]).unwrap_or_else(|| "unknown".into()),
            features: features.split_whitespace().map(str::to_owned).collect(),
            cores: std::thread::available_parallelism().map_or(1, core::num::NonZero::get),
            ram: memory::total_bytes().unwrap_or(0),
            free: memory::free_bytes(),
            room: room(state),
            zones: sensors.zones(),
            energy: sensors.meter().is_some(),
        }
    }

    /// What of `board` is not here.
    fn misfits(&self, board: &Board) -> Vec<String> {
        let mut wrong = Vec::new();
        if !board.target.is_empty() && board.arch() != self.arch {
            wrong.push(format!("it is {}, not {}", self.arch, board.arch()));
        }
        let missing: Vec<&str> =
            board.features.iter().copied().filter(|one| !self.features.contains(*one)).collect();
        if !missing.is_empty() {
            wrong.push(format!("its CPU has no {}", missing.join(", ")));
        }
        if self.cores < board.cores() {
            wrong.push(format!("{} cores, not {}", self.cores, board.cores()));
        }
        // A part of it is the graphics processor's and the system's.
        if self.ram < board.ram / 10 * 8 {
            wrong.push(format!("{:.1} GB of RAM, not {:.1}", gb(self.ram), gb(board.ram)));
        }
        if self.ram < board.model.budget {
            let budget = mb(board.model.budget);
            wrong.push(format!("less RAM than the {budget} MB that its default model may take"));
        }
        let has_zone = self.zones.iter().any(|(kind, _)| kind == board.thermal_zone);
        if !board.thermal_zone.is_empty() && !has_zone {
            wrong.push(format!("no thermal zone {}", board.thermal_zone));
        }
        wrong
    }

    fn show(&self, kernels: &Kernels, pool: &dyn Pool, limits: &Limits) -> Result<(), String> {
        let names: Vec<&str> = Kernels::available().map(|one| one.isa().name()).collect();
        let or_unknown = |bytes: Option<u64>| {
            bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.1} GB", gb(bytes)))
        };
        let zones: Vec<String> = self
            .zones
            .iter()
            .map(|(kind, degrees)| match degrees {
                Some(degrees) => format!("{kind} {degrees:.1} C"),
                None => kind.clone(),
            })
            .collect();
        let int8 = limits.int8.map_or_else(
            || "none".to_owned(),
            |(rate, name)| format!("{:.0} GOP/s by {name}", rate / 1e9),
        );
        say(format_args!("cpu          {} {}, {} cores", self.arch, self.cpu, self.cores))?;
        say(format_args!("kernels      {} of {}", kernels.isa().name(), names.join(", ")))?;
        say(format_args!(
            "peak f32     {:.0} GFLOP/s by {}, {} threads",
            limits.float.0 / 1e9,
            limits.float.1,
            pool.threads()
        ))?;
        say(format_args!("peak int8    {int8}"))?;
        say(format_args!("bandwidth    {:.1} GB/s read", limits.read / 1e9))?;
        say(format_args!("RAM          {:.1} GB, {} free", gb(self.ram), or_unknown(self.free)))?;
        say(format_args!("flash        {} free where the state would lie", or_unknown(self.room)))?;
        let zones = if zones.is_empty() { "no sensor".to_owned() } else { zones.join(", ") };
        say(format_args!("thermal      {zones}"))?;
        say(format_args!("energy       {}", if self.energy { "a sensor" } else { "no sensor" }))
    }

    fn json(
        &self,
        board: &Board,
        kernels: &Kernels,
        pool: &dyn Pool,
        limits: &Limits,
        wrong: &[String],
    ) -> Value {
        json!({
            "arch": self.arch,
            "cpu": self.cpu,
            "features": self.features,
            "cores": self.cores,
            "isa": kernels.isa().name(),
            "threads": pool.threads(),
            "float_operations": limits.float.0,
            "int8_operations": limits.int8.map(|(rate, _)| rate),
            "read_bytes": limits.read,
            "ram_bytes": self.ram,
            "free_bytes": self.free,
            "room_bytes": self.room,
            "thermal_zones": self.zones.iter().map(|(kind, _)| kind).collect::<Vec<_>>(),
            "energy_sensor": self.energy,
            "board": board.name,
            "default_model": board.model.name,
            "default_budget_bytes": board.model.budget,
            "fits": wrong.is_empty(),
            "misfits": wrong,
        })
    }
}

fn mb(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// Bytes that may be written below `folder`, or what of it is there.
fn room(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|path| path.exists()).filter(|path| path.as_os_str() != "");
    let of = rustix::fs::statvfs(there.unwrap_or(Path::new("."))).ok()?;
    Some(of.f_bavail.saturating_mul(of.f_frsize))
}
