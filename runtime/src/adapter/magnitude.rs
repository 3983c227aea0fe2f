//! What a DoRA adapter has in memory and not in its file: norms of the base's rows under it.

use homespun_core::arena::Arena;
use homespun_core::compute::Compute;
use homespun_core::dora;
use homespun_core::model::{self, Model};

use super::Adapter;

impl Adapter {
    /// Makes the norms, and the magnitudes of a fresh adapter. A DoRA adapter that was opened or made
    /// computes nothing finite before; any other needs nothing.
    ///
    /// # Errors
    /// If the adapter is not of this model.
    pub fn prepare(&mut self, model: &Model, compute: Compute) -> Result<(), model::Error> {
        let memory = &mut vec![0; self.norm_bytes(model)];
        let (config, parameters) = (&self.config, &mut self.parameters);
        dora::prepare(model, compute, config, parameters, &mut Arena::new(memory))
    }

    /// Makes the norms anew after the parameters changed.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn renew(&mut self, model: &Model, compute: Compute) -> Result<(), model::Error> {
        let memory = &mut vec![0; self.norm_bytes(model)];
        let (config, parameters) = (&self.config, &mut self.parameters);
        dora::renew(model, compute, config, parameters, &mut Arena::new(memory))
    }

    /// Bytes that the norms take while they are made.
    pub fn norm_bytes(&self, model: &Model) -> usize {
        if self.config.dora { dora::bytes(&model.config, &self.config) } else { 0 }
    }
}
