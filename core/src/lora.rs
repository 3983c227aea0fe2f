//! Low-rank adapters (Hu et al. 2021): their configuration and the layout of their parameters.
//!
//! ```text
//! parameters   layer 0: A q (R, K)  B q (N, R)  A k  B k ...   layer 1: ...
//! gradients    the same, or with a frozen A only the Bs, as do an optimiser's moments:
//!              layer 0: B q  B k ...   layer 1: ...
//! ```
//! With DoRA each B is followed by more of its target: see [`dora`].

use core::ops::Range;

use homespun_kernels::{Data, Matrix};

use crate::config::Config;
use crate::dora::{self, Dora};
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

/// What the update is scaled by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scaling {
    /// `alpha / rank` (Hu et al. 2021, section 4.1).
    #[default]
    Standard,
    /// `alpha / sqrt(rank)`: rsLoRA (Kalajdzievski 2023, arXiv 2312.03732, theorem 3.2). Activations
    /// and gradients keep their size as the rank grows, so a higher rank learns more and not less.
    RankStabilised,
}

/// What an adapter is: its rank, its scale and where it sits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraConfig {
    /// R, at least 1.
    pub rank: usize,
    /// The update is scaled by `alpha` over what [`scaling`](Self::scaling) says.
    pub alpha: f32,
    /// The chance that training drops a component of an adapter's input; in `0..1`.
    pub dropout: f32,
    /// The adapted layers.
    pub targets: Targets,
    /// How the scale depends on the rank.
    pub scaling: Scaling,
    /// Whether A stays as it is and only B learns: LoRA-FA (Zhang et al. 2023, arXiv 2308.03303).
    /// Says how an adapter is trained, not what it computes.
    pub freeze_a: bool,
    /// Whether each output has a magnitude of its own: see [`dora`].
    pub dora: bool,
}

impl LoraConfig {
    /// A plain adapter: scaled by `alpha / rank`, A and B both trained.
    pub const fn new(rank: usize, alpha: f32, dropout: f32, targets: Targets) -> Self {
        let scaling = Scaling::Standard;
        Self { rank, alpha, dropout, targets, scaling, freeze_a: false, dora: false }
    }

    /// `alpha / rank`, or `alpha / sqrt(rank)`.
    pub fn scale(&self) -> f32 {
        match self.scaling {
            Scaling::Standard => self.alpha / self.rank as f32,
            Scaling::RankStabilised => self.alpha / libm::sqrtf(self.rank as f32),
        }
    }

    /// Parameters of all layers.
    pub const fn parameters(&self, config: &Config) -> usize {
        config.layers * self.layer_parameters(config)
    }

    /// Parameters of one layer.
    pub const fn layer_parameters(&self, config: &Config) -> usize {
        let (mut sum, mut i) = (0, 0);
        while i < Target::ALL.len() {
            if self.targets.contains(Target::ALL[i]) {
                sum += self.target_parameters(config, Target::ALL[i]);
            }
            i += 1;
        }
        sum
    }

    pub(crate) const fn target_parameters(&self, config: &Config, target: Target) -> usize {
        let (outputs, inputs) = target.shape(config);
        self.rank * (outputs + inputs) + if self.dora { dora::VECTORS * outputs } else { 0 }
    }

    /// Where `A (R, inputs)` of `target` in `layer` starts in the flat parameters; `B (outputs, R)`
    /// follows at once, and with DoRA the magnitudes. `None` if the target is not adapted.
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

/// What of the parameters is trained; the length of gradients and of moments.
impl LoraConfig {
    /// Trained parameters of all layers: [`parameters`](Self::parameters), less every A if they are
    /// frozen.
    pub fn trainable(&self, config: &Config) -> usize {
        config.layers * self.layer_trainable(config)
    }

    fn layer_trainable(&self, config: &Config) -> usize {
        self.targets.iter().map(|t| self.target_trainable(config, t)).sum()
    }

    /// A's parameters that are not trained.
    fn frozen(&self, config: &Config, target: Target) -> usize {
        if self.freeze_a { self.rank * target.shape(config).1 } else { 0 }
    }

    pub(crate) fn target_trainable(&self, config: &Config, target: Target) -> usize {
        self.trained_end(config, target) - self.frozen(config, target)
    }

    /// The parameters of a target up to the last one that is ever trained.
    fn trained_end(&self, config: &Config, target: Target) -> usize {
        let (outputs, inputs) = target.shape(config);
        self.rank * (outputs + inputs) + if self.dora { outputs } else { 0 }
    }

