//! `homespun adapter`: adapters of a state directory.

use std::path::PathBuf;

use clap::Subcommand;

use super::Outcome;
use super::options::{KeyArgs, say};
use crate::adapter;
use crate::state::State;

/// Export what a state has learned
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun adapter export --state STATE --out adapter")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Copy the current adapter to a plain PEFT folder
    #[command(after_help = "Example:\n  homespun adapter export --state me --out adapter")]
    Export {
        /// The state directory
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        #[command(flatten)]
        key: KeyArgs,
        /// The folder to write
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.command {
        Command::Export { state: root, key, out } => {
            let state = State::open(&root, &key.get()?)?;
            let Some(from) = state.current_adapter() else {
                return Err(format!("{}: no round has made an adapter yet", root.display()).into());
            };
            adapter::export(state.vault(), &from, &out)?;
            say(out.display())?;
        }
    }
    Ok(())
}
