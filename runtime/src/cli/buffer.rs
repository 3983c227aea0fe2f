//! `homespun buffer`: look into a state's sample buffer, annotate, export.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use homespun_core::select::Scoring;
use serde_json::json;

use super::Outcome;
use super::inspect;
use super::options::{KeyArgs, LexiconArgs, print_json, say};
use crate::durable;
use crate::lexicon::Table;
use crate::personalize::annotate::{Person, Reply};
use crate::personalize::buffer::{Buffer, Held};
use crate::personalize::score;
use crate::samples::Flags;
use crate::state::State;

/// Look into the sample buffer, annotate, export
#[derive(clap::Args)]
#[command(after_help = "Example:\n  homespun buffer --state me list")]
pub(crate) struct Args {
    /// The state directory; not for `inspect` and `verify`
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A line for each bin in use
    #[command(after_help = "Example:\n  homespun buffer --state me list --json")]
    List {
        /// Print a JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// One bin in full
    #[command(after_help = "Example:\n  homespun buffer --state me show 3")]
    Show {
        /// The bin
        bin: usize,
    },
    /// Ask, here, for every annotation that is missing
    #[command(after_help = "Example:\n  homespun buffer --state me annotate")]
    Annotate,
    /// What an image holds: capacity, wear, generations, domains, ages, scores
    #[command(after_help = "Example:\n  homespun buffer inspect me/samples.img")]
    Inspect {
        /// The image
        image: PathBuf,
        #[command(flatten)]
        lexicons: LexiconArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Read every record of an image and check that it is whole
    #[command(after_help = "Example:\n  homespun buffer verify me/samples.img")]
    Verify {
        /// The image
        image: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write the buffered dialogues as JSON Lines
    #[command(after_help = "Example:\n  homespun buffer --state me export kept.jsonl")]
    Export {
        /// The file
        file: PathBuf,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    let command = match args.command {
        Command::Inspect { image, lexicons, json } => {
            return inspect::inspect(&image, &args.key, &lexicons.open()?, json);
        }
        Command::Verify { image, json } => return inspect::verify(&image, &args.key, json),
        command => command,
    };
    let root = args.state.ok_or("--state: which state directory?")?;
    let mut state = State::open(&root, &args.key.get()?)?;
    // Embeddings are not looked at here, so their length does not matter.
    let mut buffer = Buffer::open(&state, 0)?;
    match command {
        // Those two are done above.
        Command::Inspect { .. } | Command::Verify { .. } => Ok(()),
        Command::List { json } => list(&mut buffer, json),
        Command::Show { bin } => show(&mut buffer, bin),
        Command::Annotate => annotate(&mut state, &mut buffer),
        Command::Export { file } => export(&mut buffer, &file),
    }
}

/// Whether `book` has the lexicons that the state's dialogues were scored by.
pub(crate) fn knows(state: &State, book: &Table) -> bool {
    let mine = score::fingerprint(Scoring::default(), book);
    let words = |fingerprint: &str| fingerprint.rsplit(' ').next().map(str::to_owned);
    words(&mine) == words(&state.record.scoring)
}

fn status(held: &Held) -> &'static str {
    match (&held.dialogue.preferred, held.flags) {
        (Some(_), _) => "preferred",
        (None, flags) if flags.contains(Flags::ANNOTATED) => "accepted",
        (None, flags) if flags.contains(Flags::SKIPPED) => "skipped",
        (None, _) => "waiting",
    }
}

fn list(buffer: &mut Buffer, as_json: bool) -> Outcome {
    if !as_json {
        say("  bin  arrival  entropy  domain-score  dissimilarity  annotation  question")?;
    }
    for held in buffer.read_all(|error| eprintln!("{error}")) {
        let Some((_, header)) = buffer.entries().find(|(bin, _)| *bin == held.bin) else {
            continue;
        };
        let scores = header.scores;
        let question = held.dialogue.question().last().map_or("", |m| m.content.as_str());
        if as_json {
            print_json(&json!({
                "bin": held.bin,
                "arrival": held.arrival,
                "entropy": scores.entropy,
                "domain_score": scores.domain_score,
                "domain": scores.domain.index(),
                "dissimilarity": scores.dissimilarity,
                "tokens": scores.tokens,
                "annotation": status(&held),
                "question": question,
            }))?;
        } else {
            let line: String =
                question.chars().map(|c| if c == '\n' { ' ' } else { c }).take(60).collect();
            say(format_args!(
                "{:>5} {:>8} {:>8.4} {:>13.4} {:>14.4}  {:<10}  {line}",
                held.bin,
                held.arrival,
                scores.entropy,
                scores.domain_score,
                scores.dissimilarity,
                status(&held),
            ))?;
        }
    }
    Ok(())
}

fn show(buffer: &mut Buffer, bin: usize) -> Outcome {
    if bin >= buffer.bins() {
        return Err(format!("bin {bin}: the buffer has {} bins", buffer.bins()).into());
    }
    let held = buffer.read(bin)?;
    say(format_args!("arrival     {}", held.arrival))?;
    say(format_args!("annotation  {}", status(&held)))?;
    if held.lost_turns > 0 {
        say(format_args!("left out    its oldest {} messages", held.lost_turns))?;
    }
    for message in &held.dialogue.messages {
        say(format_args!("{:<11} {}", message.role.as_str(), message.content))?;
    }
    if let Some(preferred) = &held.dialogue.preferred {
        say(format_args!("preferred   {preferred}"))?;
    }
    Ok(())
}

fn annotate(state: &mut State, buffer: &mut Buffer) -> Outcome {
    let mut asked = 0;
    let queue = Person::queue(state.vault())?;
    for held in buffer.read_all(|error| eprintln!("{error}")) {
        if status(&held) != "waiting" || held.dialogue.response().is_none() {
            continue;
        }
        let Reply::Now(answer) = Person::Ask.ask(&held.question())? else { continue };
        let learned = buffer.annotate_or_skip(&held, &answer)?;
        asked += 1;
        state.record.new_annotations += u64::from(learned);
        // A queued request was counted when it was written.
        state.record.annotations += u64::from(!queue.was_asked(held.arrival));
        state.save()?;
    }
    say(format_args!("{asked} requests; the next round learns from the answers"))?;
    Ok(())
}

fn export(buffer: &mut Buffer, file: &Path) -> Outcome {
    let mut text = String::new();
    for held in buffer.read_all(|error| eprintln!("{error}")) {
        text.push_str(&held.dialogue.to_json());
        text.push('\n');
    }
    durable::write(file, text.as_bytes())?;
    Ok(())
}
