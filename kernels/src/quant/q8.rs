//! Eight bits: the rule that makes a block, and where a weight lies.
//!
//! ```text
//! scale = the least f16 with 127 scale >= max |w|      quant = round(w / scale)
//! line  = 8 (k / 32) + k % 32 / 4      byte = 4 row + k % 4
//! ```
//! The error of a weight is at most half a scale: 1/254 of the largest of its 32.

use half::f16;

use super::{BLOCK, GROUP, LINE, Panel, nearest_integer};

/// Lines of a block.
pub(crate) const LINES: usize = BLOCK / GROUP;

/// The quant of `row` at column `k`.
pub(crate) fn quant(panel: &Panel, row: usize, k: usize) -> i8 {
    panel.lines[k / GROUP][GROUP * row + k % GROUP].cast_signed()
}

/// Quantises up to 32 finite weights; the scale is infinite if no f16 is large enough.
pub(super) fn block(w: &[f32], quants: &mut [i8; BLOCK]) -> f16 {
    let most = w.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
    let mut scale = f16::from_f32_const(most / 127.0);
    if 127.0 * scale.to_f32_const() < most {
        scale = f16::from_bits(scale.to_bits() + 1);
    }
    quants.fill(0);
    if scale.to_bits() != 0 {
        for (q, w) in quants.iter_mut().zip(w) {
            *q = nearest_integer(w / scale.to_f32_const()) as i8;
        }
    }
    scale
}

/// Puts the quants of `row` in block `block` into a panel's lines.
pub(super) fn store(quants: &[i8; BLOCK], row: usize, block: usize, lines: &mut [[u8; LINE]]) {
    for (k, q) in quants.iter().enumerate() {
        lines[block * LINES + k / GROUP][GROUP * row + k % GROUP] = q.cast_unsigned();
    }
}
