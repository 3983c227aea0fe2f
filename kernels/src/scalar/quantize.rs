//! f32 activations to int8, a block of 32 at a time.
//!
//! ```text
//! scale = max |x| / 127     quant = x * (127 / max |x|) to the nearest, ties to even
//! ```
//! A block with an infinity or a NaN gets a scale that is one, so that it shows in every product.

use crate::quant::{ActivationBlock, BLOCK, factor};

/// One token: `x` is `(K)`, `to` its blocks.
pub fn quantize(x: &[f32], to: &mut [ActivationBlock]) {
    for (x, to) in x.chunks(BLOCK).zip(to) {
        // As integers, NaNs are larger than infinity and all else.
        let bits = x.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
        let most = f32::from_bits(bits);
        let factor = factor(most);
        to.quants.fill(0);
        for (q, x) in to.quants.iter_mut().zip(x) {
            *q = libm::rintf(x * factor) as i8;
        }
        to.scale = most / 127.0;
        to.sum = to.quants.iter().map(|&q| i32::from(q)).sum();
    }
}
