//! `homespun plan`: what a model takes here or on a board, before it runs.

use homespun_boards::{ALL, Board, HOST};
use homespun_core::lora::{LoraConfig, Targets};
use serde_json::{Value, json};

use super::Outcome;
use super::options::{FastArgs, Machine, MemoryArgs, ModelArgs, VariantArgs, print_json, say};
use super::train::targets;
use crate::bench::saved::{Saved, Subject};
use crate::bench::synthetic::default_cache;
use crate::engine::Engine;
use crate::plan::{self, Cores, Row, total};
use crate::pool::Threads;
use crate::tune::Budget;

/// Show what a model takes of memory, talking and training, before it does
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun plan --model builtin --train --memory 30M\n\nRows are anonymous memory, which the ceiling is about; mapped weights can be dropped and read again. Times are shown where `homespun bench --save` measured them on this machine."
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The machine: its RAM and cores hold instead of this one's (host, pi5, jetson_orin)
    #[arg(long, value_name = "NAME", default_value = HOST.name)]
    board: String,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Tokens of a conversation
    #[arg(long, value_name = "N", default_value_t = 2048)]
    context: usize,
    /// Plan training as well
    #[arg(long)]
    train: bool,
    /// Tokens of a training example
    #[arg(long, value_name = "N", default_value_t = 256, requires = "train")]
    length: usize,
    /// Examples of a training step
    #[arg(long, value_name = "N", default_value_t = 16, requires = "train")]
    batch: usize,
    /// Rank of the adapter
    #[arg(long, value_name = "N", default_value_t = 8)]
    rank: usize,
    /// Adapted layers, as in `train`
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "q_proj,k_proj,v_proj,o_proj"
    )]
    targets: Vec<String>,
    #[command(flatten)]
    variant: VariantArgs,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    precision: FastArgs,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let board = board(&args.board)?;
    let budget = budget(args.memory.get()?, board);
    let base = args.model.open()?;
    let layers = base.layers()?;
    let max = base.config().max_context;
    for (option, value, least, most) in [
        ("context", args.context, 1, usize::MAX),
        ("length", args.length, 2, max),
        ("batch", args.batch, 1, 1 << 12),
        ("rank", args.rank, 1, 4096),
    ] {
        if !(least..=most).contains(&value) {
            return Err(format!("--{option}: {value} is not between {least} and {most}").into());
        }
    }
    let lora = LoraConfig::new(args.rank, 16.0, 0.0, targets(&args.targets)?);
    let lora = args.variant.of(lora);
    if lora.targets == Targets::NONE {
        return Err("--targets: names no layer".into());
    }
    // Another machine's threads are not started, and ours are part of this process.
    let (threads, cores): (Threads, Cores);
    let pool: &dyn homespun_kernels::Pool = if board.cores() == 0 {
        threads = machine.pool()?;
        &threads
    } else {
        cores = Cores(board.cores());
        &cores
    };
    let engine = Engine::new(&base, &layers, machine.kernels()?, pool)?;
    let engine = engine.with_precision(args.precision.get()?).with_budget(budget);
    let (context, ceiling) = (args.context.min(engine.context()), budget.ceiling());
    let talking = plan::talking(&engine, Some(&lora), context, ceiling);
    let training = match args.train {
        true => Some(plan::training(&engine, lora, args.length, args.batch)?),
        false => None,
    };
    let weights = base.checkpoint().weight_bytes();
    let hash = base.checkpoint().base_hash();
    let (threads, isa) = (engine.threads(), engine.kernels().isa().name());
    let subject = Subject { weights: &hash, threads, isa };
    let here = board.cores() == 0;
    let saved = default_cache().ok().filter(|_| here).and_then(|cache| subject.load(&cache));
    if args.json {
        return Ok(print_json(&json!({
            "model": base.name(),
            "board": board.name,
            "threads": threads,
            "ceiling_bytes": ceiling,
            "mapped_bytes": weights,
            "dtype": engine.model().linear_dtype().name(),
            "talking": {
                "rows": rows_json(&talking.rows),
                "anonymous_bytes": total(&talking.rows),
                "longest_context": talking.longest,
            },
            "training": training.as_ref().map(|training| json!({
                "rows": rows_json(&training.rows),
                "anonymous_bytes": total(&training.rows),
                "longest_example": training.longest,
                "largest_batch": training.largest,
                "micro_batch_rows": training.plan.rows,
                "inputs_kept": training.plan.layout.segments,
                "layers_kept": training.plan.layout.kept,
            })),
            "measured": saved.as_ref().map(|saved| json!({
                "prefill_tokens_per_second": saved.prefill,
                "decode_tokens_per_second": saved.decode,
                "train_tokens_per_second": saved.train,
                "days_ago": saved.days,
            })),
        }))?);
    }
    let dtype = engine.model().linear_dtype().name();
    say(format_args!("{} on {}: {threads} threads", base.name(), board.name))?;
    say(format_args!(
        "{:<18} {:>10}  {dtype}, mapped and used in place",
        "weights",
        mega(weights)
    ))?;
    table("talking", &talking.rows, ceiling)?;
    say(format_args!(
        "longest context that fits: {} of {} tokens",
        talking.longest,
        engine.context()
    ))?;
    if let Some(training) = &training {
        table("training", &training.rows, ceiling)?;
        say(format_args!("longest example that fits: {} of {max} tokens", training.longest))?;
        let (length, most) = (args.length, training.largest);
        say(format_args!("most examples of {length} tokens at once: {most}"))?;
    }
    say("")?;
    times(saved.as_ref(), here)
}

fn table(title: &str, rows: &[Row], ceiling: u64) -> Outcome {
    say(format_args!("\n{title}"))?;
    for row in rows {
        let line = format!("{:<18} {:>10}  {}", row.what, mega(row.bytes), row.note);
        say(line.trim_end())?;
    }
    let sum = total(rows);
    let verdict = if sum <= ceiling { "of" } else { "MORE THAN" };
    Ok(say(format_args!("{:<18} {:>10}  {verdict} {}", "together", mega(sum), mega(ceiling)))?)
}

fn times(saved: Option<&Saved>, here: bool) -> Outcome {
    Ok(match saved {
        Some(saved) => {
            let train = saved.train.map_or(String::new(), |rate| format!(", training {rate:.1}"));
            say(format_args!(
                "tokens a second, measured here {} days ago: prompt {:.1}, reply {:.1}{train}",
                saved.days, saved.prefill, saved.decode
            ))
        }
        None if here => say("no times: `homespun bench --train --save` would measure them here"),
        None => say("no times: nothing was measured on that machine"),
    }?)
}

/// The board of this name.
fn board(name: &str) -> Result<&'static Board, String> {
    let known = || ALL.map(|board| board.name).join(", ");
    let board = ALL.into_iter().find(|board| board.name == name);
    board.ok_or_else(|| format!("--board: unknown board {name:?}; there are {}", known()))
}

/// What was asked for, or most of the board's RAM.
fn budget(asked: Budget, board: &Board) -> Budget {
    let ram = (board.ram > 0).then_some(board.ram / 10 * 7);
    Budget { memory: asked.memory.or(ram), ..asked }
}

fn mega(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn rows_json(rows: &[Row]) -> Value {
    rows.iter().map(|row| json!({"what": row.what, "bytes": row.bytes, "note": row.note})).collect()
}
