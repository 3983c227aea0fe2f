//! `homespun plan`: what a model takes here or on a board, before it runs.

use std::path::PathBuf;

use clap::ArgGroup;
use homespun_boards::{Board, HOST};
use homespun_core::lora::{LoraConfig, Targets};
use homespun_kernels::{Isa, Kernels};
use serde_json::{Value, json};

use super::options::{FastArgs, Machine, MemoryArgs, VariantArgs, is_builtin, print_json, say};
use super::train::targets;
use super::{Outcome, bench};
use crate::bench::Subject;
use crate::bench::saved::{self, Saved, Trained};
use crate::bench::synthetic::{self, default_cache};
use crate::engine::Engine;
use crate::plan::{self, AtMost, Cores, Row, total};
use crate::pool::Threads;
use crate::tune::Budget;

/// Show what a model takes of memory, talking and training, before it does
#[derive(clap::Args)]
#[command(
    group(ArgGroup::new("subject").required(true).args(["model", "synthetic"])),
    after_help = "Example:\n  homespun plan --model builtin --train --memory 30M\n\nRows are anonymous memory, which the ceiling is about; mapped weights can be dropped and read again. Times are shown where `homespun bench --save` measured them on this machine."
)]
pub(crate) struct Args {
    /// A Hugging Face folder (config.json, tokenizer.json, *.safetensors), or `builtin`
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// A known shape, without its weights: stories-15m, smollm2-135m, smollm2-360m, qwen2.5-0.5b or
    /// llama-3.2-1b
    #[arg(long, value_name = "SHAPE")]
    synthetic: Option<String>,
    /// How the shape's weights are stored: f32, bf16, f16, q8 or q4 (with a q8 embedding and head)
    #[arg(long, value_name = "NAME", default_value = "bf16", conflicts_with = "model")]
    dtype: String,
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
    /// Examples computed at once [default: as many as is fastest in the memory]
    #[arg(long, value_name = "N", requires = "train")]
    micro_batch: Option<usize>,
    /// Chance that a component of an adapter's input is dropped; 0 saves a buffer
    #[arg(long, value_name = "F", default_value_t = 0.05, requires = "train")]
    dropout: f32,
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
    let board = super::options::board(&args.board)?;
    let budget = budget(args.memory.get()?, board);
    let subject = args.subject()?;
    let checkpoint = subject.checkpoint()?;
    let identity = subject.identity(&checkpoint);
    let (base, _) = subject.base(checkpoint)?;
    let layers = base.layers()?;
    let max = base.config().max_context;
    for (option, value, least, most) in [
        ("context", args.context, 1, usize::MAX),
        ("length", args.length, 2, max),
        ("batch", args.batch, 1, 1 << 12),
        ("micro-batch", args.micro_batch.unwrap_or(1), 1, 1 << 12),
        ("rank", args.rank, 1, 4096),
    ] {
        if !(least..=most).contains(&value) {
            let range = match most {
                usize::MAX => format!("at least {least}"),
                most => format!("between {least} and {most}"),
            };
            return Err(format!("--{option}: {value} is not {range}").into());
        }
    }
    if !(0.0..1.0).contains(&args.dropout) {
        return Err("--dropout: must be at least 0 and below 1".into());
    }
    let lora = LoraConfig::new(args.rank, 16.0, args.dropout, targets(&args.targets)?);
    let lora = args.variant.of(lora);
    if lora.targets == Targets::NONE {
        return Err("--targets: names no layer".into());
    }
    // Another machine's threads are not started, and ours are part of this process.
    let (threads, cores): (Threads, Cores);
    let here = *board == HOST;
    let pool: &dyn homespun_kernels::Pool = if here {
        threads = machine.pool()?;
        &threads
    } else {
        cores = Cores(machine.threads_of(board.cores())?);
        &cores
    };
    let kernels = match Kernels::for_isa(Isa::Scalar) {
        // This machine's fastest may take memory that no kernel of a board takes.
        Some(scalar) if !here && !machine.names_isa() => scalar,
        _ => machine.kernels()?,
    };
    let engine = Engine::new(&base, &layers, kernels, pool)?;
    let engine = engine.with_precision(args.precision.get()?).with_budget(budget);
    let (context, ceiling) = (args.context.min(engine.context()), budget.ceiling());
    let talking = plan::talking(&engine, Some(&lora), context, ceiling);
    let training = match args.train {
        true => {
            let steps = plan::Steps {
                length: args.length,
                batch: args.batch,
                micro_batch: args.micro_batch,
            };
            Some(plan::training(&engine, lora, steps, board.bins)?)
        }
        false => None,
    };
    let mapped = plan::mapped(&engine)?;
    let (threads, isa) = (engine.threads(), engine.kernels().isa().name());
    let kept = saved::Subject { weights: &identity, threads, isa };
    let saved = default_cache().ok().filter(|_| here).and_then(|cache| kept.load(&cache));
    let bound = AtMost::of(&engine, board).filter(|_| !here);
    if args.json {
        return Ok(print_json(&json!({
            "model": base.name(),
            "board": board.name,
            "threads": threads,
            "ceiling_bytes": ceiling,
            "mapped_bytes": mapped.values().sum::<u64>(),
            "mapped": mapped,
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
                "train_tokens_per_second": saved.train.map(|(rate, _)| rate),
                "train_length": saved.train.map(|(_, trained)| trained.length),
                "train_batch": saved.train.map(|(_, trained)| trained.batch),
                "train_layers_kept": saved.train.map(|(_, trained)| trained.kept),
                "days_ago": saved.days,
            })),
            "model_not_measured": bound.map(|bound| json!({
                "prefill_tokens_per_second_at_most": bound.prefill,
                "decode_tokens_per_second_at_most": bound.decode,
                "train_tokens_per_second_at_most": bound.train,
            })),
        }))?);
    }
    say(format_args!("{} on {}: {threads} threads", base.name(), board.name))?;
    for (dtype, bytes) in mapped {
        let what = format!("weights, {dtype}");
        say(format_args!("{what:<18} {:>10}  mapped and used in place", mega(bytes)))?;
    }
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
        let more = if most == plan::MOST_BATCH { " or more" } else { "" };
        say(format_args!("most examples of {length} tokens at once: {most}{more}"))?;
    }
    say("")?;
    match (saved, bound) {
        (Some(saved), _) => times(&saved),
        (None, Some(bound)) => Ok(say(format_args!(
            "tokens a second, a model and not measured: prompt at most {:.0}, reply at most {:.0}, \
             training at most {:.0}",
            bound.prefill, bound.decode, bound.train
        ))?),
        (None, None) if here => Ok(say(format_args!(
            "no times: `homespun bench {}{} --threads {threads} --save` would measure them here",
            args.named(),
            if args.train { " --train" } else { "" },
        ))?),
        (None, None) => Ok(say("no times: nothing was measured on that machine")?),
    }
}

