//! Low-rank adapters (Hu et al. 2021): their configuration and the layout of their parameters.

use crate::config::Config;

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

    fn target_parameters(&self, config: &Config, target: Target) -> usize {
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
