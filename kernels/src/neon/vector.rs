//! Operations over vectors: sums, the norm, exponentials and the gate.

use super::convert::Load;
use super::eight::{self, Eight, add, div, fma, larger, load, mul, splat, store, sub, sum};
use crate::matrix::Data;
use crate::tail::padded;

#[target_feature(enable = "neon")]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    let ((x4, x_rest), (y4, y_rest)) = (x.as_chunks::<4>(), y.as_chunks::<4>());
    let mut sums = [splat(0.0); 4];
    for (x, y) in x4.iter().zip(y4) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum = fma(load(x), load(y), *sum);
        }
    }
    for ((sum, x), y) in sums.iter_mut().zip(x_rest).zip(y_rest) {
        *sum = fma(load(x), load(y), *sum);
    }
    let (x, y) = (load(&padded(x_tail, 0.0)), load(&padded(y_tail, 0.0)));
    sums[3] = fma(x, y, sums[3]);
    let [a, b, c, d] = sums;
    sum(add(add(a, b), add(c, d)))
}

#[target_feature(enable = "neon")]
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    let (eights, x_tail) = x.as_chunks::<8>();
    let (y, y_tail) = y.as_chunks_mut::<8>();
    let a = splat(a);
    for (x, y) in eights.iter().zip(y) {
        store(y, fma(a, load(x), load(y)));
    }
    if !y_tail.is_empty() {
        let mut last = padded(y_tail, 0.0);
        let sum = fma(a, load(&padded(x_tail, 0.0)), load(&last));
        store(&mut last, sum);
        y_tail.copy_from_slice(&last[..y_tail.len()]);
    }
}

/// Runs `f` over `x` in place, eight at a time; the tail is padded with `fill`.
#[inline]
#[target_feature(enable = "neon")]
fn map(x: &mut [f32], fill: f32, mut f: impl FnMut(Eight) -> Eight) {
    let (eights, tail) = x.as_chunks_mut::<8>();
    for x in eights {
        store(x, f(load(x)));
    }
    if !tail.is_empty() {
        let mut last = padded(tail, fill);
        let y = f(load(&last));
        store(&mut last, y);
        tail.copy_from_slice(&last[..tail.len()]);
    }
}

#[target_feature(enable = "neon")]
pub fn exp(x: &mut [f32]) {
    map(x, 0.0, |x| eight::exp(x));
}

#[target_feature(enable = "neon")]
pub fn rmsnorm(x: &[f32], weight: Data, eps: f32, y: &mut [f32]) -> f32 {
    let scale = 1.0 / libm::sqrtf(dot(x, x) / x.len() as f32 + eps);
    match weight {
        Data::F32(weight) => scaled(x, weight, scale, y),
        Data::Bf16(weight) => scaled(x, weight, scale, y),
        Data::F16(weight) => scaled(x, weight, scale, y),
        Data::I8(weight) => scaled(x, weight, scale, y),
    }
    scale
}

#[inline]
#[target_feature(enable = "neon")]
fn scaled<W: Load>(x: &[f32], weight: &[W], scale: f32, y: &mut [f32]) {
    let ((x, x_tail), (w, w_tail)) = (x.as_chunks::<8>(), weight.as_chunks::<8>());
    let (y, y_tail) = y.as_chunks_mut::<8>();
    for ((x, w), y) in x.iter().zip(w).zip(y) {
        // SAFETY: this function runs only with the feature that `load` needs.
        let w = unsafe { W::load(w) };
        store(y, mul(mul(load(x), splat(scale)), w));
    }
    for ((x, w), y) in x_tail.iter().zip(w_tail).zip(y_tail) {
        *y = x * scale * w.to_f32();
    }
}

#[target_feature(enable = "neon")]
pub fn softmax_part(x: &mut [f32], max: f32) -> (f32, f32) {
    let max = largest(x).max(max);
    let mut sums = splat(0.0);
    map(x, f32::NEG_INFINITY, |x| {
        let e = eight::exp(sub(x, splat(max)));
        sums = add(sums, e);
        e
    });
    (max, sum(sums))
}

#[target_feature(enable = "neon")]
pub fn scale(a: f32, x: &mut [f32]) {
    map(x, 0.0, |x| mul(x, splat(a)));
}

/// The largest element that is a number, or minus infinity.
#[inline]
#[target_feature(enable = "neon")]
fn largest(x: &[f32]) -> f32 {
    let (eights, tail) = x.as_chunks::<8>();
    let mut most = load(&padded(tail, f32::NEG_INFINITY));
    for x in eights {
        most = larger(load(x), most);
    }
    let mut lanes = [0.0; 8];
    store(&mut lanes, most);
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[inline]
#[target_feature(enable = "neon")]
fn sigmoid(z: Eight) -> Eight {
    let one = splat(1.0);
    div(one, add(one, eight::exp(sub(splat(0.0), z))))
}

#[inline]
#[target_feature(enable = "neon")]
fn swiglu8(z: &[f32; 8], u: &[f32; 8]) -> Eight {
    let z = load(z);
    mul(mul(z, sigmoid(z)), load(u))
}

#[target_feature(enable = "neon")]
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    let ((z, z_tail), (u, u_tail)) = (gate.as_chunks::<8>(), up.as_chunks::<8>());
    let (y, y_tail) = y.as_chunks_mut::<8>();
    for ((z, u), y) in z.iter().zip(u).zip(y) {
        store(y, swiglu8(z, u));
    }
    if !y_tail.is_empty() {
        let mut last = [0.0; 8];
        store(&mut last, swiglu8(&padded(z_tail, 0.0), &padded(u_tail, 0.0)));
        y_tail.copy_from_slice(&last[..y_tail.len()]);
    }
}

/// `z` and `u` become their gradients.
#[inline]
#[target_feature(enable = "neon")]
fn swiglu_backward8(d: &[f32; 8], gate: &mut [f32; 8], up: &mut [f32; 8]) {
    let (d, z, u) = (load(d), load(gate), load(up));
    let one = splat(1.0);
    let s = sigmoid(z);
    let slope = fma(z, sub(one, s), one);
    store(gate, mul(mul(mul(d, u), s), slope));
    store(up, mul(mul(d, z), s));
}

#[target_feature(enable = "neon")]
pub fn swiglu_backward(d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
    let (d, d_tail) = d_y.as_chunks::<8>();
    let (z, z_tail) = gate.as_chunks_mut::<8>();
    let (u, u_tail) = up.as_chunks_mut::<8>();
    for ((d, z), u) in d.iter().zip(z).zip(u) {
        swiglu_backward8(d, z, u);
    }
    if !d_tail.is_empty() {
        let (mut z, mut u) = (padded(z_tail, 0.0), padded(u_tail, 0.0));
        swiglu_backward8(&padded(d_tail, 0.0), &mut z, &mut u);
        z_tail.copy_from_slice(&z[..z_tail.len()]);
        u_tail.copy_from_slice(&u[..u_tail.len()]);
    }
}
