//! What the tests of this crate share: random tensors, a tiny model and the gradient check.

use homespun_kernels::quant::{Format, Packed, pack};
use homespun_kernels::{Data, Isa, Kernels, Matrix};

use crate::compute::Compute;
use crate::config::{Config, RopeScaling};
use crate::family::Family;
use crate::model::Model;
use crate::rng::Rng;
use crate::weights::{Layer, Linear, Weights};

/// The scalar kernels on one thread.
pub(crate) fn compute() -> Compute<'static> {
    Compute::serial(Kernels::for_isa(Isa::Scalar).unwrap())
}

/// `n` numbers in -1..1.
pub(crate) fn random(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| 2.0 * rng.next_f32() - 1.0).collect()
}

/// `sum_i y_i w_i`: a loss whose gradient in `y` is `w`.
pub(crate) fn weighted(y: &[f32], w: &[f32]) -> f64 {
    y.iter().zip(w).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
}

/// The largest difference between `gradient` and central differences of `loss` at `x`, relative to
/// the largest central difference.
fn deviation(x: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) -> f64 {
    assert_eq!(x.len(), gradient.len());
    let (mut largest, mut worst) = (1e-6_f64, 0.0_f64);
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        let step = 4e-3_f32;
        moved[i] = x[i] + step;
        let (up, above) = (loss(&moved), moved[i]);
        moved[i] = x[i] - step;
        let (down, under) = (loss(&moved), moved[i]);
        moved[i] = x[i];
        let expected = (up - down) / f64::from(above - under);
        largest = largest.max(expected.abs());
        worst = worst.max((expected - f64::from(gradient[i])).abs());
    }
    worst / largest
}

/// Central differences in f32 agree with a right gradient to about this.
const TOLERANCE: f64 = 2e-3;

/// Asserts that `gradient` is that of `loss` at `x`.
pub(crate) fn check_gradient(x: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) {
    let deviation = deviation(x, gradient, loss);
    assert!(deviation < TOLERANCE, "the gradient is off by {deviation:.1e}");
}

/// Whether [`check_gradient`] would fail.
pub(crate) fn gradient_fails(x: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) -> bool {
    deviation(x, gradient, loss) >= TOLERANCE
}

/// A tiny shape: two layers, grouped queries, nothing special.
pub(crate) const fn tiny() -> Config {
    Config {
        family: Family::Llama,
        dim: 12,
        hidden: 20,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        vocab: 31,
        max_context: 256,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        tied: false,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
    }
}

/// Random weights of a shape.
pub(crate) struct Random {
    pub config: Config,
    pub tensors: Vec<Vec<f32>>,
    /// The matrices among them, packed; empty where the model is dense.
    packed: Vec<Vec<u8>>,
    format: Format,
}

/// Tensors of a layer: norms, then weight and bias of each linear layer.
const LAYER: usize = 4 + 14;

impl Random {
    pub(crate) fn new(config: Config) -> Self {
        use crate::lora::Target;
        let mut tensors = Vec::new();
        let mut add = |n: usize, scale: f32, shift: f32| {
            let seed = 100 + tensors.len() as u64;
            tensors.push(random(seed, n).iter().map(|x| shift + scale * x).collect());
        };
        for _ in 0..config.layers {
            add(config.dim, 0.3, 1.0);
            add(config.dim, 0.3, 1.0);
            add(config.head_dim, 0.3, 1.0);
            add(config.head_dim, 0.3, 1.0);
            for target in Target::ALL {
                let (outputs, inputs) = target.shape(&config);
                add(outputs * inputs, 1.5 / (inputs as f32).sqrt(), 0.0);
                add(outputs, 0.3, 0.0);
            }
        }
        add(config.dim, 0.3, 1.0);
        add(config.vocab * config.dim, 1.0, 0.0);
        add(config.vocab * config.dim, 1.0, 0.0);
        Self { config, tensors, packed: Vec::new(), format: Format::Q8 }
    }

    /// The same with packed matrices, and the dense model of exactly these weights.
    pub(crate) fn quantised(config: Config, format: Format) -> (Self, Self) {
        use crate::lora::Target;
        let (mut dense, mut quantised) = (Self::new(config), Self::new(config));
        quantised.format = format;
        quantised.packed = vec![Vec::new(); dense.tensors.len()];
        let linear = |layer: usize, target: Target| {
            let (outputs, inputs) = target.shape(&config);
            (layer * LAYER + 4 + 2 * target as usize, outputs, inputs)
        };
        let layers = (0..config.layers).flat_map(|l| Target::ALL.map(|target| linear(l, target)));
        let last = config.layers * LAYER;
        let tables = [1, 2].map(|i| (last + i, config.vocab, config.dim));
        for (at, rows, cols) in layers.chain(tables) {
            let mut bytes = vec![0; format.bytes(rows, cols).unwrap()];
            pack(format, Data::F32(&dense.tensors[at]), rows, cols, &mut bytes).unwrap();
            let packed = Packed::new(format, &bytes, rows, cols).unwrap();
            for (row, out) in dense.tensors[at].chunks_exact_mut(cols).enumerate() {
                packed.dequantize(row, 0, out);
            }
            quantised.packed[at] = bytes;
        }
        (quantised, dense)
    }

    fn matrix(&self, at: usize, rows: usize, cols: usize) -> Matrix<'_> {
        match self.packed.get(at) {
            None => Matrix::new(Data::F32(&self.tensors[at]), rows, cols),
            Some(bytes) => Matrix::packed(Packed::new(self.format, bytes, rows, cols).unwrap()),
        }
    }

    pub(crate) fn layers(&self) -> Vec<Layer<'_>> {
        use crate::lora::Target;
        let c = &self.config;
        (0..c.layers)
            .map(|l| {
                let data = |i: usize| Data::F32(&self.tensors[l * LAYER + i]);
                let linear = |target: Target, bias: bool| {
                    let (outputs, inputs) = target.shape(c);
                    let at = 4 + 2 * target as usize;
                    Linear {
                        weight: self.matrix(l * LAYER + at, outputs, inputs),
                        bias: bias.then(|| data(at + 1)),
                    }
                };
                Layer {
                    input_norm: data(0),
                    post_norm: data(1),
                    q_norm: c.qk_norm.then(|| data(2)),
                    k_norm: c.qk_norm.then(|| data(3)),
                    q_proj: linear(Target::Q, c.qkv_bias),
                    k_proj: linear(Target::K, c.qkv_bias),
                    v_proj: linear(Target::V, c.qkv_bias),
                    o_proj: linear(Target::O, c.o_bias),
                    gate_proj: linear(Target::Gate, c.mlp_bias),
                    up_proj: linear(Target::Up, c.mlp_bias),
                    down_proj: linear(Target::Down, c.mlp_bias),
                }
            })
            .collect()
    }

    pub(crate) fn model<'a>(&'a self, layers: &'a [Layer<'a>]) -> Model<'a> {
        let c = self.config;
        let norm = Data::F32(&self.tensors[c.layers * LAYER]);
        let at = c.layers * LAYER;
        let embed = self.matrix(at + 1, c.vocab, c.dim);
        let head = if c.tied { embed } else { self.matrix(at + 2, c.vocab, c.dim) };
        Model { config: c, weights: Weights { embed, layers, norm, head } }
    }
}
