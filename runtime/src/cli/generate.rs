//! `homespun generate`: one reply, or the continuation of a raw text.

use std::io::Write;
use std::path::PathBuf;

use clap::ArgGroup;

use super::Outcome;
use super::options::{AdapterArgs, FastArgs, Machine, ModelArgs, SamplingArgs};
use crate::dialogue::{self, Message, Role};
use crate::engine::{Base, Engine, Error};

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
    #[command(flatten)]
    precision: FastArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let precision = args.precision.get()?;
    let sampling = args.sampling.get();
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?.with_precision(precision);
    let adapter = args.adapter.load(&engine)?;
    let messages = match (&args.prompt, &args.messages) {
        (Some(prompt), _) => vec![Message::new(Role::User, prompt.as_str())],
        (None, Some(path)) => dialogue::read_messages(path)?.messages,
        (None, None) => return Err("--prompt or --messages: one is needed".into()),
    };
    let (ids, mut opening) = match &args.prompt {
        Some(prompt) if args.raw => (base.tokenizer().encode(prompt, true)?, prompt.as_str()),
        _ => (prompt(&base, &messages, engine.room(sampling.max_tokens))?, ""),
    };
    let mut stdout = std::io::stdout().lock();
    let mut stream = base.tokenizer().stream();
    let mut session = engine.session(adapter.as_ref());
    session.generate(&ids, &sampling, &mut |token| {
        write!(stdout, "{}{}", core::mem::take(&mut opening), stream.push(token)?)?;
        stdout.flush()?;
        Ok(true)
    })?;
    writeln!(stdout, "{opening}{}", stream.finish()?).map_err(Error::Output)?;
    Ok(())
}

/// The prompt for a reply to `messages` in at most `room` tokens; what had to go is told.
fn prompt(base: &Base, messages: &[Message], room: usize) -> Result<Vec<u32>, Error> {
    let rendered = base.rendered(messages, true, room)?;
    if rendered.dropped > 0 || rendered.cut > 0 {
        eprintln!(
            "the oldest {} messages and {} tokens were left out to fit {room} tokens",
            rendered.dropped, rendered.cut
        );
    }
    Ok(rendered.ids)
}
