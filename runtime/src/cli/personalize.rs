//! `homespun personalize`: the mission, over a file of dialogues.

use std::path::PathBuf;
use std::time::Instant;

use homespun_boards::HOST;
use homespun_core::lora::{LoraConfig, Scaling};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Outcome;
use super::interrupt::{InterruptArgs, stopped};
use super::options::{
    KeyArgs, LearnArgs, LexiconArgs, Machine, MemoryArgs, ModelArgs, ScoringArgs, VariantArgs,
    print_json, say,
};
use crate::adapter::Adapter;
use crate::dialogue::Dialogue;
use crate::engine::{Engine, Sampling};
use crate::memory::Watch;
use crate::personalize::annotate::Person;
use crate::personalize::presets::{Plan, Trigger};
use crate::personalize::round::Care;
use crate::personalize::{self, Rounds, Selection, Stream, evaluate, round, score};
use crate::progress::Progress;
use crate::state::{Record, State};

/// Learn a person from a stream of dialogues: select, annotate, synthesise, fine-tune
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun personalize --model builtin --stream stream.jsonl --state me --held-out held_out.jsonl\n\nRun again, it goes on at the first dialogue that it has not seen, or within the round that was interrupted. A first SIGINT, SIGTERM or SIGHUP during a round's training writes a checkpoint and ends with the status 130, 143 or 129."
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Dialogues as JSON Lines
    #[arg(long, value_name = "FILE")]
    stream: PathBuf,
    /// The state directory; made if it is not there
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    learn: LearnArgs,
    /// Bins of the sample buffer, 22 KiB each [default: 128, or what the state has]
    #[arg(long, value_name = "N")]
    bins: Option<usize>,
    /// Who decides what is kept: quality, random, fifo, k-center, rehearse, rehearse-any, fresh, entropy,
    /// domain, dissimilarity or length
    #[arg(long, value_name = "NAME", default_value = "quality")]
    policy: String,
    /// A round after every N dialogues [default: 800 in paper; in everyday, once 16 dialogues wait
    /// for an annotation]
    #[arg(long, value_name = "N")]
    round: Option<u64>,
    /// Synthesised questions tried for each annotated dialogue
    #[arg(long, value_name = "N", default_value_t = 3)]
    synth: usize,
    /// replay (the stream's `preferred`, else its response), ask (here) or queue (until `buffer annotate`)
    #[arg(long, value_name = "HOW", default_value = "replay")]
    annotate: String,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Dialogues to measure ROUGE-1 on, before and after
    #[arg(long, value_name = "FILE")]
    held_out: Option<PathBuf>,
    #[command(flatten)]
    lexicons: LexiconArgs,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Compare dissimilarities as they were at arrival, not against the buffer as it is
    #[arg(long)]
    frozen_dissimilarity: bool,
    /// Rank of the adapter [default: the preset's]
    #[arg(long, value_name = "N")]
    rank: Option<usize>,
    #[command(flatten)]
    variant: VariantArgs,
    /// Which tokens are targets: response, assistant or all [default: the preset's]
    #[arg(long, value_name = "NAME")]
    loss: Option<String>,
    /// Stop a round after N epochs without a better loss on its held-out tenth; 0 trains on
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// At most this many tokens a dialogue
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    interrupt: InterruptArgs,
    /// Stop at the first line that cannot be read
    #[arg(long)]
    strict: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    let (start, watch) = (Instant::now(), Watch::start());
    let plan = args.plan()?;
    let stop = args.interrupt.stop()?;
    let scoring = args.scoring.get()?;
    let policy = super::person::named(&args.policy)?;
    let base = args.model.open()?;
    let layers = base.layers()?;
    let pool = machine.pool()?;
    let engine =
        Engine::new(&base, &layers, machine.kernels()?, &pool)?.with_budget(args.memory.get()?);
    let book = args.lexicons.open()?;
    let stream = super::read_dialogues(&args.stream, args.strict)?;
    let held_out = match &args.held_out {
        Some(path) => Some(super::read_held_out(path, args.strict)?),
        None => None,
    };
    let mut fresh =
        Record::new(base.hashes(), args.bins.unwrap_or(HOST.bins), policy.name, args.seed);
    fresh.scoring = score::fingerprint(scoring, &book);
    let mut state =
        State::open_or_create(&args.state, fresh, args.bins.is_none(), &args.key.get()?)?;
    if let Some(name) = state.current_adapter() {
        let there = Adapter::open_in(state.vault(), &name, base.config())?.config;
        let folder = state.vault().path(&name);
        args.variant.goes_on(&there, &folder)?;
        if let Some(rank) = args.rank.filter(|rank| *rank != there.rank) {
            let (folder, own) = (folder.display(), there.rank);
            let error = format!("--rank: {rank}: the adapter that goes on, {folder}, has {own}");
            return Err(error.into());
        }
    }
    let selection =
        Selection { policy, lexicons: &book, scoring, frozen: args.frozen_dissimilarity };

    let measure =
        |adapter: Option<Adapter>, dialogues: &[Dialogue]| -> Result<f64, crate::engine::Error> {
            let mut progress = Progress::new("evaluate", dialogues.len());
            let sampling = Sampling::greedy(plan.reply_tokens);
            let (result, _) = evaluate::evaluate(
                &engine,
                adapter.as_ref(),
                dialogues,
                &sampling,
                plan.max_length,
                &mut progress,
            )?;
            Ok(result.rouge1)
        };
    if let Some(dialogues) = &held_out {
        let key = held_out_hash(dialogues, &plan);
        if state.record.rouge1_before.is_none() || state.record.held_out_hash != key {
            state.record.rouge1_before = Some(measure(None, dialogues)?);
            state.record.held_out_hash = key;
            state.save()?;
        }
    }
    let mut person = match args.annotate.as_str() {
        "queue" => Person::queue(state.vault())?,
        "ask" => Person::Ask,
        // What else it might be, `plan` has refused.
        _ => Person::Replay(&stream, personalize::place(&state, &stream).first),
    };
    let ran = personalize::run(
        engine,
        &mut state,
        Stream { dialogues: &stream, features: None },
        selection,
        Rounds { plan: &plan, pace: args.interrupt.pace(&stop), care: Care::default() },
        &mut person,
        |state, report| eprintln!("{}", round_line(state, report)),
    );
    if let Err(personalize::Error::Stopped(cause)) = ran {
        return stopped(cause, args.state.display(), false);
    }
    ran?;
    let after = match held_out.as_deref() {
        Some(dialogues) => Some(measure(personalize::current(&state, &engine)?, dialogues)?),
        None => None,
    };
    let (record, peak) = (&state.record, watch.peak());
    let result = json!({
        "rouge1_before": held_out.as_ref().and(record.rouge1_before),
        "rouge1_after": after,
        "seen": record.seen,
        "annotations": record.annotations,
        "accepted": record.accepted,
        "dropped": record.dropped,
        "synth_kept": record.synth_kept,
        "synth_rejected": record.synth_rejected,
        "rounds": record.rounds,
        "generation": record.generation,
        "seconds": start.elapsed().as_secs_f64(),
        "peak_anonymous_bytes": peak.anonymous_bytes,
        "peak_rss_bytes": peak.rss_bytes,
    });
    if args.json {
        print_json(&result)?;
    } else if let Some(fields) = result.as_object() {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            say(format_args!("{name:<21} {value}"))?;
        }
    }
    Ok(())
}

