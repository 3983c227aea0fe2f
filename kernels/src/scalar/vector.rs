//! Operations over vectors: sums, the norm, exponentials and the gate.

use super::convert::Stored;
use crate::matrix::Data;

pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    let (x, x_tail) = x.as_chunks::<8>();
    let (y, y_tail) = y.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for (x, y) in x.iter().zip(y) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(x_tail).zip(y_tail) {
        *lane += x * y;
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

pub fn exp(x: &mut [f32]) {
    for x in x {
        *x = libm::expf(*x);
    }
}

pub fn rmsnorm(x: &[f32], weight: Data, eps: f32, y: &mut [f32]) -> f32 {
    fn scaled<W: Stored>(x: &[f32], weight: &[W], scale: f32, y: &mut [f32]) {
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = x * scale * w.to_f32();
        }
    }
    let scale = 1.0 / libm::sqrtf(dot(x, x) / x.len() as f32 + eps);
    match weight {
        Data::F32(weight) => scaled(x, weight, scale, y),
        Data::Bf16(weight) => scaled(x, weight, scale, y),
        Data::F16(weight) => scaled(x, weight, scale, y),
        Data::I8(weight) => scaled(x, weight, scale, y),
    }
    scale
}

pub fn softmax_part(x: &mut [f32], max: f32) -> (f32, f32) {
    let max = x.iter().copied().fold(max, f32::max);
    let mut sum = 0.0;
    for x in x {
        *x = libm::expf(*x - max);
        sum += *x;
    }
    (max, sum)
}

pub fn scale(a: f32, x: &mut [f32]) {
    for x in x {
        *x *= a;
    }
}

fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-z))
}

pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, &z), &u) in y.iter_mut().zip(gate).zip(up) {
        *y = z * sigmoid(z) * u;
    }
}

pub fn swiglu_backward(d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
    for ((&d, z), u) in d_y.iter().zip(gate).zip(up) {
        let s = sigmoid(*z);
        let d_up = d * *z * s;
        *z = d * *u * s * (1.0 + *z * (1.0 - s));
        *u = d_up;
    }
}
