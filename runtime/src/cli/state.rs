//! `homespun state`: moves a person to another device, or to another base.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::Outcome;
use super::options::{KeyArgs, LexiconArgs, Machine, ScoringArgs, print_json, say};
use super::relearn::{RelearnArgs, Relearned};
use crate::engine::Engine;
use crate::personalize::rebase;
use crate::state::State;
use crate::state::moving::{self, Code};

/// Move a person to another device or another base
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun state export me.homespun --state me")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write all of a state to one file, and print the code that opens it
    #[command(after_help = "Example:\n  homespun state export me.homespun --state me")]
    Export {
        /// The file to write
        file: PathBuf,
        /// The state directory
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        #[command(flatten)]
        key: KeyArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a state of such a file
    #[command(
        after_help = "Example:\n  homespun state import me.homespun --state me --rebase --model builtin"
    )]
    Import(Box<ImportArgs>),
}

#[derive(clap::Args)]
struct ImportArgs {
    /// The file
    file: PathBuf,
    /// The state directory to make
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// The code that `state export` printed [default: read from standard input]
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Keep texts and annotations, but embed, score and learn them anew on the base of --model
    #[arg(long, requires = "model")]
    rebase: bool,
    #[command(flatten)]
    lexicons: LexiconArgs,
    #[command(flatten)]
    scoring: ScoringArgs,
    #[command(flatten)]
    relearn: RelearnArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    match args.command {
        Command::Export { file, state, key, json } => export(&file, &state, &key, json),
        Command::Import(args) => import(*args, machine),
    }
}

fn export(file: &Path, root: &Path, key: &KeyArgs, as_json: bool) -> Outcome {
    let state = State::open(root, &key.get()?)?;
    let code = moving::export(&state, file)?.to_string();
    if as_json {
        return Ok(print_json(&json!({ "file": file, "code": code }))?);
    }
    say(format_args!("{}: who has it and this code has all of it:", file.display()))?;
    Ok(say(code)?)
}

fn import(args: ImportArgs, machine: &Machine) -> Outcome {
    args.relearn.check()?;
    let scoring = args.scoring.get()?;
    let text = match args.code {
        Some(code) => code,
        None => {
            eprintln!("The code that `state export` printed:");
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map_err(|e| format!("stdin: {e}"))?;
            line
        }
    };
    let code = Code::parse(&text).ok_or("--code: is not 64 hexadecimal digits")?;
    let keys = args.key.get()?;
    let base = args.relearn.base()?;
    let mut state = moving::import(&args.file, &code, &args.state, &keys, |record, rows| {
        let Some(base) = &base else { return Ok(()) };
        if !args.rebase {
            return Ok(record.expect_base(&args.file, &base.hashes())?);
        }
        let layers = base.layers()?;
        let pool = machine.pool()?;
        let engine = Engine::new(base, &layers, machine.kernels()?, &pool)?;
        let book = args.lexicons.open()?;
        rebase::rebase(engine, &book, scoring, record, rows)?;
        Ok::<(), Box<dyn core::error::Error>>(())
    })?;
    let annotated = state.record.new_annotations;
    let relearned = match args.rebase && annotated > 0 {
        true => args.relearn.run(base.as_ref(), &mut state, machine)?,
        false => Relearned::Nothing,
    };
    let record = &state.record;
    if args.json {
        print_json(&json!({
            "bins": record.bins,
            "seen": record.seen,
            "generation": record.generation,
            "rebased": args.rebase,
            "relearned": relearned.installed(),
        }))?;
    } else {
        say(format_args!(
            "{}: {} dialogues seen, adapter generation {}",
            args.state.display(),
            record.seen,
            record.generation
        ))?;
    }
    relearned.end(&args.state, args.json)
}
