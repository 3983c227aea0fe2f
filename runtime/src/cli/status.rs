//! `homespun status`: how a state stands, and what the process that holds it does.

use core::time::Duration;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

use super::Outcome;
use super::options::{KeyArgs, print_json, say};
use crate::personalize::buffer::Buffer;
use crate::state::State;
use crate::status::{Status, socket};

/// Show how a state stands, and what the process that holds it does
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun status --state me --watch")]
pub(crate) struct Args {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Again every second, until it is interrupted
    #[arg(long)]
    watch: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    loop {
        let status = status(&args)?;
        if args.json {
            print_json(&status)?;
        } else {
            if args.watch && std::io::stdout().is_terminal() {
                // To the upper left, and nothing below.
                write!(std::io::stdout().lock(), "\x1b[H\x1b[2J")?;
            }
            show(&args.state, &status)?;
        }
        if !args.watch {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// What the holder tells, or, where there is none, what the state's files say.
fn status(args: &Args) -> Result<Value, Box<dyn core::error::Error>> {
    let root = &args.state;
    let told = socket::ask(root).map_err(|error| format!("{}: {error}", root.display()))?;
    if let Some(told) = told {
        return Ok(told);
    }
    let state = State::open(root, &args.key.get()?)?;
    let status = Status::default();
    status.describe_state(&state, &Buffer::open(&state, 0)?);
    let mut told = status.json(0);
    told["phase"] = if state.record.in_round { "interrupted" } else { "asleep" }.into();
    Ok(told)
}

fn show(root: &Path, status: &Value) -> Result<(), String> {
    let text = |key: &str| match &status[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    };
    let mut phase = text("phase");
    if !status["stage"].is_null() {
        phase += &format!(": {}, step {} of {}", text("stage"), text("step"), text("steps"));
    }
    if let Some(left) = status["seconds_left"].as_u64() {
        phase += &format!(", {left} s left");
    }
    let last = match &status["last"] {
        Value::Null => "-".to_owned(),
        last if last["kept"] == true => format!("dialogue {} kept", last["dialogue"]),
        last => format!("dialogue {} not kept", last["dialogue"]),
    };
    let degrees =
        status["degrees"].as_f64().map_or("no sensor".to_owned(), |d| format!("{d:.1} C"));
    let throttled = status["throttled"].as_u64();
    let throttled = throttled.map_or("no sensor".to_owned(), |count| count.to_string());
    let adapter = match status["adapter"].as_u64() {
        Some(0) | None => "the base".to_owned(),
        Some(number) => format!("generation {number}"),
    };
    for (name, value) in [
        ("state", root.display().to_string()),
        ("phase", phase),
        ("adapter", format!("{adapter}, after {} rounds", text("rounds"))),
        (
            "buffer",
            format!("{} of {} bins, {} dialogues seen", text("used"), text("bins"), text("seen")),
        ),
        (
            "annotations",
            format!("{} new, {} open requests", text("new_annotations"), text("open_requests")),
        ),
        ("last verdict", last),
        ("temperature", degrees),
        ("throttled", throttled),
        ("power", if status["on_mains"] == false { "battery" } else { "mains" }.to_owned()),
    ] {
        say(format_args!("{name:<13} {value}"))?;
    }
    Ok(())
}
