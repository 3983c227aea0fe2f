//! Cross-entropy of target rows over vocabulary chunks in one pass: the logits never exist whole.
//!
//! ```text
//! for each chunk of the head W:   l = x W_chunkᵀ            (T, CHUNK)
//!     z' = log(exp z + sum exp l)                            running log-sum-exp, (T)
//!     U  = U exp(z - z') + exp(l - z') W_chunk               mean of head rows, (T, D)
//! nll = z - l_target             d_x = (U - W_target) * scale
//! ```
//! The running rescale is that of online softmax (Milakov and Gimelshein 2018). The head is frozen.

use homespun_kernels::Matrix;

use crate::compute::Compute;

/// Vocabulary entries at a time.
const CHUNK: usize = 1024;

/// Lengths of the buffers of [`Scratch`] for `rows` rows.
pub(crate) const fn lengths(rows: usize, vocab: usize) -> [usize; 2] {
    [rows * if vocab < CHUNK { vocab } else { CHUNK }, 2 * rows]
}

/// `logits (T, CHUNK)`, and `z (T, 2)`: the running log-sum-exp and the former one's share of it.
pub(crate) struct Scratch<'a> {
    pub logits: &'a mut [f32],
    pub z: &'a mut [f32],
}

/// The negative log-likelihood of `targets (T)` given the normalised states `x (T, D)` and `head
/// (V, D)`, summed; where `d_x` is given, it becomes the gradient of the sum times `scale`.
pub(crate) fn forward_backward(
    compute: Compute,
    x: &[f32],
    head: Matrix,
    targets: &[u32],
    mut d_x: Option<(&mut [f32], f32)>,
    scratch: &mut Scratch,
) -> f64 {
    let Compute { kernels, pool, .. } = compute;
    let (tokens, dim, vocab) = (targets.len(), head.cols(), head.rows());
    let z = &mut scratch.z[..2 * tokens];
    z.fill(f32::NEG_INFINITY);
    if let Some((mean, _)) = &mut d_x {
        mean.fill(0.0);
    }
    let mut target_logits = 0.0;
    for from in (0..vocab).step_by(CHUNK) {
        let to = (from + CHUNK).min(vocab);
        let part = head.rows_range(from, to);
        let logits = &mut scratch.logits[..tokens * (to - from)];
        kernels.matmul(pool, x, part, false, logits);
        for (t, &target) in targets.iter().enumerate() {
            if (from..to).contains(&(target as usize)) {
                target_logits += f64::from(logits[t * (to - from) + target as usize - from]);
            }
        }
        fold(compute, logits, to - from, z, d_x.as_mut().map(|(mean, _)| &mut **mean), dim);
        if let Some((mean, _)) = &mut d_x {
            kernels.matmul_backward(pool, logits, part, true, mean);
        }
    }
    if let Some((d_x, scale)) = d_x {
        compute.rows(d_x, dim, &|t, d_x| {
            let target = targets[t] as usize;
            d_x.iter_mut().enumerate().for_each(|(i, d)| *d = (*d - head.get(target, i)) * scale);
        });
    }
    z.iter().step_by(2).map(|&z| f64::from(z)).sum::<f64>() - target_logits
}

/// Folds a chunk into `z (T, 2)`. The logits `(T, width)` become probabilities under the new sum, and
/// `mean (T, D)`, where given, is rescaled to it.
fn fold(
    compute: Compute,
    logits: &mut [f32],
    width: usize,
    z: &mut [f32],
    mean: Option<&mut [f32]>,
    dim: usize,
) {
    compute.row_pairs((logits, width), (z, 2), &|_, logits, z| {
        let chunk = compute.kernels.softmax(logits);
        let all = add_log(z[0], chunk);
        let factor = libm::expf(chunk - all);
        logits.iter_mut().for_each(|p| *p *= factor);
        z[1] = libm::expf(z[0] - all);
        z[0] = all;
    });
    if let Some(mean) = mean {
        compute.rows(mean, dim, &|t, mean| mean.iter_mut().for_each(|u| *u *= z[2 * t + 1]));
    }
}

/// `log(exp a + exp b)`; `a` may be minus infinity.
pub(crate) fn add_log(a: f32, b: f32) -> f32 {
    let max = a.max(b);
    max + libm::logf(libm::expf(a - max) + libm::expf(b - max))
}

#[cfg(test)]
mod tests {
    use homespun_kernels::Data;

    use super::*;
    use crate::testing::{check_gradient, compute, gradient_fails, random};

    fn run(x: &[f32], head: Matrix, targets: &[u32], d_x: Option<(&mut [f32], f32)>) -> f64 {
        let [logits, z] = lengths(targets.len(), head.rows());
        let mut scratch = Scratch { logits: &mut vec![0.0; logits], z: &mut vec![0.0; z] };
        forward_backward(compute(), x, head, targets, d_x, &mut scratch)
    }

    #[test]
    fn the_gradient_is_the_central_difference_over_several_chunks() {
        let (dim, vocab) = (5, 2 * CHUNK + 37);
        let weights = random(1, vocab * dim);
        let head = Matrix::new(Data::F32(&weights), vocab, dim);
        let targets = [3, CHUNK as u32, vocab as u32 - 1];
        let x: Vec<f32> = random(2, 3 * dim).iter().map(|x| 2.0 * x).collect();
        let mut d_x = vec![9.0; x.len()];
        let with = run(&x, head, &targets, Some((&mut d_x, 1.0)));
        assert_eq!(with, run(&x, head, &targets, None));
        let loss = |x: &[f32]| run(x, head, &targets, None);
        check_gradient(&x, &d_x, loss);
        let mut half = vec![0.0; x.len()];
        run(&x, head, &targets, Some((&mut half, 0.5)));
        assert!(half.iter().zip(&d_x).all(|(h, d)| (2.0 * h - d).abs() < 1e-5));
        // Planted bug: a neighbour's target row.
        for (i, d) in d_x.iter_mut().take(dim).enumerate() {
            *d += weights[3 * dim + i] - weights[4 * dim + i];
        }
        assert!(gradient_fails(&x, &d_x, loss));
    }

    #[test]
    fn the_loss_is_the_plain_log_softmax() {
        let weights = random(1, 11 * 4);
        let head = Matrix::new(Data::F32(&weights), 11, 4);
        let x = random(2, 4);
        let mut logits = vec![0.0; 11];
        compute().kernels.matmul(compute().pool, &x, head, false, &mut logits);
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let expected = sum.ln() - f64::from(logits[7]);
        assert!((run(&x, head, &[7], None) - expected).abs() < 1e-6);
    }
}
