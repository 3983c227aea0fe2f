//! `homespun serve`: a server that talks with one person and learns.

use core::sync::atomic::AtomicU64;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, thread};

use super::Outcome;
use super::interrupt::{InterruptArgs, time};
use super::options::{FastArgs, LearnArgs, Machine, MemoryArgs, ModelArgs, SamplingArgs, say};
use super::person::PersonArgs;
use crate::engine::Engine;
use crate::serve::api::Api;
use crate::serve::guard::Guard;
use crate::serve::queue::Queue;
use crate::serve::status::Status;
use crate::serve::worker::Worker;
use crate::serve::{self, Address};

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
    #[command(flatten)]
    learn: LearnArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    interrupt: InterruptArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let plan = args.learn.plan()?;
    let precision = args.precision.get()?;
    if args.queue == 0 || args.sessions == 0 {
        return Err("--queue, --sessions: at least 1".into());
    }
    let guard = args.guard()?;
    let stop = args.interrupt.stop()?;
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?;
    let book = args.person.book()?;
    let exact = engine.with_budget(args.memory.get()?);
    let live = args.person.live(&args.state, exact, &base, &book)?;
    let (work, status) = (Arc::new(Queue::new(args.queue)), Arc::new(Status::default()));
    let api = Arc::new(Api {
        work: Arc::clone(&work),
        status: Arc::clone(&status),
        guard,
        model: base.name().to_owned(),
        usual: args.sampling.get(),
        count: AtomicU64::new(0),
    });
    let worker = Worker {
        base: &base,
        engine: engine.with_precision(precision),
        live,
        plan: &plan,
        pace: args.interrupt.pace(&stop),
        sessions: args.sessions,
        idle: args.idle,
        status,
    };
    // A first signal ends the server in good order.
    let _heed = stop.heed();
    thread::scope(|scope| {
        let server =
            scope.spawn(|| serve::serve(&args.listen, api, &stop, |address| drop(say(address))));
        // The worker computes on this thread, which owns the pool; it ends when the queue is closed.
        let worked = worker.run(&work);
        work.close();
        let served = server.join();
        worked?;
        match served {
            Ok(served) => Ok(served.map_err(|error| format!("--listen: {error}"))?),
            Err(_) => Err("the server's thread failed".into()),
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
