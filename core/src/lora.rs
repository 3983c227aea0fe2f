//! Low-rank adapters (Hu et al. 2021): their configuration and the layout of their parameters.

use homespun_kernels::{Data, Matrix};

use crate::config::Config;
use crate::ops::linear::Adapter;
use crate::rng::Rng;

/// A linear layer that an adapter may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `q_proj`.
    Q,
    /// `k_proj`.
    K,
    /// `v_proj`.
    V,
    /// `o_proj`.
    O,
    /// `gate_proj`.
    Gate,
    /// `up_proj`.
    Up,
    /// `down_proj`.
    Down,
}

impl Target {
    /// Every target, in the order of the parameters.
    pub const ALL: [Target; 7] =
        [Target::Q, Target::K, Target::V, Target::O, Target::Gate, Target::Up, Target::Down];

    /// The module's name.
    pub const fn name(self) -> &'static str {
        match self {
            Target::Q => "q_proj",
            Target::K => "k_proj",
            Target::V => "v_proj",
            Target::O => "o_proj",
            Target::Gate => "gate_proj",
            Target::Up => "up_proj",
            Target::Down => "down_proj",
        }
    }

    /// The block's part that holds the module: `self_attn` or `mlp`.
    pub const fn parent(self) -> &'static str {
        match self {
            Target::Q | Target::K | Target::V | Target::O => "self_attn",
            Target::Gate | Target::Up | Target::Down => "mlp",
        }
    }

    /// `(outputs, inputs)` of the frozen weight.
    pub const fn shape(self, config: &Config) -> (usize, usize) {
        match self {
            Target::Q => (config.q_dim(), config.dim),
            Target::K | Target::V => (config.kv_dim(), config.dim),
            Target::O => (config.dim, config.q_dim()),
            Target::Gate | Target::Up => (config.hidden, config.dim),
            Target::Down => (config.dim, config.hidden),
        }
    }
}

/// A set of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets(u8);

impl Targets {
    /// No target.
    pub const NONE: Targets = Targets(0);
    /// q, k, v and o, as the paper trains them.
    pub const ATTENTION: Targets = Targets(0b000_1111);
    /// All seven.
    pub const ALL: Targets = Targets(0b111_1111);

    /// This set and `target`.
    #[must_use]
    pub const fn with(self, target: Target) -> Targets {
        Targets(self.0 | 1 << target as u8)
    }

    /// Whether `target` is in the set.
    pub const fn contains(self, target: Target) -> bool {
        self.0 & (1 << target as u8) != 0
    }

    /// The targets of the set, in the order of [`Target::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Target> {
        Target::ALL.into_iter().filter(move |&t| self.contains(t))
    }
}

/// What an adapter is: its rank, its scale and where it sits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraConfig {
    /// R, at least 1.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f32,
    /// The chance that training drops a component of an adapter's input; in `0..1`.
    pub dropout: f32,
    /// The adapted layers.
    pub targets: Targets,
}

impl LoraConfig {
    /// `alpha / rank`.
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    /// Parameters of all layers.
    pub fn parameters(&self, config: &Config) -> usize {
        config.layers * self.layer_parameters(config)
    }

    /// Parameters of one layer.
    pub fn layer_parameters(&self, config: &Config) -> usize {
        self.targets.iter().map(|t| self.target_parameters(config, t)).sum()
    }

    pub(crate) fn target_parameters(&self, config: &Config, target: Target) -> usize {
        let (outputs, inputs) = target.shape(config);
        self.rank * (outputs + inputs)
    }

    /// Where `A (R, inputs)` of `target` in `layer` starts in the flat parameters; `B (outputs, R)`
    /// follows at once. `None` if the target is not adapted.
    pub fn offset(&self, config: &Config, layer: usize, target: Target) -> Option<usize> {
        self.targets.contains(target).then(|| {
            let before: usize = self
                .targets
                .iter()
                .take_while(|&t| t != target)
                .map(|t| self.target_parameters(config, t))
                .sum();
            layer * self.layer_parameters(config) + before
        })
    }
}

