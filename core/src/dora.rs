//! DoRA: each output of an adapted layer has a magnitude of its own, trained beside the direction
//! that A and B change (Liu et al. 2024, arXiv 2402.09353, equation 5).
//!
//! ```text
//! y = c o (W + s B A) x + bias        c_j = m_j / n_j        n_j = |row j of W + s B A|
//!
//! parameters of a target   A (R, K) | B (N, R) | m (N) | 1 / n (N) | |W_j|^2 (N)
//!                          `------- trained ---------'  `-- follow from the others --'
//! n_j^2 = |W_j|^2 + 2 s B_j . (A W_j) + s^2 B_j (A A^T) B_j^T
//! ```
//! In gradients n counts as a constant (section 4.3), as it does for PEFT. Dropout acts on A's input
//! alone; PEFT drops W's too while it trains. `1 / n` is made anew after each step, by a product of W
//! with the R rows of A.

use homespun_kernels::{Data, Matrix};

use crate::arena::{ALIGN, Arena, f32_bytes};
use crate::block::base_of;
use crate::compute::Compute;
use crate::config::Config;
use crate::lora::LoraConfig;
use crate::model::{Error, Model};

/// Vectors (N) of a target behind its B.
pub const VECTORS: usize = 3;

/// A magnitude or a norm that is not known yet: what is computed with it is not finite.
pub const UNKNOWN: f32 = f32::INFINITY;

/// A layer's magnitudes, borrowed from the flat parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dora<'a> {
    /// m, `(N)`.
    pub magnitude: &'a [f32],
    /// 1 / n, `(N)`.
    pub inverse: &'a [f32],
}

impl<'a> Dora<'a> {
    /// Over what follows B.
    pub(crate) fn new(vectors: &'a [f32], outputs: usize) -> Self {
        let (magnitude, rest) = vectors.split_at(outputs);
        Self { magnitude, inverse: &rest[..outputs] }
    }

    /// `c_j`.
    pub(crate) fn factor(&self, j: usize) -> f32 {
        self.magnitude[j] * self.inverse[j]
    }
}

/// Bytes of the arena that [`prepare`] and [`renew`] need.
pub fn bytes(config: &Config, lora: &LoraConfig) -> usize {
    let shapes = || lora.targets.iter().map(|target| target.shape(config));
    let outputs = shapes().map(|(outputs, _)| outputs).max().unwrap_or(0);
    let inputs = shapes().map(|(_, inputs)| inputs).max().unwrap_or(0);
    f32_bytes(&[lora.rank * outputs, lora.rank * lora.rank, inputs]) + ALIGN
}

/// Makes all that follows from the base and from A and B, and magnitudes that are [`UNKNOWN`]: then
/// the adapter changes nothing but by its B. Without DoRA it does nothing.
///
/// # Errors
/// If the parameters are not as many as `lora` says, or the arena is too small.
pub fn prepare(
    model: &Model,
    compute: Compute,
    lora: &LoraConfig,
    parameters: &mut [f32],
    arena: &mut Arena,
) -> Result<(), Error> {
    if lora.dora {
        let config = &model.config;
        let mut arena = arena.scope();
        let widest = lora.targets.iter().map(|target| target.shape(config).1).max();
        let row = arena.take_f32(widest.unwrap_or(0))?;
        each(model, lora, parameters, |weight, _, [_, _, squares]| {
            let row = &mut row[..weight.cols()];
            for (j, square) in squares.iter_mut().enumerate() {
                compute.kernels.widen_row(weight, j, row);
                *square = compute.kernels.dot(row, row);
            }
        })?;
    }
    renew(model, compute, lora, parameters, arena)?;
    if lora.dora {
        each(model, lora, parameters, |_, _, [magnitudes, inverses, _]| {
            for (m, inverse) in magnitudes.iter_mut().zip(inverses) {
                if *m == UNKNOWN {
                    *m = 1.0 / *inverse;
                }
            }
        })?;
    }
    Ok(())
}

/// Makes 1 / n anew, after A or B changed. Without DoRA it does nothing.
///
/// # Errors
/// As [`prepare`].
pub fn renew(
    model: &Model,
    compute: Compute,
    lora: &LoraConfig,
    parameters: &mut [f32],
    arena: &mut Arena,
) -> Result<(), Error> {
    if !lora.dora {
        return Ok(());
    }
    let Compute { kernels, pool, .. } = compute;
    let (rank, scale) = (lora.rank, f64::from(lora.scale()));
    let mut arena = arena.scope();
    let widest = lora.targets.iter().map(|target| target.shape(&model.config).0).max();
    let [cross, gram] = arena.take_each([rank * widest.unwrap_or(0), rank * rank])?;
    each(model, lora, parameters, |weight, (a, b), [_, inverses, squares]| {
        let outputs = weight.rows();
        let cross = &mut cross[..rank * outputs];
        kernels.matmul(pool, a, weight, false, cross);
        kernels.matmul(pool, a, Matrix::new(Data::F32(a), rank, weight.cols()), false, gram);
        for (j, (inverse, square)) in inverses.iter_mut().zip(squares).enumerate() {
            let b = &b[j * rank..(j + 1) * rank];
            let mut sum = f64::from(*square);
            for (r, &x) in b.iter().enumerate() {
                let gram = gram[r * rank..].iter().zip(b);
                let own: f64 = gram.map(|(&g, &y)| f64::from(g) * f64::from(y)).sum();
                sum +=
                    scale * f64::from(x) * (2.0 * f64::from(cross[r * outputs + j]) + scale * own);
            }
            *inverse = (1.0 / libm::sqrt(sum.max(f64::from(f32::MIN_POSITIVE)))) as f32;
        }
    })
}

