//! `homespun serve`: a server that talks with one person and learns.

use core::sync::atomic::AtomicU64;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use super::Outcome;
use super::interrupt::{InterruptArgs, time};
use super::options::{
    CareArgs, FastArgs, LearnArgs, Machine, MemoryArgs, ModelArgs, SamplingArgs, say,
};
use super::person::PersonArgs;
use crate::engine::Engine;
use crate::pool::gate::{Gate, Patient};
use crate::serve::api::Api;
use crate::serve::guard::Guard;
use crate::serve::learner::{Desk, Learner};
use crate::serve::queue::Queue;
use crate::serve::worker::Worker;
use crate::serve::{self, Address};
use crate::status::{Status, socket};

/// Serve chat completions as OpenAI's clients know them, and learn
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun serve --model builtin --state me\n\nThen: curl http://127.0.0.1:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'. Each conversation that has ended is offered to the buffer; GET /v1/annotations/next gives one that waits for the person's word, POST /v1/annotations/ID takes it, DELETE /v1/dialogues/ID forgets one, POST /v1/rounds learns now; GET /v1/status and /metrics tell how it stands."
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The state directory; made if it is not there
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    person: PersonArgs,
    /// ADDRESS:PORT, where a port of 0 takes any, or unix:PATH
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:8080")]
    listen: Address,
    /// A file with the token that clients must give; needed where other machines can reach the address
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// A name under which clients may reach this machine, beside localhost; more than once for more
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Requests that may wait
    #[arg(long, value_name = "N", default_value_t = 64)]
    queue: usize,
    /// Conversations whose caches are kept
    #[arg(long, value_name = "N", default_value_t = 2)]
    sessions: usize,
    /// A conversation has ended after so long without a word
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    idle: Duration,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    precision: FastArgs,
    /// New questions to the person in a day, at most
    #[arg(long, value_name = "N", default_value_t = 3)]
    requests: usize,
    /// Learn only when asked to, and not by itself once enough was annotated and nobody has talked for
    /// --idle
    #[arg(long)]
    no_auto_rounds: bool,
    #[command(flatten)]
    learn: LearnArgs,
    #[command(flatten)]
    care: CareArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    interrupt: InterruptArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    args.learn.plan()?;
    let precision = args.precision.get()?;
    if args.queue == 0 || args.sessions == 0 {
        return Err("--queue, --sessions: at least 1".into());
    }
    let guard = args.guard()?;
    let stop = args.interrupt.stop_but_hangup()?;
    let base = args.model.open()?;
    let (plan, general) = (args.learn.plan_for(&base)?, args.care.general(&base)?);
    let layers = base.layers()?;
    let (pool, gate) = (machine.pool()?, Gate::default());
    // Who learns has threads of its own, that stand still while somebody talks.
    let patient = Patient::new(machine.pool()?, &gate);
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?;
    let learns = Engine::new(&base, &layers, machine.kernels()?, &patient)?;
    let learns = learns.with_budget(args.memory.get()?);
    let book = args.person.book()?;
    let person = Mutex::new(args.person.live(&args.state, engine, &base, &book)?);
    let (work, status) = (Arc::new(Queue::new(args.queue)), Arc::new(Status::default()));
    let desk = Arc::new(Desk::default());
    let api = Arc::new(Api {
        work: Arc::clone(&work),
        desk: Arc::clone(&desk),
        status: Arc::clone(&status),
        guard,
        model: base.name().to_owned(),
        usual: args.sampling.get(),
        count: AtomicU64::new(0),
    });
    let learning = stop.another();
    let learner = Learner {
        desk: &desk,
        person: &person,
        engine: learns,
        plan: &plan,
        care: args.care.care(general.as_ref()),
        pace: args.interrupt.pace(&learning),
        idle: (!args.no_auto_rounds).then_some(args.idle),
        status: &status,
    };
    let worker = Worker {
        base: &base,
        engine: engine.with_precision(precision),
        person: &person,
        desk: &desk,
        learning: &learning,
        gate: &gate,
        sessions: args.sessions,
        idle: args.idle,
        requests: args.requests,
        status: Arc::clone(&status),
    };
    let told = (Arc::clone(&status), Arc::clone(&work));
    // Without it nobody can look on, which is no reason not to serve.
    let _telling = socket::tell(&args.state, move || told.0.json(told.1.waiting())).ok();
    // A first signal ends the server in good order.
    let _heed = stop.heed();
    thread::scope(|scope| {
        let server =
            scope.spawn(|| serve::serve(&args.listen, api, &stop, |address| drop(say(address))));
        let learner = scope.spawn(|| learner.run());
        // The worker talks on this thread; it ends when the queue is closed.
        let worked = worker.run(&work);
        work.abandon();
        desk.close();
        learning.tell(true);
        let (served, learned) = (server.join(), learner.join());
        worked?;
        match (served, learned) {
            (Ok(served), Ok(())) => Ok(served.map_err(|error| format!("--listen: {error}"))?),
            _ => Err("a thread of the server failed".into()),
        }
    })
}

impl Args {
    fn guard(&self) -> Result<Guard, String> {
        let token = match &self.token {
            None => None,
            Some(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| format!("--token: {}: {error}", path.display()))?;
                let token = text.trim().to_owned();
                if token.len() < 16 {
                    return Err(format!("--token: {}: fewer than 16 characters", path.display()));
                }
                Some(token)
            }
        };
        if !self.listen.is_local() && token.is_none() {
            return Err(
                "--listen: other machines can reach this address, so --token is needed".into()
            );
        }
        let any_host = matches!(self.listen, Address::Unix(_));
        let mut names = self.name.clone();
        if let Address::Tcp(address) = &self.listen
            && !address.ip().is_unspecified()
        {
            names.push(match address.ip() {
                ip if ip.is_ipv6() => format!("[{ip}]"),
                ip => ip.to_string(),
            });
        }
        Ok(Guard { token, names, any_host })
    }
}