/// An adapter: its configuration and its parameters, flat, layer after layer.
#[derive(Clone, Copy, Debug)]
pub struct Lora<'a> {
    /// What it is.
    pub config: LoraConfig,
    /// `(LoraConfig::parameters)`.
    pub parameters: &'a [f32],
}

impl<'a> Lora<'a> {
    /// The adapter of `target` in `layer`, if there is one; the parameters' number is checked before.
    pub(crate) fn adapter(
        &self,
        config: &Config,
        layer: usize,
        target: Target,
    ) -> Option<Adapter<'a>> {
        let from = self.config.offset(config, layer, target)?;
        let (outputs, inputs) = target.shape(config);
        let rank = self.config.rank;
        let (a, b) = self.parameters[from..].split_at(rank * inputs);
        Some(Adapter {
            a: Matrix::new(Data::F32(a), rank, inputs),
            b: Matrix::new(Data::F32(&b[..outputs * rank]), outputs, rank),
            scale: self.config.scale(),
        })
    }
}

impl LoraConfig {
    /// A fresh adapter, as PEFT makes one: A uniform in +-1/sqrt(inputs) (He et al. 2015 with
    /// a = sqrt 5), B zero, so that it changes nothing yet.
    ///
    /// # Panics
    /// If `parameters` is not [`parameters`](Self::parameters) long.
    pub fn init(&self, config: &Config, rng: &mut Rng, parameters: &mut [f32]) {
        assert_eq!(parameters.len(), self.parameters(config), "one value for each parameter");
        parameters.fill(0.0);
        for layer in 0..config.layers {
            for target in self.targets.iter() {
                let Some(from) = self.offset(config, layer, target) else { continue };
                let (_, inputs) = target.shape(config);
                let bound = 1.0 / libm::sqrtf(inputs as f32);
                for a in &mut parameters[from..from + self.rank * inputs] {
                    *a = (2.0 * rng.next_f32() - 1.0) * bound;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny;

    #[test]
    fn a_fresh_adapter_has_a_uniform_a_and_a_zero_b() {
        let config = tiny();
        let lora = LoraConfig { rank: 3, alpha: 6.0, dropout: 0.0, targets: Targets::ALL };
        let mut parameters = vec![9.0; lora.parameters(&config)];
        lora.init(&config, &mut Rng::new(1), &mut parameters);
        let lora = Lora { config: lora, parameters: &parameters };
        for layer in 0..config.layers {
            for target in Target::ALL {
                let adapter = lora.adapter(&config, layer, target).unwrap();
                let bound = 1.0 / (adapter.a.cols() as f32).sqrt();
                let a = |i| adapter.a.get(i / adapter.a.cols(), i % adapter.a.cols()).abs();
                let size = adapter.a.rows() * adapter.a.cols();
                assert!((0..size).all(|i| a(i) <= bound));
                assert!((0..size).any(|i| a(i) > 0.8 * bound));
                let b = |i| adapter.b.get(i / adapter.b.cols(), i % adapter.b.cols());
                assert!((0..adapter.b.rows() * adapter.b.cols()).all(|i| b(i) == 0.0));
            }
        }
    }

    #[test]
    fn offsets_tile_the_parameters() {
        let config = tiny();
        let targets = Targets::NONE.with(Target::K).with(Target::Down);
        let lora = LoraConfig { rank: 2, alpha: 1.0, dropout: 0.0, targets };
        let mut at = 0;
        for layer in 0..config.layers {
            assert_eq!(lora.offset(&config, layer, Target::Q), None);
            for target in targets.iter() {
                assert_eq!(lora.offset(&config, layer, target), Some(at));
                at += lora.target_parameters(&config, target);
            }
        }
        assert_eq!(at, lora.parameters(&config));
    }
}