/// Lends the frozen weight, A and B, and the three vectors of each target to `job`.
fn each(
    model: &Model,
    lora: &LoraConfig,
    parameters: &mut [f32],
    mut job: impl FnMut(Matrix, (&[f32], &[f32]), [&mut [f32]; VECTORS]),
) -> Result<(), Error> {
    let config = &model.config;
    let (expected, found) = (lora.parameters(config), parameters.len());
    if expected != found {
        return Err(Error::Adapter { expected, found });
    }
    for (index, layer) in model.weights.layers.iter().enumerate() {
        for target in lora.targets.iter() {
            let Some(from) = lora.offset(config, index, target) else { continue };
            let (outputs, inputs) = target.shape(config);
            let (a, rest) = parameters[from..].split_at_mut(lora.rank * inputs);
            let (b, rest) = rest.split_at_mut(lora.rank * outputs);
            let (magnitudes, rest) = rest.split_at_mut(outputs);
            let (inverses, rest) = rest.split_at_mut(outputs);
            let vectors = [magnitudes, inverses, &mut rest[..outputs]];
            job(base_of(layer, target).weight, (a, b), vectors);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Lora, Scaling, Targets};
    use crate::rng::Rng;
    use crate::testing::{Random, compute, random, tiny};
    use crate::train::{Example, Pieces, loss, loss_bytes};

    fn lora() -> LoraConfig {
        let scaling = Scaling::RankStabilised;
        LoraConfig { dora: true, scaling, ..LoraConfig::new(3, 2.0, 0.0, Targets::ALL) }
    }

    /// A prepared adapter whose B is zero or not.
    fn prepared(model: &Model, zero: bool) -> Vec<f32> {
        let (config, lora) = (model.config, lora());
        let mut parameters = vec![0.0; lora.parameters(&config)];
        lora.init(&config, &mut Rng::new(1), &mut parameters);
        if !zero {
            for range in lora.trained(&config) {
                let random = random(range.start as u64, range.len());
                parameters[range].copy_from_slice(&random);
            }
        }
        let mut memory = vec![0; bytes(&config, &lora)];
        prepare(model, compute(), &lora, &mut parameters, &mut Arena::new(&mut memory)).unwrap();
        parameters
    }

    #[test]
    fn norms_are_those_of_the_rows_of_the_whole_weight() {
        let random = Random::new(tiny());
        let layers = random.layers();
        let model = random.model(&layers);
        let mut parameters = prepared(&model, false);
        let (lora, scale) = (lora(), f64::from(lora().scale()));
        each(&model, &lora, &mut parameters, |weight, (a, b), [_, inverses, _]| {
            let (rank, inputs) = (lora.rank, weight.cols());
            for (j, &inverse) in inverses.iter().enumerate() {
                let whole = (0..inputs).map(|k| {
                    let update = (0..rank)
                        .map(|r| f64::from(b[j * rank + r]) * f64::from(a[r * inputs + k]));
                    f64::from(weight.get(j, k)) + scale * update.sum::<f64>()
                });
                let norm = whole.map(|w| w * w).sum::<f64>().sqrt();
                assert!((f64::from(inverse) * norm - 1.0).abs() < 1e-5, "{inverse} {norm}");
            }
        })
        .unwrap();
    }

    #[test]
    fn the_bytes_are_enough_for_any_rank_and_any_one_target() {
        let random = Random::new(tiny());
        let layers = random.layers();
        let model = random.model(&layers);
        let config = &model.config;
        for target in crate::lora::Target::ALL {
            for rank in [1, 2, 5] {
                let targets = Targets::NONE.with(target);
                let lora = LoraConfig { dora: true, ..LoraConfig::new(rank, 2.0, 0.0, targets) };
                let mut parameters = vec![0.0; lora.parameters(config)];
                lora.init(config, &mut Rng::new(1), &mut parameters);
                let mut memory = vec![0; bytes(config, &lora)];
                let arena = &mut Arena::new(&mut memory);
                prepare(&model, compute(), &lora, &mut parameters, arena)
                    .unwrap_or_else(|error| panic!("{} {rank}: {error}", target.name()));
            }
        }
    }

    /// The loss of a dialogue under these parameters.
    fn nll(model: &Model, lora: Option<Lora>) -> Result<f64, Error> {
        let example = Example { tokens: &[1, 2, 3, 4], targets: &[false, true, true, true], id: 0 };
        let pieces = Pieces::default();
        let config = lora.as_ref().map(|lora| &lora.config);
        let mut memory = vec![0; loss_bytes(&model.config, config, 4, pieces, 1)];
        let arena = &mut Arena::new(&mut memory);
        loss(model, compute(), lora, pieces, &[example], arena).map(|(sum, _)| sum)
    }

    #[test]
    fn a_fresh_adapter_changes_nothing_and_one_that_is_not_prepared_is_an_error() {
        let random = Random::new(tiny());
        let layers = random.layers();
        let model = random.model(&layers);
        let parameters = prepared(&model, true);
        let with = nll(&model, Some(Lora { config: lora(), parameters: &parameters })).unwrap();
        let without = nll(&model, None).unwrap();
        assert!((with - without).abs() < 1e-5 * without, "{with} {without}");
        let mut fresh = vec![0.0; parameters.len()];
        lora().init(&model.config, &mut Rng::new(1), &mut fresh);
        let error = nll(&model, Some(Lora { config: lora(), parameters: &fresh })).unwrap_err();
        assert!(matches!(error, Error::NonFinite { layer: Some(0), .. }), "{error}");
    }
}
