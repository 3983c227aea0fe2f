//! The three products of a linear layer. Weights are widened row by row, a block at a time.
//!
//! ```text
//! forward   y[t][n]   += sum_k x[t][k] w[n][k]      one dot a block of k, blocks in order
//! backward  d_x[t][k] += sum_n d_y[t][n] w[n][k]    one axpy a row of w, rows in order
//! outer     d_w[n][k] += a d_y[t][n] x[t][k]        one axpy a token, tokens in order
//! ```

use super::convert::{Stored, widen_slice};
use super::packed;
use super::vector::{axpy, dot};
use crate::matrix::{Data, Matrix, Storage};
use crate::tile::Tile;

/// Weights widened at once.
const BLOCK: usize = 256;

/// The part `y` of `(T, N)`: `x` is `(T, K)`, `w` is `(N, K)`.
pub fn forward(x: &[f32], w: Matrix, accumulate: bool, y: &mut Tile) {
    if !accumulate {
        y.clear();
    }
    match w.storage() {
        Storage::Dense(Data::F32(data)) => forward_stored(x, data, w.cols(), y),
        Storage::Dense(Data::Bf16(data)) => forward_stored(x, data, w.cols(), y),
        Storage::Dense(Data::F16(data)) => forward_stored(x, data, w.cols(), y),
        Storage::Dense(Data::I8(data)) => forward_stored(x, data, w.cols(), y),
        Storage::Packed(w) => packed::forward(x, w, y),
    }
}

fn forward_stored<W: Stored>(x: &[f32], w: &[W], k: usize, y: &mut Tile) {
    let mut block = [0.0; BLOCK];
    let first = y.cols().start;
    for n in y.cols() {
        for from in (0..k).step_by(BLOCK) {
            let to = (from + BLOCK).min(k);
            let block = &mut block[..to - from];
            widen_slice(&w[n * k + from..n * k + to], block);
            for t in y.rows() {
                y.row(t)[n - first] += dot(&x[t * k + from..t * k + to], block);
            }
        }
    }
}

/// The part `d_x` of `(T, K)`: `d_y` is `(T, N)`, `w` is `(N, K)`.
pub fn backward(d_y: &[f32], w: Matrix, accumulate: bool, d_x: &mut Tile) {
    if !accumulate {
        d_x.clear();
    }
    match w.storage() {
        Storage::Dense(Data::F32(data)) => backward_stored(d_y, data, w.rows(), w.cols(), d_x),
        Storage::Dense(Data::Bf16(data)) => backward_stored(d_y, data, w.rows(), w.cols(), d_x),
        Storage::Dense(Data::F16(data)) => backward_stored(d_y, data, w.rows(), w.cols(), d_x),
        Storage::Dense(Data::I8(data)) => backward_stored(d_y, data, w.rows(), w.cols(), d_x),
        Storage::Packed(w) => packed::backward(d_y, w, d_x),
    }
}

fn backward_stored<W: Stored>(d_y: &[f32], w: &[W], n: usize, k: usize, d_x: &mut Tile) {
    let mut block = [0.0; BLOCK];
    for from in d_x.cols().step_by(BLOCK) {
        let to = (from + BLOCK).min(d_x.cols().end);
        let block = &mut block[..to - from];
        let rows = d_x.rows();
        let mut part = d_x.part(rows.clone(), from..to);
        for o in 0..n {
            widen_slice(&w[o * k + from..o * k + to], block);
            for t in rows.clone() {
                axpy(d_y[t * n + o], block, part.row(t));
            }
        }
    }
}

/// The part `d_w` of `(N, K)`: `d_y` is `(T, N)`, `x` is `(T, K)`; `tokens` is not zero.
pub fn outer(a: f32, d_y: &[f32], x: &[f32], tokens: usize, d_w: &mut Tile) {
    let (n, k, cols) = (d_y.len() / tokens, x.len() / tokens, d_w.cols());
    for t in 0..tokens {
        let x = &x[t * k..][cols.clone()];
        for o in d_w.rows() {
            axpy(a * d_y[t * n + o], x, d_w.row(o));
        }
    }
}
