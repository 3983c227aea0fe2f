//! A frozen linear layer with an optional low-rank adapter (Hu et al. 2021, equation 3).
//!
//! ```text
//! u = dropout(x)   h = u Aᵀ (T, R)          y = x Wᵀ + bias + scale h Bᵀ
//!                  g = scale d_y B (T, R)
//! dB += scale d_yᵀ h      dA += gᵀ u        d_x = d_y W + mask(g A)
//! ```
//! `h` is made again in backward; `W` and the bias get no gradient. Under DoRA
//! ```text
//! v = x Wᵀ + scale h Bᵀ       y = c o v + bias       d_m += d_y o v / n       d_v = c o d_y
//! ```
//! and everything else has `d_v` for `d_y`.

use homespun_kernels::quant::{ActivationBlock, Activations};
use homespun_kernels::{Data, Input, Matrix, Product, Storage};

use super::dropout::Mask;
use crate::compute::{Compute, row};
use crate::dora::Dora;
use crate::weights::Linear;

/// A linear layer's adapter, borrowed from the flat parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adapter<'a> {
    /// `(R, K)`.
    pub a: Matrix<'a>,
    /// `(N, R)`.
    pub b: Matrix<'a>,
    /// What the update is scaled by.
    pub scale: f32,
    /// Whether only B has a gradient.
    pub freeze_a: bool,
    /// The outputs' magnitudes, if they have any.
    pub dora: Option<Dora<'a>>,
}

/// What linear layers write on the way.
pub(crate) struct Scratch<'a> {
    /// An adapter's input under dropout, `(T, widest K)`; empty without dropout.
    pub dropped: &'a mut [f32],
    /// An adapter's `x Aᵀ`, `(T, R)`.
    pub low: &'a mut [f32],
    /// Its gradient, `(T, R)`; empty outside training.
    pub d_low: &'a mut [f32],
    /// The input as int8, `(T, widest K / 32)`; empty in training.
    pub blocks: &'a mut [ActivationBlock],
    /// DoRA's `v`, then its gradient, `(T, widest N)`; empty without.
    pub wide: &'a mut [f32],
}

/// A linear layer, its adapter and the mask of the adapter's input.
#[derive(Clone, Copy)]
pub(crate) struct Adapted<'a> {
    pub base: Linear<'a>,
    pub adapter: Option<Adapter<'a>>,
    pub mask: Option<Mask<'a>>,
}

/// Several linear layers of one input, their products shared out together: `y = linear(x)`, or
/// `y += linear(x)` where the flag says so; `x (T, K)`, `y (T, N)`.
pub(crate) fn forward<const N: usize>(
    compute: Compute,
    x: &[f32],
    mut each: [(Adapted, bool, &mut [f32]); N],
    scratch: &mut Scratch,
) {
    let Compute { kernels, pool, .. } = compute;
    if let [(layer, true, y)] = &mut each[..]
        && layer.dora().is_some()
    {
        // Magnitudes scale the layer's own output alone: it is made apart.
        let wide = core::mem::take(&mut scratch.wide);
        let own = &mut wide[..y.len()];
        forward(compute, x, [(*layer, false, &mut *own)], scratch);
        let width = layer.base.weight.rows();
        compute.rows(y, width, &|t, y| compute.kernels.axpy(1.0, row(own, t, width), y));
        scratch.wide = wide;
        return;
    }
    for (layer, accumulate, y) in &mut each {
        if let Some(bias) = layer.bias_at_once() {
            add_bias(compute, bias, *accumulate, y);
        }
    }
    let k = each[0].0.base.weight.cols();
    let packed = |w: Matrix| matches!(w.storage(), Storage::Packed(_));
    let input = if compute.int8 && each.iter().all(|(layer, ..)| packed(layer.base.weight)) {
        let blocks = &mut scratch.blocks[..x.len() / k * Activations::width(k)];
        Input::I8(kernels.quantize(pool, x, k, blocks))
    } else {
        Input::F32(x)
    };
    let products = each.each_mut().map(|(layer, accumulate, y)| {
        let accumulate = *accumulate || layer.bias_at_once().is_some();
        Product { w: layer.base.weight, accumulate, y }
    });
    kernels.matmul_each(pool, input, products);
    for (layer, _, y) in each {
        layer.adapt(compute, x, scratch, y);
        if let Some(dora) = layer.dora() {
            let bias = |j| layer.base.bias.map_or(0.0, |bias| bias.get(j));
            compute.rows(y, layer.base.weight.rows(), &|_, y| {
                y.iter_mut().enumerate().for_each(|(j, y)| *y = dora.factor(j) * *y + bias(j));
            });
        }
    }
}

