//! How a round learns: a preset, and what is to be other than in it.

use clap::Args;

use crate::engine::Base;
use crate::personalize::presets::{self, Plan};
use crate::tune::Length;

/// A preset with other figures.
#[derive(Args)]
pub(crate) struct LearnArgs {
    /// paper or everyday
    #[arg(long, value_name = "NAME", default_value = "everyday")]
    preset: String,
    /// Learning rate [default: the preset's; everyday on the built-in model: 1.5e-3]
    #[arg(long, value_name = "F")]
    lr: Option<f64>,
    /// Most epochs of a round [default: the preset's]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Dialogues of a training step [default: the preset's; everyday on the built-in model: 8]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
}

impl LearnArgs {
    /// The plan that they make for a device that lives with a person, and learns on `base`.
    pub(crate) fn plan_for(&self, base: &Base) -> Result<Plan, String> {
        let preset = presets::named(&self.preset);
        let is_small = base.is_builtin() && preset == Some(presets::EVERYDAY);
        self.change(if is_small { Some(presets::EVERYDAY_SMALL) } else { preset })
    }

    /// The plan that they make.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        self.change(presets::named(&self.preset))
    }

    fn change(&self, preset: Option<Plan>) -> Result<Plan, String> {
        let mut plan = preset
            .ok_or_else(|| format!("--preset: {:?} is not paper or everyday", self.preset))?;
        for (flag, value) in [("epochs", self.epochs), ("batch", self.batch)] {
            if value == Some(0) {
                return Err(format!("--{flag}: must be at least 1"));
            }
        }
        if self.lr.is_some_and(|lr| !lr.is_finite() || lr < 0.0) {
            return Err("--lr: must be a number of at least 0".into());
        }
        plan.train.lr = self.lr.unwrap_or(plan.train.lr);
        plan.train.batch = self.batch.unwrap_or(plan.train.batch);
        plan.train.length = self.epochs.map_or(plan.train.length, Length::Epochs);
        Ok(plan)
    }
}
