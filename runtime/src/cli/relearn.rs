//! A round over what is in the buffer, after something was taken from it or all of it was moved.

use std::path::{Path, PathBuf};

use super::Outcome;
use super::interrupt::{InterruptArgs, stopped};
use super::options::{LearnArgs, Machine, MemoryArgs, is_builtin, say};
use crate::engine::{Base, Engine};
use crate::personalize::annotate::Person;
use crate::personalize::buffer::Buffer;
use crate::personalize::presets::Plan;
use crate::personalize::round::{self, Report};
use crate::personalize::{self, Rounds};
use crate::state::State;
use crate::tune::pace::Cause;

/// How to learn again.
#[derive(clap::Args)]
pub(crate) struct RelearnArgs {
    /// Learn at once, on this base: a Hugging Face folder, or `builtin`
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    learn: LearnArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    interrupt: InterruptArgs,
}

/// What came of it.
pub(crate) enum Relearned {
    /// There was no model, or nothing to learn again.
    Nothing,
    /// A round.
    Round(Box<Report>),
    /// It was told to stop.
    Stopped(Cause),
}

impl RelearnArgs {
    /// Whether the options are in range.
    pub(crate) fn check(&self) -> Result<Plan, String> {
        self.learn.plan()
    }

    /// The base, if one is named.
    pub(crate) fn base(&self) -> Result<Option<Base>, crate::engine::Error> {
        let Some(model) = &self.model else { return Ok(None) };
        if is_builtin(model) { Base::builtin(None) } else { Base::open(model, None) }.map(Some)
    }

    /// Runs a round over what is annotated in the buffer, if there is a base.
    pub(crate) fn run(
        &self,
        base: Option<&Base>,
        state: &mut State,
        machine: &Machine,
    ) -> Result<Relearned, Box<dyn core::error::Error>> {
        let Some(base) = base else { return Ok(Relearned::Nothing) };
        let plan = self.check()?;
        let stop = self.interrupt.stop()?;
        let layers = base.layers()?;
        let pool = machine.pool()?;
        let engine =
            Engine::new(base, &layers, machine.kernels()?, &pool)?.with_budget(self.memory.get()?);
        let mut buffer = Buffer::open(state, engine.model().config.dim)?;
        let mut person = Person::queue(state.vault())?;
        let rounds = Rounds { plan: &plan, pace: self.interrupt.pace(&stop) };
        match round::round(engine, state, &mut buffer, &mut person, rounds) {
            Err(personalize::Error::Stopped(cause)) => Ok(Relearned::Stopped(cause)),
            ran => Ok(Relearned::Round(Box::new(ran?))),
        }
    }
}

impl Relearned {
    /// Whether there is a new adapter.
    pub(crate) fn installed(&self) -> bool {
        matches!(self, Relearned::Round(report) if report.installed)
    }

    /// Says what came of it, and ends the command.
    pub(crate) fn end(&self, state: &Path, quiet: bool) -> Outcome {
        match self {
            Relearned::Nothing => {}
            Relearned::Stopped(cause) => return stopped(*cause, state.display(), false),
            Relearned::Round(_) if quiet => {}
            Relearned::Round(report) => {
                let Report { learned_from, loss_before, loss_after, .. } = **report;
                let what = if report.installed { "a new adapter" } else { "no new adapter" };
                say(format_args!(
                    "learned again from {learned_from} dialogues: loss {loss_before:.3} -> \
                     {loss_after:.3}, {what}"
                ))?;
            }
        }
        Ok(())
    }
}