    /// Where the gradients of `target` in `layer` start in the flat gradients: those of A unless they
    /// are frozen, of B, and of magnitudes if there are any. `None` if the target is not adapted.
    pub fn gradient_offset(&self, config: &Config, layer: usize, target: Target) -> Option<usize> {
        self.targets.contains(target).then(|| {
            let before: usize = self
                .targets
                .iter()
                .take_while(|&t| t != target)
                .map(|t| self.target_trainable(config, t))
                .sum();
            layer * self.layer_trainable(config) + before
        })
    }

    /// The ranges of the flat parameters that are trained, in the order of the gradients.
    pub fn trained(&self, config: &Config) -> impl Iterator<Item = Range<usize>> {
        (0..config.layers).flat_map(move |layer| {
            self.targets.iter().filter_map(move |target| {
                let from = self.offset(config, layer, target)?;
                let to = from + self.trained_end(config, target);
                Some(from + self.frozen(config, target)..to)
            })
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
        let (a, rest) = self.parameters[from..].split_at(rank * inputs);
        let (b, rest) = rest.split_at(outputs * rank);
        Some(Adapter {
            a: Matrix::new(Data::F32(a), rank, inputs),
            b: Matrix::new(Data::F32(b), outputs, rank),
            dora: self.config.dora.then(|| Dora::new(rest, outputs)),
            scale: self.config.scale(),
            freeze_a: self.config.freeze_a,
        })
    }
}

impl LoraConfig {
    /// A fresh adapter, as PEFT makes one: A uniform in +-1/sqrt(inputs) (He et al. 2015 with
    /// a = sqrt 5), B zero, so that it changes nothing yet. What DoRA has besides is not known
    /// before [`dora::prepare`].
    ///
    /// # Panics
    /// If `parameters` is not [`parameters`](Self::parameters) long.
    pub fn init(&self, config: &Config, rng: &mut Rng, parameters: &mut [f32]) {
        assert_eq!(parameters.len(), self.parameters(config), "one value for each parameter");
        parameters.fill(0.0);
        for layer in 0..config.layers {
            for target in self.targets.iter() {
                let Some(from) = self.offset(config, layer, target) else { continue };
                let (outputs, inputs) = target.shape(config);
                let bound = 1.0 / libm::sqrtf(inputs as f32);
                for a in &mut parameters[from..from + self.rank * inputs] {
                    *a = (2.0 * rng.next_f32() - 1.0) * bound;
                }
                let low_rank = self.rank * (outputs + inputs);
                parameters[from + low_rank..from + self.target_parameters(config, target)]
                    .fill(dora::UNKNOWN);
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
        let lora = LoraConfig::new(3, 6.0, 0.0, Targets::ALL);
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
        let lora = LoraConfig::new(2, 1.0, 0.0, targets);
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

    #[test]
    fn the_scale_is_alpha_over_the_rank_or_over_its_root() {
        let plain = LoraConfig::new(16, 8.0, 0.0, Targets::ALL);
        assert_eq!(plain.scale(), 0.5);
        assert_eq!(LoraConfig { scaling: Scaling::RankStabilised, ..plain }.scale(), 2.0);
    }

    #[test]
    fn trained_ranges_are_the_gradients_in_their_order() {
        let config = tiny();
        let targets = Targets::NONE.with(Target::K).with(Target::Down);
        for (freeze_a, dora) in [(false, false), (true, false), (false, true), (true, true)] {
            let lora = LoraConfig { freeze_a, dora, ..LoraConfig::new(2, 1.0, 0.0, targets) };
            let mut trained = lora.trained(&config);
            let mut at = 0;
            for layer in 0..config.layers {
                assert_eq!(lora.gradient_offset(&config, layer, Target::Q), None);
                for target in targets.iter() {
                    assert_eq!(lora.gradient_offset(&config, layer, target), Some(at));
                    let (outputs, inputs) = target.shape(&config);
                    let from = lora.offset(&config, layer, target).unwrap();
                    let (a, b) = (2 * inputs, 2 * outputs);
                    let range = trained.next().unwrap();
                    let b = b + if dora { outputs } else { 0 };
                    assert_eq!(range, from + if freeze_a { a } else { 0 }..from + a + b);
                    at += range.len();
                }
            }
            assert_eq!(trained.next(), None);
            assert_eq!(at, lora.trainable(&config));
            assert_eq!(at == lora.parameters(&config), !freeze_a && !dora);
        }
    }
}