impl Args {
    fn subject(&self) -> Result<Subject, Box<dyn core::error::Error>> {
        Ok(match (&self.model, &self.synthetic) {
            (Some(model), _) if is_builtin(model) => Subject::BuiltIn,
            (Some(model), _) => Subject::Folder(model.clone()),
            (None, Some(name)) => {
                let (shape, dtype) = (bench::shape(name)?, bench::dtype(&self.dtype)?);
                let weights = synthetic::hollow(&shape, dtype)
                    .map_err(|error| format!("--synthetic: no temporary file: {error}"))?;
                Subject::Synthetic { shape, dtype, weights, tokenizer: None }
            }
            (None, None) => return Err("--model or --synthetic: one is needed".into()),
        })
    }

    /// The options that name the model.
    fn named(&self) -> String {
        match (&self.model, &self.synthetic) {
            (Some(model), _) => format!("--model {}", model.display()),
            (None, Some(name)) => format!("--synthetic {name} --dtype {}", self.dtype),
            (None, None) => String::new(),
        }
    }
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

fn times(saved: &Saved) -> Outcome {
    let train = saved.train.map_or(String::new(), |(rate, trained)| {
        let Trained { length, batch, kept } = trained;
        format!(
            ", training {rate:.1} (steps of {batch} x {length} tokens, {kept} layers kept whole)"
        )
    });
    Ok(say(format_args!(
        "tokens a second, measured here {} days ago: prompt {:.1}, reply {:.1}{train}",
        saved.days, saved.prefill, saved.decode
    ))?)
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