impl<'a> Adapted<'a> {
    fn dora(&self) -> Option<Dora<'a>> {
        self.adapter?.dora
    }

    /// The bias, unless magnitudes must scale the product before.
    fn bias_at_once(&self) -> Option<Data<'a>> {
        self.base.bias.filter(|_| self.dora().is_none())
    }

    /// Adds the adapter's part to `y (T, N)`.
    fn adapt(&self, compute: Compute, x: &[f32], scratch: &mut Scratch, y: &mut [f32]) {
        let Compute { kernels, pool, .. } = compute;
        let Some(adapter) = self.adapter else { return };
        let tokens = x.len() / adapter.a.cols();
        let low = &mut scratch.low[..tokens * adapter.a.rows()];
        let x = self.dropped(compute, x, scratch.dropped);
        kernels.matmul(pool, x, adapter.a, false, low);
        kernels.scale(adapter.scale, low);
        kernels.matmul(pool, low, adapter.b, true, y);
    }

    /// Adds the adapter's gradients to `gradient (R * K + N * R)`, less A's where they are frozen, more
    /// the magnitudes' `(N)` where there are any, and leaves `g` (and `d_v`) for [`backward`](Self::backward) in `scratch`.
    pub(crate) fn gradients(
        &self,
        compute: Compute,
        x: &[f32],
        d_y: &[f32],
        gradient: Option<&mut [f32]>,
        scratch: &mut Scratch,
    ) {
        let Compute { kernels, pool, .. } = compute;
        let (Some(adapter), Some(gradient)) = (self.adapter, gradient) else { return };
        let (rank, inputs) = (adapter.a.rows(), adapter.a.cols());
        let tokens = x.len() / inputs;
        let trained_a = if adapter.freeze_a { 0 } else { rank * inputs };
        let (d_a, rest) = gradient.split_at_mut(trained_a);
        let (d_b, d_m) = rest.split_at_mut(adapter.b.rows() * rank);
        let low = &mut scratch.low[..tokens * rank];
        let d_low = &mut scratch.d_low[..tokens * rank];
        let dropped = self.dropped(compute, x, scratch.dropped);
        kernels.matmul(pool, dropped, adapter.a, false, low);
        let (d_v, scale) = match adapter.dora {
            None => (d_y, adapter.scale),
            Some(dora) => {
                let v = &mut scratch.wide[..d_y.len()];
                kernels.matmul(pool, x, self.base.weight, false, v);
                kernels.scale(adapter.scale, low);
                kernels.matmul(pool, low, adapter.b, true, v);
                magnitudes_backward(compute, dora, d_y, v, d_m);
                (&*v, 1.0)
            }
        };
        kernels.outer_accumulate(pool, scale, d_v, low, tokens, d_b);
        kernels.matmul_backward(pool, d_v, adapter.b, false, d_low);
        kernels.scale(adapter.scale, d_low);
        if !adapter.freeze_a {
            kernels.outer_accumulate(pool, 1.0, d_low, dropped, tokens, d_a);
        }
    }

    /// Writes `d_x (T, K)`, or adds to it, after [`gradients`](Self::gradients) of the same layer and
    /// tokens; `d_x` may be where the input was.
    pub(crate) fn backward(
        &self,
        compute: Compute,
        d_y: &[f32],
        accumulate: bool,
        d_x: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Compute { kernels, pool, .. } = compute;
        let d_y = if self.dora().is_some() { &scratch.wide[..d_y.len()] } else { d_y };
        kernels.matmul_backward(pool, d_y, self.base.weight, accumulate, d_x);
        let Some(adapter) = self.adapter else { return };
        let (rank, inputs) = (adapter.a.rows(), adapter.a.cols());
        let d_low = &scratch.d_low[..d_x.len() / inputs * rank];
        match self.mask {
            None => kernels.matmul_backward(pool, d_low, adapter.a, true, d_x),
            Some(mask) => {
                let d_dropped = &mut scratch.dropped[..d_x.len()];
                kernels.matmul_backward(pool, d_low, adapter.a, false, d_dropped);
                mask.backward(compute, d_dropped, inputs, d_x);
            }
        }
    }

    /// The adapter's input.
    fn dropped<'x>(&self, compute: Compute, x: &'x [f32], dropped: &'x mut [f32]) -> &'x [f32] {
        match self.mask {
            None => x,
            Some(mask) => {
                let dropped = &mut dropped[..x.len()];
                mask.forward(compute, x, self.base.weight.cols(), dropped);
                dropped
            }
        }
    }
}

/// `d_m += d_y o v / n`; then `v (T, N)` becomes its gradient `c o d_y`.
fn magnitudes_backward(compute: Compute, dora: Dora, d_y: &[f32], v: &mut [f32], d_m: &mut [f32]) {
    let width = d_m.len();
    for (d_y, v) in d_y.chunks_exact(width).zip(v.chunks_exact(width)) {
        for (j, d_m) in d_m.iter_mut().enumerate() {
            *d_m += d_y[j] * v[j] * dora.inverse[j];
        }
    }
    compute.rows(v, width, &|t, v| {
        let d_y = row(d_y, t, width);
        v.iter_mut().enumerate().for_each(|(j, v)| *v = dora.factor(j) * d_y[j]);
    });
}

