//! `homespun demo`: the whole loop on the built-in model, with its controls, in one table.

mod unplug;

use std::time::Instant;

use homespun_core::lora::{LoraConfig, Targets};
use homespun_core::schedule::Schedule;
use homespun_core::select::policy::{QUALITY, RANDOM};
use homespun_core::select::{Policy, Scoring};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Outcome;
use super::options::{Machine, print_json, say};
use crate::adapter::Adapter;
use crate::builtin;
use crate::chat::Loss;
use crate::dialogue::Dialogue;
use crate::engine::{Base, Engine, Sampling};
use crate::lexicon::Table;
use crate::memory::Watch;
use crate::personalize::annotate::Person;
use crate::personalize::evaluate::{Evaluation, evaluate, rouge1};
use crate::personalize::presets::{PAPER, Plan, Trigger};
use crate::personalize::round::Care;
use crate::personalize::score::{Features, Scorer};
use crate::personalize::{self, Rounds, Selection, Stream, current};
use crate::progress::Progress;
use crate::state::vault::Keys;
use crate::state::{Record, State};
use crate::tune::pace::{Every, Pace, Stop};
use crate::tune::rest::Limits;
use crate::tune::{Length, Options};

/// Watch the built-in model learn one person from a stream of dialogues
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun demo")]
pub(crate) struct Args {
    /// A much smaller stream: at most 20 GFLOP in all, for emulators
    #[arg(long)]
    quick: bool,
    /// Another imaginary user
    #[arg(long, value_name = "N", default_value_t = 0)]
    stream_seed: u64,
    /// Print a JSON object as well
    #[arg(long)]
    json: bool,
    /// Three corrections, learned in little memory by processes that are killed five times, without a
    /// network
    #[arg(long)]
    unplug: bool,
    /// The network namespace that this was started from, by itself
    #[arg(long, value_name = "NAME", hide = true, requires = "unplug")]
    unshared: Option<String>,
    /// Learn otherwise after the last kill, which is to be noticed
    #[arg(long, hide = true, requires = "unplug")]
    spoil: bool,
}

/// What a size of the demo fixes.
struct Size {
    stream: builtin::Size,
    bins: usize,
    plan: Plan,
}

/// One arm of the comparison.
struct Arm {
    evaluation: Evaluation,
    replies: Vec<String>,
    annotations: u64,
    adapter: Option<Adapter>,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    if args.unplug {
        return unplug::run(&args, machine);
    }
    let (start, watch) = (Instant::now(), Watch::start());
    let base = Base::builtin(None)?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine = Engine::new(&base, &layers, machine.kernels()?, &pool)?;
    let size = if args.quick { quick() } else { full() };
    let user = builtin::stream(args.stream_seed, size.stream);
    eprintln!(
        "{} dialogues of an imaginary user, a buffer of {} bins, {} unseen questions",
        user.dialogues.len(),
        size.bins,
        user.held_out.len()
    );
    let book = Table::built_in();
    let features = features(engine, &user.dialogues, &book)?;
    let before = judge(engine, None, &user.held_out, &size.plan)?;
    let arms = Arms { engine, size: &size, user: &user, features: &features, book: &book };
    let random = arms.run(&RANDOM, &user.dialogues, args.stream_seed)?;
    let ours = arms.run(&QUALITY, &user.dialogues, args.stream_seed)?;
    // An emulator has no time for the control.
    let shuffled = match args.quick {
        true => None,
        false => {
            let dealt = shuffled(&user.dialogues, args.stream_seed);
            Some(arms.run(&QUALITY, &dealt, args.stream_seed)?)
        }
    };
    let peak = watch.peak();

