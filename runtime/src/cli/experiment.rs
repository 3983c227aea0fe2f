//! `homespun experiment`: whether selection beats its baselines, on your model and your streams.

use core::time::Duration;
use std::path::PathBuf;

use clap::Subcommand;

use super::Outcome;
use super::interrupt::{stopped, time};
use super::options::{Machine, say};
use crate::engine::Base;
use crate::experiment::report;
use crate::experiment::spec::Spec;
use crate::experiment::sweep::{self, Options};
use crate::progress;
use crate::tune::pace::Stop;

/// The experiment of `--quick`.
const QUICK: &str = include_str!("../experiment/quick.toml");

/// Set selection policies beside baselines and controls, and report
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  homespun experiment --quick --out results\n\nRun again, it skips the cells that are done and goes on within those that were cut. Every process of a sweep may write to the same folder: with --shard 0/4 to 3/4 on four machines, or without --shard side by side."
)]
pub(crate) struct Args {
    /// What to compare: model, streams, policies, bins, synth, rounds, seeds, epochs, lr, temperature
    #[arg(value_name = "FILE.toml", required_unless_present = "quick")]
    file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
    /// A small comparison on the built-in model and stream, in minutes
    #[arg(long, conflicts_with = "file")]
    quick: bool,
    /// The folder of results; made if it is not there
    #[arg(long, value_name = "DIR", required = true)]
    out: Option<PathBuf>,
    /// Cells at once, each with its share of the threads [default: as many as threads]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only the cells of shard I of N: 0/4 to 3/4
    #[arg(long, value_name = "I/N", value_parser = shard, default_value = "0/1")]
    shard: (u64, u64),
    /// Begin no cell that is not thought to end within a time such as 90s, 30m or 12h
    #[arg(long, value_name = "TIME", value_parser = time)]
    budget: Option<Duration>,
    /// Run cells in this folder instead of in that of results; where it is in memory, as /dev/shm is,
    /// no cell waits for a disk
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Tell what would run and how long it would take
    #[arg(long)]
    dry_run: bool,
}

#[derive(Subcommand)]
enum Command {
    Report(ReportArgs),
}

/// Write report.md, report.html and drawings of results that are there
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun experiment report results --out report")]
struct ReportArgs {
    /// Folders of results that belong together: of one model
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Where the report goes [default: the first folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Leave out dialogues and replies, which may be nobody else's to read
    #[arg(long)]
    without_replies: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    if let Some(Command::Report(args)) = &args.command {
        let out = args.out.as_ref().unwrap_or(&args.folders[0]);
        let options = report::Options { without_replies: args.without_replies };
        return say(report::write(&args.folders, out, options)?.display()).map_err(Into::into);
    }
    let Some(out) = args.out.clone() else { return Err("--out: is missing".into()) };
    let spec = match &args.file {
        Some(file) => Spec::open(file)?,
        None => Spec::parse("quick.toml".as_ref(), QUICK)?,
    };
    let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
    let threads = machine.threads_of(cores)?;
    let jobs = match args.jobs {
        Some(0) => return Err("--jobs: must be at least 1".into()),
        Some(jobs) if jobs > 1024 => return Err("--jobs: must be at most 1024".into()),
        Some(jobs) => jobs,
        None => threads,
    };
    let stop = Stop::at_signals(None).map_err(|error| format!("signals: {error}"))?;
    let base = match spec.model.as_os_str() == "builtin" {
        true => Base::builtin(None)?,
        false => Base::open(&spec.model, None)?,
    };
    progress::be_quiet();
    let options = Options {
        jobs,
        threads,
        shard: args.shard,
        budget: args.budget,
        kernels: machine.kernels()?,
        command: command(),
        scratch: args.scratch.clone(),
        dry: args.dry_run,
    };
    let ended = match sweep::run(&spec, &base, &out, &options, &stop) {
        Ok(ended) => ended,
        Err(error) => {
            return match sweep::stopped(&error) {
                Some(cause) => stopped(cause, out.display(), false),
                None => Err(error.into()),
            };
        }
    };
    if !ended.left.is_empty() {
        eprintln!("not run within the budget, {} cells:", ended.left.len());
        for cell in &ended.left {
            eprintln!(
                "  {} {} bins {} synth {} seed {} ({})",
                spec.streams[cell.stream].name,
                cell.arm.name(),
                cell.bins,
                cell.synth,
                cell.seed,
                cell.key
            );
        }
    }
    if args.dry_run {
        return Ok(());
    }
    if ended.missing > 0 {
        eprintln!("{} cells of the experiment are not done", ended.missing);
    }
    let written = report::write(core::slice::from_ref(&out), &out, report::Options::default())?;
    Ok(say(written.display())?)
}

/// The command as it was given, the program by its name alone.
fn command() -> String {
    let words = std::env::args().skip(1).map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,".contains(c);
        if word.chars().all(plain) && !word.is_empty() { word } else { format!("'{word}'") }
    });
    ["homespun".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// `i/n` with i below n.
fn shard(text: &str) -> Result<(u64, u64), String> {
    let fail = || format!("{text:?} is no shard such as 0/4, which is the first of four");
    let (i, n) = text.split_once('/').ok_or_else(fail)?;
    let (i, n) = (i.parse().map_err(|_| fail())?, n.parse().map_err(|_| fail())?);
    if i < n { Ok((i, n)) } else { Err(fail()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_counted_from_zero() {
        assert_eq!((shard("0/1"), shard("3/4")), (Ok((0, 1)), Ok((3, 4))));
        for text in ["", "4/4", "0/0", "1", "-1/4", "a/b"] {
            assert!(shard(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_quick_experiment_is_well_formed() {
        let spec = Spec::parse("quick.toml".as_ref(), QUICK).unwrap();
        assert_eq!(spec.model.as_os_str(), "builtin");
    }
}