/// What the base's ROUGE-1 depends on beside the base.
fn held_out_hash(dialogues: &[Dialogue], plan: &Plan) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{} {}\n", plan.reply_tokens, plan.max_length));
    dialogues.iter().for_each(|dialogue| hash.update(dialogue.to_json() + "\n"));
    format!("{:x}", hash.finalize())
}

/// What a round did, in a line.
pub(super) fn round_line(state: &State, report: &round::Report) -> String {
    let what = match (report.installed, report.why) {
        (true, _) => "installed".to_owned(),
        (false, None) => "nothing installed".to_owned(),
        (false, Some(why)) => format!("nothing installed: {why}"),
    };
    format!(
        "round {} at dialogue {}: {} requests, {} dialogues and {} synthesised questions, \
         {} steps, loss {:.3} -> {:.3}, {what}",
        state.record.rounds,
        state.record.seen,
        report.asked,
        report.learned_from,
        report.synth_kept,
        report.steps,
        report.loss_before,
        report.loss_after,
    )
}

impl Args {
    fn plan(&self) -> Result<Plan, String> {
        let mut plan = self.learn.plan()?;
        let check = |ok: bool, flag: &str, what: &str| {
            if ok { Ok(()) } else { Err(format!("--{flag}: must be {what}")) }
        };
        if !["replay", "ask", "queue"].contains(&self.annotate.as_str()) {
            return Err(format!("--annotate: {:?} is not replay, ask or queue", self.annotate));
        }
        check(self.bins != Some(0), "bins", "at least 1")?;
        check(self.bins.is_none_or(|n| n < 65_535), "bins", "below 65535")?;
        check(self.round != Some(0), "round", "at least 1")?;
        check(self.rank.is_none_or(|n| (1..=4096).contains(&n)), "rank", "between 1 and 4096")?;
        check(self.max_length.is_none_or(|n| n > 1), "max-length", "at least 2")?;
        if let Some(round) = self.round {
            plan.trigger = Trigger::Dialogues(round);
        }
        if let Some(loss) = &self.loss {
            plan.mode = super::train::loss_mode(loss)?;
        }
        plan.synth = self.synth;
        let preset = plan.lora;
        let rank = self.rank.unwrap_or(preset.rank);
        let lora = self.variant.of(LoraConfig { rank, ..preset });
        // The scale is the preset's: alpha / rank at any rank, alpha / sqrt(rank) at the preset's.
        let alpha = match lora.scaling {
            Scaling::Standard => preset.scale() * rank as f32,
            Scaling::RankStabilised => preset.scale() * (preset.rank as f32).sqrt(),
        };
        plan.lora = LoraConfig { alpha, ..lora };
        plan.patience = self.patience.unwrap_or(plan.patience);
        plan.max_length = self.max_length.unwrap_or(plan.max_length);
        Ok(plan)
    }
}
