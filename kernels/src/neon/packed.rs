//! Int8 products without dot instructions: `smull` and `smlal` to i16, then to i32.
//!
//! ```text
//! register   4 rows x 4 columns of weights   r0: k0 k1 k2 k3 | r1 ... | r2 ... | r3 ...
//! x          the 4 quants of those columns, in every row's place
//! q8   i16 = w x + w' x' of two groups: 2 * 128 * 127 < 2^15, so it fits; then pairs into i32
//! q4   i16 = sum over the block's 8 groups of (w + 8) x: 8 * 15 * 127 < 2^15; then pairs once
//! ```
//! The 8 of q4 is taken off by the sum that a block of activations carries.

use core::arch::aarch64::*;

use super::int8::{self, Sixteen, TOKENS, add_block, line, load, nibbles, prefetch, scales, store};
use crate::quant::{ActivationBlock, Activations, BLOCK, Format, GROUP, Packed, Panel, ROWS};
use crate::quant::{q4, q8};
use crate::tile::Tile;

/// Two tokens' i32 sums, their activations and the weights fill the registers.
const TOKENS_AT_ONCE: usize = 2;
const _: () = assert!(TOKENS_AT_ONCE <= TOKENS);

#[target_feature(enable = "neon")]
pub fn forward_i8(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    let sweep = match w.format() {
        Format::Q8 => sweep_q8,
        Format::Q4 => sweep_q4,
    };
    // SAFETY: the sweeps need the feature that this function has.
    unsafe { int8::forward(sweep, TOKENS_AT_ONCE, x, w, accumulate, y) }
}

#[target_feature(enable = "neon")]
fn sweep_q8(panel: &Panel, x: &[&[ActivationBlock]], sums: &mut [[f32; ROWS]]) {
    match (x, sums) {
        ([a], [y]) => q8_blocks(panel, [*a], [y]),
        ([a, b], [y, z]) => q8_blocks(panel, [*a, *b], [y, z]),
        (x, _) => unreachable!("no sweep of {} tokens", x.len()),
    }
}

#[target_feature(enable = "neon")]
fn sweep_q4(panel: &Panel, x: &[&[ActivationBlock]], sums: &mut [[f32; ROWS]]) {
    match (x, sums) {
        ([a], [y]) => q4_blocks(panel, [*a], [y]),
        ([a, b], [y, z]) => q4_blocks(panel, [*a, *b], [y, z]),
        (x, _) => unreachable!("no sweep of {} tokens", x.len()),
    }
}

/// Products of four rows by four columns, in i16: two registers of two rows each.
type Pairs = [int16x8_t; 2];

#[inline]
#[target_feature(enable = "neon")]
fn multiply(w: int8x16_t, x: int8x16_t) -> Pairs {
    [vmull_s8(vget_low_s8(w), vget_low_s8(x)), vmull_high_s8(w, x)]
}

#[inline]
#[target_feature(enable = "neon")]
fn multiply_add(sum: Pairs, w: int8x16_t, x: int8x16_t) -> Pairs {
    [vmlal_s8(sum[0], vget_low_s8(w), vget_low_s8(x)), vmlal_high_s8(sum[1], w, x)]
}

/// Group `group` of a block's quants, in each row's place.
#[inline]
#[target_feature(enable = "neon")]
fn spread(x: &ActivationBlock, group: usize) -> int8x16_t {
    let four = x.quants.as_chunks::<GROUP>().0[group];
    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(four.map(i8::cast_unsigned))))
}

#[inline]
#[target_feature(enable = "neon")]
fn q8_blocks<const T: usize>(
    panel: &Panel,
    x: [&[ActivationBlock]; T],
    sums: [&mut [f32; ROWS]; T],
) {
    let mut y: [Sixteen; T] = core::array::from_fn(|t| load(sums[t]));
    let blocks = panel.scales.iter().zip(panel.lines.as_chunks::<{ q8::LINES }>().0);
    for (b, (scale, lines)) in blocks.enumerate() {
        let mut acc = [[[vdupq_n_s32(0); 2]; 4]; T];
        for (g, lines) in lines.as_chunks::<2>().0.iter().enumerate() {
            if T == 1 {
                lines.iter().for_each(|line| prefetch(line));
            }
            let x: [_; T] = x.map(|x| [spread(&x[b], 2 * g), spread(&x[b], 2 * g + 1)]);
            let (first, second) = (line(&lines[0]), line(&lines[1]));
            for r in 0..4 {
                let w = [first[r], second[r]].map(|w| vreinterpretq_s8_u8(w));
                for (acc, x) in acc.iter_mut().zip(x) {
                    let pairs = multiply_add(multiply(w[0], x[0]), w[1], x[1]);
                    let [low, high] = acc[r];
                    acc[r] = [vpadalq_s16(low, pairs[0]), vpadalq_s16(high, pairs[1])];
                }
            }
        }
        let scale = scales(scale);
        for ((y, acc), x) in y.iter_mut().zip(acc).zip(x) {
            add_block(y, &scale, x[b].scale, acc.map(|[low, high]| vpaddq_s32(low, high)));
        }
    }
    for (sums, y) in sums.into_iter().zip(y) {
        store(sums, y);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn q4_blocks<const T: usize>(
    panel: &Panel,
    x: [&[ActivationBlock]; T],
    sums: [&mut [f32; ROWS]; T],
) {
    let mut y: [Sixteen; T] = core::array::from_fn(|t| load(sums[t]));
    let blocks = panel.scales.iter().zip(panel.lines.as_chunks::<{ q4::LINES }>().0);
    for (b, (scale, lines)) in blocks.enumerate() {
        let mut acc = [[[vdupq_n_s16(0); 2]; 4]; T];
        for (g, bytes) in lines.iter().enumerate() {
            if T == 1 {
                prefetch(bytes);
            }
            let x: [_; T] = x.map(|x| [spread(&x[b], 2 * g), spread(&x[b], 2 * g + 1)]);
            for (r, bytes) in line(bytes).into_iter().enumerate() {
                let [low, high] = nibbles(bytes);
                for (acc, x) in acc.iter_mut().zip(x) {
                    acc[r] = multiply_add(multiply_add(acc[r], low, x[0]), high, x[1]);
                }
            }
        }
        let scale = scales(scale);
        for ((y, acc), x) in y.iter_mut().zip(acc).zip(x) {
            let eight = vdupq_n_s32(8 * x[b].sum);
            // Two neighbours are two times 8 products: 2 * 8 * 15 * 127 < 2^15 still.
            let four = |[low, high]: Pairs| vpaddlq_s16(vpaddq_s16(low, high));
            add_block(y, &scale, x[b].scale, acc.map(|acc| vsubq_s32(four(acc), eight)));
        }
    }
    for (sums, y) in sums.into_iter().zip(y) {
        store(sums, y);
    }
}

/// What the widths above rest on.
const _: () = assert!(BLOCK / GROUP == 8 && 2 * 8 * 15 * 127 < 1 << 15 && 2 * 128 * 127 < 1 << 15);
