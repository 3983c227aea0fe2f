//! `homespun generate`: one reply, or the continuation of a raw text.

use std::io::Write;
use std::path::PathBuf;

use clap::ArgGroup;

use super::Outcome;
use super::options::{AdapterArgs, Machine, ModelArgs, SamplingArgs};
use crate::dialogue::{self, Message, Role};
use crate::engine::Engine;

/// Write a reply to a prompt or to a dialogue
#[derive(clap::Args)]
#[command(
    group(ArgGroup::new("input").required(true).args(["prompt", "messages"])),
    after_help = "Example:\n  homespun generate --model builtin --prompt \"What should I cook tonight?\""
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// What the user says
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// A dialogue as JSON: {"messages": [{"role", "content"}, ...]}
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    /// Continue the prompt itself, without a chat template
    #[arg(long, requires = "prompt")]
    raw: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let sampling = args.sampling.get();
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?;
    let adapter = args.adapter.load(base.config())?;
    let ids = match (&args.prompt, &args.messages) {
        (Some(prompt), _) if args.raw => base.tokenizer().encode(prompt, true)?,
        (Some(prompt), _) => {
            base.prompt(&[Message::new(Role::User, prompt.as_str())], engine.context())?
        }
        (None, Some(path)) => {
            base.prompt(&dialogue::read_messages(path)?.messages, engine.context())?
        }
        (None, None) => return Err("--prompt or --messages: one is needed".into()),
    };
    let mut stdout = std::io::stdout().lock();
    if args.raw {
        write!(stdout, "{}", args.prompt.as_deref().unwrap_or_default())?;
    }
    let mut stream = base.tokenizer().stream();
    let mut session = engine.session(adapter.as_ref());
    session.generate(&ids, &sampling, &mut |token| {
        write!(stdout, "{}", stream.push(token)?)?;
        stdout.flush()?;
        Ok(true)
    })?;
    writeln!(stdout, "{}", stream.finish()?)?;
    Ok(())
}
