//! The end of a round: the adapter is used from now on, or kept aside with the reason.

use std::fs;
use std::path::Path;

use super::{Outcome, Report, Task};
use crate::adapter::Adapter;
use crate::durable::go_on;
use crate::engine::Engine;
use crate::personalize::Error;
use crate::state::rounds;
use crate::state::seen::Seen;
use crate::state::{self, State};

impl Task {
    /// Installs what was trained if it helps, keeps it aside if it does not, and writes down the round.
    ///
    /// # Errors
    /// If a file of the state fails; the current adapter is then still there.
    pub fn install(mut self, engine: Engine, state: &mut State) -> Result<Report, Error> {
        match core::mem::take(&mut self.outcome) {
            Outcome::Nothing => {
                state.record.in_round = false;
                state.save()?;
                return Ok(self.report);
            }
            Outcome::Lost => {}
            Outcome::Adapter(adapter) => {
                let generation = self.write(engine, state, &adapter)?;
                let used = state.current();
                state.record.generation = generation;
                self.report.generation = Some(generation);
                self.report.installed = self.report.why.is_none();
                state.record.using = if self.report.installed { None } else { Some(used) };
            }
        }
        state.record.rounds += 1;
        self.report.seconds = self.began.elapsed().as_secs_f64();
        self.report.joules = self.energy.joules();
        rounds::add(state.vault(), self.report.row(state.record.rounds))?;
        // Those that came while it learned are new still.
        state.record.new_annotations -= self.annotations.min(state.record.new_annotations);
        state.record.in_round = false;
        state.save()?;
        remove(&state.vault().path(state::TRAINING))?;
        state.prune_generations()?;
        Ok(self.report)
    }

    /// Writes the adapter's folder, which no record names yet; its generation.
    fn write(&self, engine: Engine, state: &mut State, tuned: &Adapter) -> Result<u64, Error> {
        let generation = state.record.generation + 1;
        let (folder, vault) = (state.adapter(generation), state.vault().clone());
        // A folder that no record names is what a cut round left behind.
        remove(&vault.path(&folder))?;
        vault.make_folder(state::ADAPTERS, &mut go_on)?;
        tuned.save_in(&vault, &folder, engine.base().config())?;
        // It goes on from the adapter before, so it has seen what that one saw.
        let before = state.current_adapter();
        let before = before.map(|before| Seen::read(&vault, &before)).transpose()?.flatten();
        let mut seen = before.unwrap_or_default();
        for one in &self.held {
            seen.add(&mut state.record, one.arrival)?;
        }
        seen.write(&vault, &folder)?;
        Ok(generation)
    }
}

/// Removes a folder of the state, if it is there.
fn remove(folder: &Path) -> Result<(), Error> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(state::Error::io(folder))?;
    }
    Ok(())
}
