//! `homespun adapter`: adapters of a state directory.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::Outcome;
use super::options::{KeyArgs, print_json, say};
use crate::adapter;
use crate::state::State;
use crate::state::rounds;
use crate::state::seen::Seen;

/// List and export what a state has learned, go back to an earlier generation
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun adapter export --state STATE --out adapter")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
struct Place {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
}

impl Place {
    fn open(&self) -> Result<State, Box<dyn core::error::Error>> {
        Ok(State::open(&self.state, &self.key.get()?)?)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Copy the current adapter to a plain PEFT folder
    #[command(after_help = "Example:\n  homespun adapter export --state me --out adapter")]
    Export {
        #[command(flatten)]
        place: Place,
        /// The folder to write
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// A line for each generation; 0 is the base
    #[command(after_help = "Example:\n  homespun adapter list --state me --json")]
    List {
        #[command(flatten)]
        place: Place,
        /// Print a JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Talk with a generation, and learn on from it; 0 is the base
    #[command(after_help = "Example:\n  homespun adapter use 2 --state me")]
    Use {
        /// The generation
        generation: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Go back to the generation before the current one
    #[command(after_help = "Example:\n  homespun adapter rollback --state me")]
    Rollback {
        #[command(flatten)]
        place: Place,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.command {
        Command::Export { place, out } => {
            let state = place.open()?;
            let Some(from) = state.current_adapter() else {
                let root = place.state.display();
                return Err(format!("{root}: no round has made an adapter yet").into());
            };
            adapter::export(state.vault(), &from, &out)?;
            Ok(say(out.display())?)
        }
        Command::List { place, json } => list(&place.open()?, json),
        Command::Use { generation, place } => {
            let mut state = place.open()?;
            state.use_generation(generation)?;
            Ok(say(told(&state))?)
        }
        Command::Rollback { place } => {
            let mut state = place.open()?;
            let current = state.current();
            if current == 0 {
                let root = place.state.display();
                return Err(format!("{root}: it is the base that is used already").into());
            }
            let aside = aside(&state)?;
            let mut there = state.generations()?.into_iter();
            let before = there.rfind(|number| *number < current && !aside.contains_key(number));
            let before = before.unwrap_or(0);
            state.use_generation(before)?;
            Ok(say(told(&state))?)
        }
    }
}

fn told(state: &State) -> String {
    match state.current() {
        0 => "the base".to_owned(),
        generation => format!("generation {generation}"),
    }
}

/// Generations that were kept aside, and why.
fn aside(state: &State) -> Result<HashMap<u64, String>, crate::state::Error> {
    let rows = rounds::read(state.vault())?.into_iter().filter(|row| !row.installed);
    Ok(rows.filter_map(|row| Some((row.generation?, row.why.unwrap_or_default()))).collect())
}

fn list(state: &State, as_json: bool) -> Outcome {
    if !as_json {
        say("  generation  used  learned from")?;
    }
    let aside = aside(state)?;
    for generation in core::iter::once(0).chain(state.generations()?) {
        let seen = match generation {
            0 => Some(0),
            _ => Seen::read(state.vault(), &state.adapter(generation))?.map(|seen| seen.len()),
        };
        let used = state.current() == generation;
        if as_json {
            print_json(&json!({
                "generation": generation,
                "used": used,
                "learned_from": seen,
                "kept_aside": aside.get(&generation),
            }))?;
        } else {
            let seen = seen.map_or_else(|| "unknown".to_owned(), |seen| seen.to_string());
            let used = if used { "yes" } else { "" };
            let why = aside.get(&generation).map(|why| format!("  kept aside: {why}"));
            let why = why.unwrap_or_default();
            say(format_args!("{generation:>12}  {used:<4}  {seen:>12}{why}"))?;
        }
    }
    Ok(())
}
