//! Products with packed matrices: int8 activations, and f32 ones by widening rows.
//!
//! ```text
//! y[t][n] += sum over blocks of (scale_w scale_x) (sum over the block of quant_w quant_x)
//! ```
//! The inner sum is an i32, the same on every instruction set; blocks are added in order.

use super::vector::{axpy, dot};
use crate::quant::{Activations, BLOCK, Format, Packed, ROWS, q4, q8};
use crate::tile::Tile;

/// The part `y` of `(T, N)`, from quantised activations.
pub fn forward_i8(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    let quant = match w.format() {
        Format::Q8 => q8::quant,
        Format::Q4 => q4::quant,
    };
    if !accumulate {
        y.clear();
    }
    let first = y.cols().start;
    for n in y.cols() {
        let (panel, row) = (w.panel(n / ROWS), n % ROWS);
        for block in 0..w.blocks() {
            let mut weights = [0; BLOCK];
            for (i, weight) in weights.iter_mut().enumerate() {
                *weight = quant(&panel, row, block * BLOCK + i);
            }
            let scale = panel.scale(block, row);
            for t in y.rows() {
                let x = &x.row(t)[block];
                let products = weights.iter().zip(&x.quants);
                let sum: i32 = products.map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
                y.row(t)[n - first] += scale * x.scale * sum as f32;
            }
        }
    }
}

/// The part `y` of `(T, N)`: `x` is `(T, K)`.
pub fn forward(x: &[f32], w: Packed, y: &mut Tile) {
    let (k, first) = (w.cols(), y.cols().start);
    let mut block = [0.0; 8 * BLOCK];
    for n in y.cols() {
        for from in (0..k).step_by(block.len()) {
            let to = (from + block.len()).min(k);
            let block = &mut block[..to - from];
            w.dequantize(n, from, block);
            for t in y.rows() {
                y.row(t)[n - first] += dot(&x[t * k + from..t * k + to], block);
            }
        }
    }
}

/// The part `d_x` of `(T, K)`: `d_y` is `(T, N)`.
pub fn backward(d_y: &[f32], w: Packed, d_x: &mut Tile) {
    let (n, rows) = (w.rows(), d_x.rows());
    let mut block = [0.0; 8 * BLOCK];
    for from in d_x.cols().step_by(block.len()) {
        let to = (from + block.len()).min(d_x.cols().end);
        let block = &mut block[..to - from];
        let mut part = d_x.part(rows.clone(), from..to);
        for o in 0..n {
            w.dequantize(o, from, block);
            for t in rows.clone() {
                axpy(d_y[t * n + o], block, part.row(t));
            }
        }
    }
}
