//! A round over what is in the buffer, after something was taken from it or all of it was moved.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Outcome;
use super::interrupt::{InterruptArgs, stopped};
use super::options::{CareArgs, LearnArgs, Machine, MemoryArgs, is_builtin, say};
use crate::engine::{Base, Engine};
use crate::personalize::annotate::Person;
use crate::personalize::buffer::Buffer;
use crate::personalize::round::{self, Care, Report};
use crate::personalize::{self, Rounds};
use crate::state::State;
use crate::status::{Status, socket};
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
    care: CareArgs,
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
    pub(crate) fn check(&self) -> Result<(), String> {
        self.learn.plan().map(drop)
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
        let plan = self.learn.plan_for(base)?;
        let stop = self.interrupt.stop()?;
        let general = self.care.general(base)?;
        let layers = base.layers()?;
        let pool = machine.pool()?;
        let engine =
            Engine::new(base, &layers, machine.kernels()?, &pool)?.with_budget(self.memory.get()?);
        let mut buffer = Buffer::open(state, engine.model().config.dim)?;
        let mut person = Person::queue(state.vault())?;
        let status = Arc::new(Status::default());
        status.describe_state(state, &buffer);
        status.begin_round();
        let _telling = {
            let status = Arc::clone(&status);
            // Without it nobody can look on, which is no reason not to learn.
            socket::tell(state.root(), move || status.json(0)).ok()
        };
        let tell = |phase| status.progress(phase);
        let care = Care { tell: Some(&tell), ..self.care.care(general.as_ref()) };
        let rounds = Rounds { plan: &plan, pace: self.interrupt.pace(&stop), care };
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
                let what = match report.why {
                    None if report.installed => "a new adapter".to_owned(),
                    None => "no new adapter".to_owned(),
                    Some(why) => format!("no new adapter: {why}"),
                };
                say(format_args!(
                    "learned again from {learned_from} dialogues: loss {loss_before:.3} -> \
                     {loss_after:.3}, {what}"
                ))?;
            }
        }
        Ok(())
    }
}
