//! `homespun forget`: takes back what a state knows.

use std::path::PathBuf;

use homespun_core::select::Domain;
use serde_json::json;

use super::Outcome;
use super::options::{KeyArgs, LexiconArgs, Machine, print_json, say};
use super::relearn::{RelearnArgs, Relearned};
use crate::lexicon::Table;
use crate::state::State;
use crate::state::forget::{Forgotten, What};

/// Forget dialogues, and what was learned from them
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun forget --state me --matching doctor --model builtin\n\nDialogues, requests and synthesised questions are removed. An adapter that saw one of them, or may have, is removed too; with --model it learns again from the base on what remains, else the next round does. The state gets a new key and the old one is destroyed, so that older blocks of the medium open no more."
)]
pub(crate) struct Args {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    what: WhatArgs,
    #[command(flatten)]
    lexicons: LexiconArgs,
    #[command(flatten)]
    relearn: RelearnArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct WhatArgs {
    /// Dialogues of a domain, as `buffer inspect` names it
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Dialogues that hold a text, in any case of letters
    #[arg(long, value_name = "TEXT")]
    matching: Option<String>,
    /// A dialogue by its arrival number, as `buffer list` gives it; more than once for more
    #[arg(long, value_name = "N")]
    id: Vec<u64>,
    /// Everything: only the settings and the adapter's generation number stay
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: Args, machine: &Machine) -> Outcome {
    args.relearn.check()?;
    let keys = args.key.get()?;
    let mut state = State::open(&args.state, &keys)?;
    let what = args.what.get(&state, &args.lexicons.open()?)?;
    let base = args.relearn.base()?;
    if let Some(base) = &base {
        state.expect_base(&base.hashes())?;
    }
    let forgotten = state.forget(&what, &keys)?;
    if !args.json {
        tell(&state, &forgotten)?;
    }
    let relearned = match forgotten.adapters {
        0 => Relearned::Nothing,
        _ => args.relearn.run(base.as_ref(), &mut state, machine)?,
    };
    if args.json {
        print_json(&json!({
            "samples": forgotten.samples,
            "synthesised": forgotten.variants,
            "requests": forgotten.requests,
            "adapters": forgotten.adapters,
            "learned_from": forgotten.learned_from,
            "remain": forgotten.remain,
            "generation": state.record.generation,
            "relearned": relearned.installed(),
        }))?;
    }
    relearned.end(&args.state, args.json)
}

fn tell(state: &State, forgotten: &Forgotten) -> Outcome {
    let Forgotten { samples, variants, requests, adapters, learned_from, remain } = *forgotten;
    if forgotten.is_nothing() {
        say("there was nothing of it")?;
        return Ok(());
    }
    say(format_args!(
        "forgotten: {samples} dialogues, {variants} synthesised questions, {requests} requests"
    ))?;
    if adapters > 0 {
        let lost = learned_from.saturating_sub(remain);
        say(format_args!(
            "the adapter starts again from the base: {adapters} generations are gone, which had \
             learned from {learned_from} dialogues; {remain} of them are in the buffer and can be \
             learned again, {lost} cannot"
        ))?;
    } else if state.current_adapter().is_some() {
        say("the adapter saw none of it, and stays")?;
    }
    Ok(())
}

impl WhatArgs {
    fn get(self, state: &State, book: &Table) -> Result<What, String> {
        match self {
            WhatArgs { domain: Some(name), .. } => domain(&name, state, book).map(What::Domain),
            WhatArgs { matching: Some(text), .. } if text.trim().is_empty() => {
                Err("--matching: an empty text is in every dialogue; --all says so".into())
            }
            WhatArgs { matching: Some(text), .. } => Ok(What::Matching(text)),
            WhatArgs { all: true, .. } => Ok(What::All),
            WhatArgs { id, .. } => Ok(What::Ids(id)),
        }
    }
}

/// The domain of that name in the lexicons that the state was made with.
fn domain(name: &str, state: &State, book: &Table) -> Result<Domain, String> {
    let lexicons = book.lexicons();
    if !super::buffer::knows(state, book) {
        return Err("--lexicons: the state was made with other lexicons".into());
    }
    let all = (0..lexicons.len()).map(|i| Domain(i as u16)).chain([Domain::GENERAL]);
    let names = |domains: Vec<Domain>| {
        domains.into_iter().map(|domain| lexicons.name(domain)).collect::<Vec<_>>().join(", ")
    };
    all.clone()
        .find(|domain| lexicons.name(*domain) == name)
        .ok_or_else(|| format!("--domain: {name:?} is not one of {}", names(all.collect())))
}
