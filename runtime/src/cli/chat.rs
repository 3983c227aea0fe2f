//! `homespun chat`: talk with a model in the terminal; with a state, with one that learns.

mod demo;
mod line;
mod talk;

use core::time::Duration;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use super::Outcome;
use super::interrupt::time;
use super::options::{
    AdaptersArgs, CareArgs, FastArgs, LearnArgs, Machine, MemoryArgs, ModelArgs, SamplingArgs,
};
use super::person::PersonArgs;
use crate::adapter::Adapter;
use crate::dialogue::{Message, Role};
use crate::engine::{Base, Engine, Sampling, Session};
use line::{Line, chosen};
use talk::Talk;

/// Talk with a model; replies stream as they are written
#[derive(clap::Args)]
#[command(
    mut_args(demo::preset),
    after_help = "Example:\n  homespun chat --model builtin\n\nIn the chat: /new starts afresh, /exit or end of input ends. With --adapter A --adapter B it begins with A; /adapter lists them, /adapter 2 or /adapter B goes on with B, /adapter none with the base.\n\nWith --state DIR it talks with what the state has learned, and each finished dialogue is scored and offered to the buffer. /good and /better TEXT say what you think of the last reply, /forget keeps nothing of this dialogue, /learn learns now and goes on with what came of it."
)]
pub(crate) struct Args {
    /// Talk with the built-in model and correct it; all of it is forgotten at the end
    #[arg(long, conflicts_with_all = ["model", "state", "adapter", "key"])]
    demo: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapters: AdaptersArgs,
    /// Talk with the person of this state directory, and learn; made if it is not there
    #[arg(long, value_name = "DIR", conflicts_with = "adapter")]
    state: Option<PathBuf>,
    #[command(flatten)]
    person: PersonArgs,
    /// With --state: a dialogue is finished after so long without a word, such as 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    idle: Duration,
    /// An instruction before the first turn
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    precision: FastArgs,
    #[command(flatten)]
    learn: LearnArgs,
    #[command(flatten)]
    care: CareArgs,
    #[command(flatten)]
    memory: MemoryArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    args.learn.plan()?;
    let precision = args.precision.get()?;
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?;
    let book = args.person.book()?;
    // What is learned, and what is scored, is computed exactly; replies are written fast.
    let exact = engine.with_budget(args.memory.get()?);
    let engine = engine.with_precision(precision);
    let opening: Vec<Message> =
        args.system.iter().map(|text| Message::new(Role::System, text.as_str())).collect();
    let mut voice = Voice { base: &base, engine, sampling: args.sampling.get() };
    let visit = args.demo.then(demo::Visit::open).transpose()?;
    let (root, person) = match &visit {
        Some(visit) => (Some(visit.state()), args.person.with_key(visit.key())),
        None => (args.state, args.person),
    };
    let Some(root) = &root else {
        let adapters = args.adapters.load(&engine)?;
        return voice.plain(&adapters, &opening);
    };
    let (plan, general) = (args.learn.plan_for(&base)?, args.care.general(&base)?);
    let live = person.live(root, exact, &base, &book)?;
    let mut talk = Talk::new(live, opening, &plan, args.care.care(general.as_ref()));
    let lines = lines();
    loop {
        // After it has learned, or forgotten what it had learned, it goes on with what came of it.
        let adapter = talk.adapter()?;
        let mut session = engine.session(adapter.as_ref());
        loop {
            let line = match next(&lines, talk.is_open().then_some(args.idle)) {
                Next::Line(line) => line?,
                Next::Idle => {
                    talk.finish()?;
                    continue;
                }
                Next::End => return Ok(talk.finish()?),
            };
            match Line::of(line.trim()) {
                Line::Nothing => {}
                Line::Exit => return Ok(talk.finish()?),
                Line::New => talk.finish()?,
                Line::Good => talk.good()?,
                Line::Better(text) => talk.better(text)?,
                Line::Forget if talk.forget()? => break,
                Line::Forget => {}
                Line::Learn if talk.learn()? => break,
                Line::Learn => {}
                Line::Adapter(_) => eprintln!("/adapter: with --state it is the state's own"),
                Line::Text(text) => {
                    if visit.is_some() {
                        // The built-in model was never taught a second turn.
                        talk.finish()?;
                    }
                    talk.ask(text);
                    let reply = voice.reply(&mut session, talk.messages())?;
                    talk.replied(reply);
                }
            }
        }
    }
}

/// What writes replies.
struct Voice<'e> {
    base: &'e Base,
    engine: Engine<'e>,
    sampling: Sampling,
}

impl Voice<'_> {
    /// A chat without a state.
    fn plain(&mut self, adapters: &[(String, Adapter)], opening: &[Message]) -> Outcome {
        let mut messages = opening.to_vec();
        let engine = self.engine;
        let mut session = engine.session(adapters.first().map(|(_, adapter)| adapter));
        let lines = lines();
        while let Next::Line(line) = next(&lines, None) {
            match Line::of(line?.trim()) {
                Line::Nothing => {}
                Line::Exit => break,
                Line::New => messages = opening.to_vec(),
                Line::Adapter(name) => match chosen(adapters, name) {
                    Ok(adapter) => session.set_adapter(adapter),
                    Err(message) => eprintln!("{message}"),
                },
                Line::Good | Line::Better(_) | Line::Forget | Line::Learn => {
                    eprintln!("without --state nothing is kept and nothing is learned");
                }
                Line::Text(text) => {
                    messages.push(Message::new(Role::User, text));
                    let reply = self.reply(&mut session, &messages)?;
                    messages.push(Message::new(Role::Assistant, reply));
                }
            }
        }
        Ok(())
    }

    /// Writes the reply to `messages` as it comes, and gives it.
    fn reply(
        &mut self,
        session: &mut Session<'_>,
        messages: &[Message],
    ) -> Result<String, Box<dyn core::error::Error>> {
        let ids = self.base.prompt(messages, self.engine.room(self.sampling.max_tokens))?;
        let mut stdout = std::io::stdout().lock();
        let mut stream = self.base.tokenizer().stream();
        let mut reply = String::new();
        session.generate(&ids, &self.sampling, &mut |token| {
            let text = stream.push(token)?;
            reply.push_str(&text);
            write!(stdout, "{text}")?;
            stdout.flush()?;
            Ok(true)
        })?;
        let rest = stream.finish()?;
        writeln!(stdout, "{rest}")?;
        reply.push_str(&rest);
        // Another turn draws other numbers, the same ones for the same seed and turn.
        self.sampling.seed = self.sampling.seed.wrapping_add(1);
        Ok(reply.trim().to_owned())
    }
}

/// What comes next.
enum Next {
    Line(std::io::Result<String>),
    /// Nothing was said for so long.
    Idle,
    End,
}

/// The lines of standard input, read beside what else is done.
fn lines() -> Receiver<std::io::Result<String>> {
    let (send, receive) = mpsc::sync_channel(0);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

fn next(lines: &Receiver<std::io::Result<String>>, idle: Option<Duration>) -> Next {
    if std::io::stdin().is_terminal() {
        eprint!("> ");
    }
    match idle {
        None => lines.recv().map_or(Next::End, Next::Line),
        Some(idle) => match lines.recv_timeout(idle) {
            Ok(line) => Next::Line(line),
            Err(RecvTimeoutError::Timeout) => Next::Idle,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        },
    }
}
