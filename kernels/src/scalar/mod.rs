//! Plain Rust: the specification of every kernel, bit-identical on every target.

use crate::matrix::{Data, Matrix};

pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).fold(0.0, |sum, (x, y)| sum + x * y)
}

pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

pub fn rmsnorm(x: &[f32], weight: Data, eps: f32, y: &mut [f32]) -> f32 {
    let scale = 1.0 / libm::sqrtf(dot(x, x) / x.len() as f32 + eps);
    for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
        *y = x * scale * weight.get(i);
    }
    scale
}

pub fn softmax(x: &mut [f32]) -> f32 {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in x.iter_mut() {
        *x = libm::expf(*x - max);
        sum += *x;
    }
    for x in x.iter_mut() {
        *x /= sum;
    }
    max + libm::logf(sum)
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

pub fn widen(x: Data, y: &mut [f32]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = x.get(i);
    }
}

pub fn matmul(x: &[f32], w: Matrix, accumulate: bool, y: &mut [f32]) {
    let (n, k) = (w.rows(), w.cols());
    for (x, y) in x.chunks_exact(k).zip(y.chunks_exact_mut(n)) {
        for (o, y) in y.iter_mut().enumerate() {
            let row = w.row(o);
            let sum = (0..k).fold(0.0, |sum, i| sum + x[i] * row.get(i));
            *y = if accumulate { *y + sum } else { sum };
        }
    }
}

pub fn matmul_backward(d_y: &[f32], w: Matrix, accumulate: bool, d_x: &mut [f32]) {
    let (n, k) = (w.rows(), w.cols());
    if !accumulate {
        d_x.fill(0.0);
    }
    for (d_y, d_x) in d_y.chunks_exact(n).zip(d_x.chunks_exact_mut(k)) {
        for (o, d_y) in d_y.iter().enumerate() {
            let row = w.row(o);
            for (i, d_x) in d_x.iter_mut().enumerate() {
                *d_x += d_y * row.get(i);
            }
        }
    }
}

pub fn outer_accumulate(a: f32, d_y: &[f32], x: &[f32], tokens: usize, d_w: &mut [f32]) {
    let (n, k) = (d_y.len() / tokens.max(1), x.len() / tokens.max(1));
    for t in 0..tokens {
        for o in 0..n {
            axpy(a * d_y[t * n + o], &x[t * k..(t + 1) * k], &mut d_w[o * k..(o + 1) * k]);
        }
    }
}
