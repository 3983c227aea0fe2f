//! `homespun chat`: talk with a model in the terminal.

use std::io::{BufRead, IsTerminal, Write};

use super::Outcome;
use super::options::{AdapterArgs, FastArgs, Machine, ModelArgs, SamplingArgs};
use crate::dialogue::{Message, Role};
use crate::engine::Engine;

/// Talk with a model; replies stream as they are written
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun chat --model builtin\n\nIn the chat: /new starts afresh, /exit or end of input ends."
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// An instruction before the first turn
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    precision: FastArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let precision = args.precision.get()?;
    let mut sampling = args.sampling.get();
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?.with_precision(precision);
    let adapter = args.adapter.load(&base)?;
    let opening: Vec<Message> =
        args.system.iter().map(|text| Message::new(Role::System, text.as_str())).collect();
    let mut messages = opening.clone();
    let mut session = engine.session(adapter.as_ref());
    let terminal = std::io::stdin().is_terminal();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            eprint!("> ");
        }
        let Some(line) = lines.next() else { break };
        let line = line?;
        match line.trim() {
            "" => continue,
            "/exit" => break,
            "/new" => {
                messages.clone_from(&opening);
                continue;
            }
            text => messages.push(Message::new(Role::User, text)),
        }
        let ids = base.prompt(&messages, engine.room(sampling.max_tokens))?;
        let mut stdout = std::io::stdout().lock();
        let mut stream = base.tokenizer().stream();
        let mut reply = String::new();
        session.generate(&ids, &sampling, &mut |token| {
            let text = stream.push(token)?;
            reply.push_str(&text);
            write!(stdout, "{text}")?;
            stdout.flush()?;
            Ok(true)
        })?;
        let rest = stream.finish()?;
        writeln!(stdout, "{rest}")?;
        reply.push_str(&rest);
        messages.push(Message::new(Role::Assistant, reply.trim()));
        // Another turn draws other numbers, the same ones for the same seed and turn.
        sampling.seed = sampling.seed.wrapping_add(1);
    }
    Ok(())
}
