//! What tells a training run from any other: its options, data, starting adapter and model.

use homespun_core::config::Config;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Example, Options};
use crate::adapter::Adapter;

/// SHA-256 of each thing that a run depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    options: [u8; 32],
    data: [u8; 32],
    start: [u8; 32],
    model: [u8; 32],
}

impl Key {
    /// The run's key; its model is named by [`with_model`](Self::with_model).
    pub(super) fn of(
        options: &Options,
        examples: &[Example],
        adapter: &Adapter,
        config: &Config,
    ) -> Self {
        let mut data = Sha256::new();
        for example in examples {
            data.update(example.id.to_le_bytes());
            data.update((example.tokens.len() as u64).to_le_bytes());
            for (token, &target) in example.tokens.iter().zip(&example.targets) {
                data.update(token.to_le_bytes());
                data.update([u8::from(target)]);
            }
        }
        let mut start = Sha256::new();
        // A and B alone: what DoRA makes of the base rounds as the instruction set does, which is told
        // apart by its name.
        let lora = &adapter.config;
        for layer in 0..config.layers {
            for target in lora.targets.iter() {
                let Some(from) = lora.offset(config, layer, target) else { continue };
                let (outputs, inputs) = target.shape(config);
                let matrices = &adapter.parameters[from..from + lora.rank * (outputs + inputs)];
                matrices.iter().for_each(|parameter| start.update(parameter.to_le_bytes()));
            }
        }
        let options = format!("{options:?} {:?}", adapter.config);
        Self {
            options: Sha256::digest(options).into(),
            data: data.finalize().into(),
            start: start.finalize().into(),
            model: [0; 32],
        }
    }

    /// The key of a run on the model that `hash` tells from others.
    pub(super) fn with_model(self, hash: &str) -> Self {
        Self { model: Sha256::digest(hash).into(), ..self }
    }

    /// What `other` has another of; `None` if it is the same run.
    pub(super) fn difference(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            ("another model", self.model == other.model),
            ("other options", self.options == other.options),
            ("other data", self.data == other.data),
            ("another starting adapter", self.start == other.start),
        ];
        parts.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
    }
}
