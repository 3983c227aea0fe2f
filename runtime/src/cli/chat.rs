//! `homespun chat`: talk with a model in the terminal.

use std::io::{BufRead, IsTerminal, Write};

use super::Outcome;
use super::options::{AdaptersArgs, FastArgs, Machine, ModelArgs, SamplingArgs};
use crate::adapter::Adapter;
use crate::dialogue::{Message, Role};
use crate::engine::Engine;

/// Talk with a model; replies stream as they are written
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun chat --model builtin\n\nIn the chat: /new starts afresh, /exit or end of input ends. With --adapter A --adapter B it begins with A; /adapter lists them, /adapter 2 or /adapter B goes on with B, /adapter none with the base."
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapters: AdaptersArgs,
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
    let adapters = args.adapters.load(&engine)?;
    let opening: Vec<Message> =
        args.system.iter().map(|text| Message::new(Role::System, text.as_str())).collect();
    let mut messages = opening.clone();
    let mut session = engine.session(adapters.first().map(|(_, adapter)| adapter));
    let terminal = std::io::stdin().is_terminal();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            eprint!("> ");
        }
        let Some(line) = lines.next() else { break };
        let line = line?;
        match Line::of(line.trim()) {
            Line::Nothing => continue,
            Line::Exit => break,
            Line::New => {
                messages.clone_from(&opening);
                continue;
            }
            Line::Adapter(name) => {
                match chosen(&adapters, name) {
                    Ok(adapter) => session.set_adapter(adapter),
                    Err(message) => eprintln!("{message}"),
                }
                continue;
            }
            Line::Text(text) => messages.push(Message::new(Role::User, text)),
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

/// What a line says.
#[derive(Debug, PartialEq)]
enum Line<'l> {
    Nothing,
    Exit,
    New,
    /// A number, a name, `none`, or nothing to ask for the list.
    Adapter(&'l str),
    Text(&'l str),
}

impl<'l> Line<'l> {
    fn of(line: &'l str) -> Self {
        match line.split_once(char::is_whitespace).unwrap_or((line, "")) {
            ("", _) => Self::Nothing,
            ("/exit", "") => Self::Exit,
            ("/new", "") => Self::New,
            ("/adapter", name) => Self::Adapter(name.trim()),
            _ => Self::Text(line),
        }
    }
}

/// The adapter that `name` names, counting from 1; no adapter is the base. What is wrong else.
fn chosen<'a>(
    adapters: &'a [(String, Adapter)],
    name: &str,
) -> Result<Option<&'a Adapter>, String> {
    if name == "none" {
        return Ok(None);
    }
    let numbered = |number: usize| adapters.get(number.checked_sub(1)?);
    let named = || adapters.iter().find(|(known, _)| known == name);
    match named().or_else(|| numbered(name.parse().ok()?)) {
        Some((_, adapter)) => Ok(Some(adapter)),
        None => {
            let known =
                adapters.iter().enumerate().map(|(i, (name, _))| format!("{} {name}", i + 1));
            let known = known.chain(["none".to_owned()]).collect::<Vec<_>>().join(", ");
            let wrong = if name.is_empty() { String::new() } else { format!("no {name:?} here; ") };
            Err(format!("/adapter: {wrong}there are {known}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use homespun_core::lora::{LoraConfig, Targets};

    use super::*;

    #[test]
    fn a_line_is_a_command_or_is_said() {
        assert_eq!(Line::of(""), Line::Nothing);
        assert_eq!(Line::of("/exit"), Line::Exit);
        assert_eq!(Line::of("/new"), Line::New);
        assert_eq!(Line::of("/adapter  two"), Line::Adapter("two"));
        assert_eq!(Line::of("/adapter"), Line::Adapter(""));
        for text in ["hello", "/exit now", "/adapters", "what is /new"] {
            assert_eq!(Line::of(text), Line::Text(text));
        }
    }

    #[test]
    fn an_adapter_is_chosen_by_name_or_number() {
        let adapter = |rank| {
            let config = LoraConfig::new(rank, 1.0, 0.0, Targets::ALL);
            Adapter { config, parameters: Vec::new(), base: None, trained_on: None }
        };
        let adapters = [("me".to_owned(), adapter(1)), ("you".to_owned(), adapter(2))];
        let rank = |name: &str| {
            chosen(&adapters, name).map(|adapter| adapter.map(|adapter| adapter.config.rank))
        };
        assert_eq!((rank("1"), rank("me")), (Ok(Some(1)), Ok(Some(1))));
        assert_eq!((rank("2"), rank("you")), (Ok(Some(2)), Ok(Some(2))));
        assert_eq!(rank("none"), Ok(None));
        let all = "there are 1 me, 2 you, none";
        assert_eq!(rank(""), Err(format!("/adapter: {all}")));
        for wrong in ["0", "3", "us"] {
            assert_eq!(rank(wrong), Err(format!("/adapter: no {wrong:?} here; {all}")));
        }
    }
}
