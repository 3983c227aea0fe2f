//! Options of commands that live with a person: how its state is opened, or made.

use std::path::{Path, PathBuf};

use clap::Args;
use homespun_boards::HOST;
use homespun_core::select::{Policy, policy};

use super::options::{KeyArgs, LexiconArgs, ScoringArgs};
use crate::engine::{Base, Engine};
use crate::lexicon::Table;
use crate::live::Live;
use crate::personalize::{Selection, score};
use crate::state::{Record, State};

/// What a state is made with.
#[derive(Args)]
pub(crate) struct PersonArgs {
    #[command(flatten)]
    key: KeyArgs,
    /// Bins of the sample buffer, 22 KiB each [default: 128, or what the state has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..65_535))]
    bins: Option<u16>,
    /// Who decides what is kept, as in `personalize` [default: quality, or what the state has]
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    #[command(flatten)]
    lexicons: LexiconArgs,
    #[command(flatten)]
    scoring: ScoringArgs,
}

impl PersonArgs {
    /// The same with the keys of that file.
    pub(crate) fn with_key(self, file: PathBuf) -> Self {
        Self { key: KeyArgs::of(file), ..self }
    }

    /// The domains.
    pub(crate) fn book(&self) -> Result<Table, crate::lexicon::Error> {
        self.lexicons.open()
    }

    /// The person of `base` in the state directory `root`, made if it is not there, with the engine and the domains.
    pub(crate) fn live<'e>(
        &self,
        root: &Path,
        engine: Engine<'e>,
        base: &Base,
        book: &'e Table,
    ) -> Result<Live<'e>, Box<dyn core::error::Error>> {
        let (scoring, keys) = (self.scoring.get()?, self.key.get()?);
        let there = root.join(crate::state::RECORD).exists();
        let old = if there { Some(State::open(root, &keys)?.record.clone()) } else { None };
        let name = self.policy.as_deref().or(old.as_ref().map(|old| old.policy.as_str()));
        let policy = named(name.unwrap_or("quality"))?;
        let bins = self.bins.map_or(HOST.bins, usize::from);
        let seed = old.map_or(0, |old| old.seed);
        let mut fresh = Record::new(base.hashes(), bins, policy.name, seed);
        fresh.scoring = score::fingerprint(scoring, book);
        let state = State::open_or_create(root, fresh, self.bins.is_none(), &keys)?;
        let selection = Selection { policy, lexicons: book, scoring, frozen: false };
        Ok(Live::new(engine, selection, state, keys)?)
    }
}

/// The policy of that name.
pub(crate) fn named(name: &str) -> Result<&'static Policy, String> {
    Policy::named(name).ok_or_else(|| {
        let names = policy::ALL.map(|policy| policy.name).join(", ");
        format!("--policy: {name:?} is not one of {names}")
    })
}