    say("")?;
    say(format_args!(
        "{:<34} {:>8} {:>8} {:>12}",
        "unseen questions", "ROUGE-1", "loss", "annotations"
    ))?;
    let rows = [
        ("the base, untuned", Some(&before)),
        ("tuned, random selection", Some(&random)),
        ("tuned, quality selection", Some(&ours)),
        ("control: annotations shuffled", shuffled.as_ref()),
    ];
    for (name, arm) in rows {
        let Some(arm) = arm else { continue };
        let e = arm.evaluation;
        say(format_args!("{name:<34} {:>8.3} {:>8.3} {:>12}", e.rouge1, e.loss, arm.annotations))?;
    }
    let (difference, error) = paired(&ours, &random, &user.held_out);
    say(format_args!(
        "quality - random: {difference:+.3}, standard error {error:.3} over {} questions",
        user.held_out.len()
    ))?;
    for i in spread(&ours, &before, &user.held_out) {
        let dialogue = &user.held_out[i];
        say("")?;
        say(format_args!(
            "user    {}",
            dialogue.question().last().map_or("", |m| m.content.as_str())
        ))?;
        say(format_args!("before  {}", before.replies[i]))?;
        say(format_args!("after   {}", ours.replies[i]))?;
        say(format_args!("wanted  {}", dialogue.target_response().unwrap_or_default()))?;
    }
    // With the scalar kernels both are the same on every machine.
    let files = ours.adapter.as_ref().map(|adapter| adapter.files(base.config())).transpose()?;
    let adapter = files.map(|[_, tensors]| format!("{:x}", Sha256::digest(tensors)));
    let said = [&before, &random, &ours].into_iter().chain(&shuffled).flat_map(|arm| &arm.replies);
    let said: Vec<&str> = said.map(String::as_str).collect();
    let replies = format!("{:x}", Sha256::digest(said.join("\n")));
    say("")?;
    if let Some(adapter) = &adapter {
        say(format_args!("SHA-256  {adapter}  adapter_model.safetensors"))?;
    }
    say(format_args!("SHA-256  {replies}  all replies, one a line"))?;
    let seconds = start.elapsed().as_secs_f64();
    say(format_args!(
        "{seconds:.1} s, {:.0} MiB of anonymous memory at most",
        peak.anonymous_bytes as f64 / 1_048_576.0
    ))?;
    if args.json {
        print_json(&json!({
            "rouge1_before": before.evaluation.rouge1,
            "rouge1_random": random.evaluation.rouge1,
            "rouge1_after": ours.evaluation.rouge1,
            "rouge1_shuffled": shuffled.as_ref().map(|arm| arm.evaluation.rouge1),
            "difference_to_random": difference,
            "difference_standard_error": error,
            "loss_before": before.evaluation.loss,
            "loss_random": random.evaluation.loss,
            "loss_after": ours.evaluation.loss,
            "stream": user.dialogues.len(),
            "held_out": user.held_out.len(),
            "bins": size.bins,
            "annotations": ours.annotations,
            "installed": ours.adapter.is_some(),
            "adapter_sha256": adapter,
            "replies_sha256": replies,
            "gflop": base.work().flop(base.config()) / 1e9,
            "seconds": seconds,
            "peak_anonymous_bytes": peak.anonymous_bytes,
            "peak_rss_bytes": peak.rss_bytes,
        }))?;
    }
    Ok(())
}

fn full() -> Size {
    let plan = Plan {
        trigger: Trigger::Dialogues(200),
        lora: LoraConfig::new(8, 16.0, 0.05, Targets::ALL),
        train: Options {
            lr: 5e-3,
            batch: 8,
            length: Length::Epochs(8),
            warmup: 5,
            schedule: Schedule::Linear,
            ..PAPER.train
        },
        mode: Loss::Response,
        patience: 0,
        reply_tokens: 40,
        ..PAPER
    };
    Size { stream: builtin::Size::DEFAULT, bins: 40, plan }
}

fn quick() -> Size {
    let full = full();
    let plan = Plan {
        trigger: Trigger::Dialogues(u64::MAX),
        synth: 1,
        train: Options { batch: 4, length: Length::Epochs(2), warmup: 0, ..full.plan.train },
        reply_tokens: 24,
        ..full.plan
    };
    Size { stream: builtin::Size::QUICK, bins: 4, plan }
}

struct Arms<'a> {
    engine: Engine<'a>,
    size: &'a Size,
    user: &'a builtin::Stream,
    features: &'a [Features],
    book: &'a Table,
}

