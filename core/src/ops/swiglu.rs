//! SwiGLU (Shazeer 2020): `y = silu(gate) * up`, elementwise over `(T, H)`.

use crate::compute::{Compute, row};

/// `y = silu(gate) * up`, all `(T, H)`, rows of `width`.
pub(crate) fn forward(compute: Compute, gate: &[f32], up: &[f32], width: usize, y: &mut [f32]) {
    compute.rows(y, width, &|t, y| {
        compute.kernels.swiglu(row(gate, t, width), row(up, t, width), y);
    });
}

/// `gate` becomes `d_gate` and `up` becomes `d_up`, all `(T, H)`, rows of `width`.
pub(crate) fn backward(
    compute: Compute,
    d_y: &[f32],
    width: usize,
    gate: &mut [f32],
    up: &mut [f32],
) {
    compute.row_pairs((gate, width), (up, width), &|t, gate, up| {
        compute.kernels.swiglu_backward(row(d_y, t, width), gate, up);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradient, compute, gradient_fails, random, weighted};

    #[test]
    fn the_gradients_are_the_central_differences() {
        let n = 35;
        let (gate, up, d_y) = (random(1, n), random(2, n), random(3, n));
        let loss = |gate: &[f32], up: &[f32]| {
            let mut y = vec![0.0; n];
            forward(compute(), gate, up, 7, &mut y);
            weighted(&y, &d_y)
        };
        let (mut d_gate, mut d_up) = (gate.clone(), up.clone());
        backward(compute(), &d_y, 7, &mut d_gate, &mut d_up);
        check_gradient(&gate, &d_gate, |gate| loss(gate, &up));
        check_gradient(&up, &d_up, |up| loss(&gate, up));
        // Planted bug: the two gradients swapped.
        assert!(gradient_fails(&gate, &d_up, |gate| loss(gate, &up)));
    }
}