/// `y = bias` in every row, or `y += bias`.
fn add_bias(compute: Compute, bias: Data, accumulate: bool, y: &mut [f32]) {
    compute.rows(y, bias.len(), &|_, y| {
        if accumulate {
            y.iter_mut().enumerate().for_each(|(i, y)| *y += bias.get(i));
        } else {
            compute.kernels.widen(bias, y);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::Target;
    use crate::ops::dropout::Dropout;
    use crate::testing::{check_gradient, compute, gradient_fails, random, weighted};

    const T: usize = 5;
    const K: usize = 7;
    const N: usize = 6;
    const R: usize = 2;

    struct Case {
        w: Vec<f32>,
        bias: Vec<f32>,
        parameters: Vec<f32>,
        keys: Option<Vec<u64>>,
        freeze_a: bool,
        dora: bool,
    }

    impl Case {
        fn new(dropout: bool) -> Self {
            let key = |p| Dropout { seed: 1, step: 2 }.row_key(3, p);
            Self {
                w: random(1, N * K),
                bias: random(2, N),
                parameters: random(3, R * K + N * R + 2 * N),
                keys: dropout.then(|| (0..T).map(key).collect()),
                freeze_a: false,
                dora: false,
            }
        }

        /// Trained parameters.
        fn trained(&self) -> usize {
            let a = if self.freeze_a { 0 } else { R * K };
            a + N * R + if self.dora { N } else { 0 }
        }

        fn run(&self, parameters: &[f32], job: impl FnOnce(Adapted, &mut Scratch)) {
            let (a, rest) = parameters.split_at(R * K);
            let (b, vectors) = rest.split_at(N * R);
            let adapted = Adapted {
                base: Linear {
                    weight: Matrix::new(Data::F32(&self.w), N, K),
                    bias: Some(Data::F32(&self.bias)),
                },
                adapter: Some(Adapter {
                    a: Matrix::new(Data::F32(a), R, K),
                    b: Matrix::new(Data::F32(b), N, R),
                    scale: 1.5,
                    freeze_a: self.freeze_a,
                    dora: self.dora.then(|| Dora::new(vectors, N)),
                }),
                mask: self.keys.as_deref().map(|keys| Mask::new(keys, 1, Target::Q, 0.3)),
            };
            let mut scratch = Scratch {
                dropped: &mut [0.0; T * K],
                low: &mut [0.0; T * R],
                d_low: &mut [0.0; T * R],
                blocks: &mut [],
                wide: &mut [0.0; T * N],
            };
            job(adapted, &mut scratch);
        }

        fn loss(&self, x: &[f32], parameters: &[f32], d_y: &[f32]) -> f64 {
            let mut y = vec![0.5; T * N];
            self.run(parameters, |l, scratch| {
                forward(compute(), x, [(l, true, &mut y[..])], scratch);
            });
            weighted(&y, d_y)
        }
    }

    #[test]
    fn the_gradients_are_the_central_differences_with_and_without_dropout_and_magnitudes() {
        for (dropout, dora) in [(false, false), (true, false), (false, true), (true, true)] {
            let case = Case { dora, ..Case::new(dropout) };
            let (x, d_y) = (random(5, T * K), random(6, T * N));
            let (mut d_x, mut d_parameters) = (vec![0.0; x.len()], vec![0.0; case.trained()]);
            case.run(&case.parameters, |l, scratch| {
                l.gradients(compute(), &x, &d_y, Some(&mut d_parameters[..]), scratch);
                l.backward(compute(), &d_y, false, &mut d_x, scratch);
            });
            check_gradient(&x, &d_x, |x| case.loss(x, &case.parameters, &d_y));
            // The norms behind the magnitudes count as constants.
            let (trained, norms) = case.parameters.split_at(case.trained());
            let of_parameters = |trained: &[f32]| case.loss(&x, &[trained, norms].concat(), &d_y);
            check_gradient(trained, &d_parameters, of_parameters);
            // Planted bug: one component of dB forgotten.
            d_parameters[R * K + 1] = 0.0;
            assert!(gradient_fails(trained, &d_parameters, of_parameters));
        }
    }

    #[test]
    fn a_frozen_a_changes_no_other_gradient() {
        for (dropout, dora) in [(false, false), (true, false), (true, true)] {
            let mut case = Case { dora, ..Case::new(dropout) };
            let (x, d_y) = (random(5, T * K), random(6, T * N));
            let mut run = |freeze_a: bool| {
                case.freeze_a = freeze_a;
                let (mut d_x, mut gradient) = (vec![0.0; x.len()], vec![0.0; case.trained()]);
                case.run(&case.parameters, |l, scratch| {
                    l.gradients(compute(), &x, &d_y, Some(&mut gradient), scratch);
                    l.backward(compute(), &d_y, false, &mut d_x, scratch);
                });
                (d_x, gradient)
            };
            let (d_x, gradient) = run(false);
            assert_eq!(run(true), (d_x, gradient[R * K..].to_vec()));
        }
    }
}
