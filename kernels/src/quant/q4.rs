//! Four bits: the rule that makes a block, and where a weight lies.
//!
//! ```text
//! scale    the one of a few candidates around -m / 8 and m / 7 with the least squared error,
//!          m the weight of the largest magnitude      quant = round(w / scale) in -8..=7
//! pair     = 4 (k / 32) + k % 32 / 8      byte = 4 row + k % 4, low half if k % 8 < 4
//! ```

use half::f16;

use super::{BLOCK, GROUP, LINE, Panel, nearest_integer};

/// Lines of a block.
pub(crate) const LINES: usize = BLOCK / GROUP / 2;

/// The quant of `row` at column `k`.
pub(crate) fn quant(panel: &Panel, row: usize, k: usize) -> i8 {
    let byte = panel.lines[k / (2 * GROUP)][GROUP * row + k % GROUP];
    let half = if k % (2 * GROUP) < GROUP { byte & 15 } else { byte >> 4 };
    half.cast_signed() - 8
}

/// The factors of the largest weight's own scale that are tried.
const FACTORS: [f32; 9] = [0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1.0, 1.025, 1.05];

/// Quantises up to 32 finite weights; the scale is infinite if no f16 is large enough.
pub(super) fn block(w: &[f32], quants: &mut [i8; BLOCK]) -> f16 {
    quants.fill(0);
    let most = w.iter().fold(0.0_f32, |most, &w| if w.abs() > most.abs() { w } else { most });
    let mut best = (f32::INFINITY, f16::from_f32_const(most / -8.0));
    if best.1.to_bits() << 1 == 0 {
        return f16::ZERO;
    }
    if best.1.is_infinite() {
        return best.1;
    }
    for (factor, part) in FACTORS.iter().flat_map(|f| [(f, -8.0), (f, 7.0)]) {
        let scale = f16::from_f32_const(factor * most / part);
        let error = error(w, scale.to_f32_const());
        if error < best.0 {
            best = (error, scale);
        }
    }
    for (q, &w) in quants.iter_mut().zip(w) {
        *q = nearest(w, best.1.to_f32_const()) as i8;
    }
    best.1
}

fn nearest(w: f32, scale: f32) -> f32 {
    nearest_integer((w / scale).clamp(-8.0, 7.0))
}

fn error(w: &[f32], scale: f32) -> f32 {
    let one = |&w: &f32| {
        let off = w - nearest(w, scale) * scale;
        off * off
    };
    w.iter().map(one).sum()
}

/// Puts the quants of `row` in block `block` into a panel's lines.
pub(super) fn store(quants: &[i8; BLOCK], row: usize, block: usize, lines: &mut [[u8; LINE]]) {
    for (k, q) in quants.iter().enumerate() {
        let byte = &mut lines[block * LINES + k / (2 * GROUP)][GROUP * row + k % GROUP];
        let half = (q + 8).cast_unsigned();
        *byte |= if k % (2 * GROUP) < GROUP { half } else { half << 4 };
    }
}
