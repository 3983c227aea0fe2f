//! The command line: one subcommand per file.

mod adapter;
mod bench;
mod buffer;
mod chat;
mod demo;
mod device;
mod doctor;
mod evaluate;
mod experiment;
mod forget;
mod generate;
mod inspect;
mod interrupt;
mod logits;
mod manual;
mod merge;
mod observe;
mod options;
mod pack;
mod person;
mod personalize;
mod plan;
mod plug;
mod quantize;
mod relearn;
mod render;
mod rouge;
mod round;
mod score;
mod serve;
mod state;
mod status;
mod temporary;
mod train;
mod verify;

use std::path::Path;

use clap::{Parser, Subcommand};

use crate::dialogue::{self, Dialogue};
pub use interrupt::Stopped;
use options::Machine;

/// How a command ends; the message names the file and the field.
pub(crate) type Outcome = Result<(), Box<dyn core::error::Error>>;

/// A language model that learns its user where it runs.
#[derive(Parser)]
#[command(name = "homespun", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    machine: Machine,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Generate(generate::Args),
    Chat(chat::Args),
    Render(render::Args),
    Logits(logits::Args),
    Score(score::Args),
    Train(train::Args),
    Personalize(personalize::Args),
    Observe(observe::Args),
    Round(round::Args),
    Serve(Box<serve::Args>),
    Status(status::Args),
    Plan(plan::Args),
    Evaluate(evaluate::Args),
    Experiment(experiment::Args),
    Rouge(rouge::Args),
    Buffer(buffer::Args),
    Forget(forget::Args),
    State(state::Args),
    Adapter(adapter::Args),
    Merge(merge::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
    Quantize(quantize::Args),
    Pack(pack::Args),
    Device(device::Args),
    Verify(verify::Args),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever went wrong, with the file and the field in its message.
    pub fn run(self) -> Outcome {
        let machine = &self.machine;
        match self.command {
            Command::Demo(args) => demo::run(args, machine),
            Command::Generate(args) => generate::run(args, machine),
            Command::Chat(args) => chat::run(args, machine),
            Command::Render(args) => render::run(args),
            Command::Logits(args) => logits::run(args, machine),
            Command::Score(args) => score::run(args, machine),
            Command::Train(args) => train::run(args, machine),
            Command::Personalize(args) => personalize::run(args, machine),
            Command::Observe(args) => observe::run(args, machine),
            Command::Serve(args) => serve::run(*args, machine),
            Command::Status(args) => status::run(args),
            Command::Round(args) => round::run(args, machine),
            Command::Plan(args) => plan::run(args, machine),
            Command::Evaluate(args) => evaluate::run(args, machine),
            Command::Experiment(args) => experiment::run(args, machine),
            Command::Rouge(args) => rouge::run(args),
            Command::Buffer(args) => buffer::run(args),
            Command::State(args) => state::run(args, machine),
            Command::Forget(args) => forget::run(args, machine),
            Command::Adapter(args) => adapter::run(args),
            Command::Merge(args) => merge::run(args, machine),
            Command::Bench(args) => bench::run(args, machine),
            Command::Doctor(args) => doctor::run(args, machine),
            Command::Device(args) => device::run(args, machine),
            Command::Pack(args) => pack::run(args, machine),
            Command::Quantize(args) => quantize::run(args, machine),
            Command::Verify(args) => verify::run(args, machine),
            Command::Completions(args) => manual::completions(args),
            Command::Man(args) => manual::man(args),
        }
    }
}

/// Reads dialogues to evaluate on: at least one has a reply to compare with.
fn read_held_out(path: &Path, strict: bool) -> Result<Vec<Dialogue>, Box<dyn core::error::Error>> {
    let dialogues = read_dialogues(path, strict)?;
    if dialogues.iter().all(|dialogue| dialogue.target_response().is_none()) {
        return Err(format!("{}: no dialogue has a reply to compare with", path.display()).into());
    }
    Ok(dialogues)
}

/// Reads dialogues; the lines that were skipped are told on stderr.
fn read_dialogues(path: &Path, strict: bool) -> Result<Vec<Dialogue>, dialogue::Error> {
    let (dialogues, skipped) = dialogue::read_jsonl(path, strict)?;
    for line in skipped {
        eprintln!("{}: line {}: {}; skipped", path.display(), line.line, line.reason);
    }
    Ok(dialogues)
}