impl Arms<'_> {
    fn run(
        &self,
        policy: &'static Policy,
        stream: &[Dialogue],
        seed: u64,
    ) -> Result<Arm, Box<dyn core::error::Error>> {
        let root = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
        let fresh = Record::new(self.engine.base().hashes(), self.size.bins, policy.name, seed);
        // Of an imaginary user, and gone with the folder.
        let mut state = State::open_or_create(root.path(), fresh, false, &Keys::Plain)?;
        let selection =
            Selection { policy, lexicons: self.book, scoring: Scoring::default(), frozen: false };
        let mut person = Person::Replay(stream, 0);
        let stop = Stop::never();
        let pace =
            Pace { every: Every::default(), any_isa: false, limits: Limits::NONE, stop: &stop };
        personalize::run(
            self.engine,
            &mut state,
            Stream { dialogues: stream, features: Some(self.features) },
            selection,
            Rounds { plan: &self.size.plan, pace, care: Care::default() },
            &mut person,
            |_, _| {},
        )?;
        let adapter = current(&state, &self.engine)?;
        let mut arm = judge(self.engine, adapter.as_ref(), &self.user.held_out, &self.size.plan)?;
        arm.annotations = state.record.annotations;
        arm.adapter = adapter;
        Ok(arm)
    }
}

fn features(
    engine: Engine,
    dialogues: &[Dialogue],
    book: &Table,
) -> Result<Vec<Features>, crate::engine::Error> {
    let mut scorer = Scorer::new(engine, book.lexicons(), Scoring::default());
    let mut progress = Progress::new("score", dialogues.len());
    dialogues
        .iter()
        .map(|dialogue| {
            let features = scorer.features(dialogue)?;
            progress.advance(1, features.scores.tokens as usize);
            Ok(features)
        })
        .collect()
}

fn judge(
    engine: Engine,
    adapter: Option<&Adapter>,
    held_out: &[Dialogue],
    plan: &Plan,
) -> Result<Arm, crate::engine::Error> {
    let sampling = Sampling::greedy(plan.reply_tokens);
    let mut progress = Progress::new("evaluate", held_out.len());
    let (evaluation, replies) =
        evaluate(&engine, adapter, held_out, &sampling, plan.max_length, &mut progress)?;
    Ok(Arm { evaluation, replies, annotations: 0, adapter: None })
}

/// The stream with its preferred replies dealt out anew: the same style, nobody's tastes.
fn shuffled(dialogues: &[Dialogue], seed: u64) -> Vec<Dialogue> {
    let mut replies: Vec<_> = dialogues.iter().map(|d| d.preferred.clone()).collect();
    homespun_core::rng::Rng::new(seed ^ 0x5AFE).shuffle(&mut replies);
    let dealt = dialogues.iter().zip(replies);
    dealt.map(|(d, preferred)| Dialogue { preferred, ..d.clone() }).collect()
}

/// Mean difference of the questions' ROUGE-1 between two arms, and its standard error.
fn paired(a: &Arm, b: &Arm, held_out: &[Dialogue]) -> (f64, f64) {
    let differences: Vec<f64> = held_out
        .iter()
        .zip(a.replies.iter().zip(&b.replies))
        .map(|(dialogue, (a, b))| {
            let wanted = dialogue.target_response().unwrap_or_default();
            rouge1(wanted, a) - rouge1(wanted, b)
        })
        .collect();
    let n = differences.len().max(2) as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Three unseen questions: where ROUGE-1 changed most, in the middle, and least.
fn spread(after: &Arm, before: &Arm, held_out: &[Dialogue]) -> Vec<usize> {
    let gain = |i: usize| {
        let wanted = held_out[i].target_response().unwrap_or_default();
        rouge1(wanted, &after.replies[i]) - rouge1(wanted, &before.replies[i])
    };
    let mut order: Vec<usize> = (0..after.replies.len()).collect();
    order.sort_by(|&a, &b| gain(b).total_cmp(&gain(a)).then(a.cmp(&b)));
    let n = order.len();
    let mut picked: Vec<usize> =
        [0, n / 2, n.saturating_sub(1)].iter().filter_map(|&i| order.get(i).copied()).collect();
    picked.dedup();
    picked
}
