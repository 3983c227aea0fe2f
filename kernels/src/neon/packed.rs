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

use super::int8::store;
use super::int8::{self, Rows, TOKENS, add_block, line, load, nibbles, prefetch, scales, start};
use crate::quant::{ActivationBlock, Activations, BLOCK, Format, GROUP, LINE, Packed};
use crate::quant::{Panel, ROWS, q4, q8};
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
        ([a], [y]) => q8_blocks::<1, 4>(panel, [a], [y], 0),
        ([a, b], [y, z]) => {
            q8_blocks::<2, 2>(panel, [a, b], [y, z], 0);
            q8_blocks::<2, 2>(panel, [a, b], [y, z], 2);
        }
        (x, _) => unreachable!("no sweep of {} tokens", x.len()),
    }
}

#[target_feature(enable = "neon")]
fn sweep_q4(panel: &Panel, x: &[&[ActivationBlock]], sums: &mut [[f32; ROWS]]) {
    match (x, sums) {
        ([a], [y]) => q4_blocks::<1, 4>(panel, [a], [y], 0),
        ([a, b], [y, z]) => {
            q4_blocks::<2, 2>(panel, [a, b], [y, z], 0);
            q4_blocks::<2, 2>(panel, [a, b], [y, z], 2);
        }
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

/// Both groups of a pair of groups.
#[inline]
#[target_feature(enable = "neon")]
fn spread_pair<const T: usize>(x: [&ActivationBlock; T], pair: usize) -> [[int8x16_t; 2]; T] {
    x.map(|x| [spread(x, 2 * pair), spread(x, 2 * pair + 1)])
}

#[inline]
#[target_feature(enable = "neon")]
fn q8_blocks<const T: usize, const R: usize>(
    panel: &Panel,
    x: [&[ActivationBlock]; T],
    sums: [&mut [f32; ROWS]; T],
    first: usize,
) {
    let mut y: [Rows<R>; T] = core::array::from_fn(|t| load(sums[t], first));
    let x = x.map(|x| &x[..panel.scales.len()]);
    let blocks = panel.scales.iter().zip(panel.lines.as_chunks::<{ q8::LINES }>().0);
    for (b, (scale, lines)) in blocks.enumerate() {
        if T == 1 {
            lines.iter().for_each(|line| prefetch(line));
        }
        let x = x.map(|x| &x[b]);
        let mut acc = [[[vdupq_n_s32(0); 2]; R]; T];
        q8_pair(&mut acc, &lines[0], &lines[1], first, spread_pair(x, 0));
        q8_pair(&mut acc, &lines[2], &lines[3], first, spread_pair(x, 1));
        q8_pair(&mut acc, &lines[4], &lines[5], first, spread_pair(x, 2));
        q8_pair(&mut acc, &lines[6], &lines[7], first, spread_pair(x, 3));
        let scale = scales(scale, first);
        for ((y, acc), x) in y.iter_mut().zip(acc).zip(x) {
            add_block(
                y,
                &scale,
                x.scale,
                acc.map(|[low, high]| vaddq_s32(start(0), vpaddq_s32(low, high))),
            );
        }
    }
    for (sums, y) in sums.into_iter().zip(y) {
        store(sums, first, y);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn q8_pair<const T: usize, const R: usize>(
    acc: &mut [[[int32x4_t; 2]; R]; T],
    even: &[u8; LINE],
    odd: &[u8; LINE],
    first: usize,
    x: [[int8x16_t; 2]; T],
) {
    let (even, odd): ([_; R], [_; R]) = (line(even, first), line(odd, first));
    for (r, w) in even.into_iter().zip(odd).enumerate() {
        let w = [w.0, w.1].map(|w| vreinterpretq_s8_u8(w));
        for (acc, x) in acc.iter_mut().zip(x) {
            let pairs = multiply_add(multiply(w[0], x[0]), w[1], x[1]);
            let [low, high] = acc[r];
            acc[r] = [vpadalq_s16(low, pairs[0]), vpadalq_s16(high, pairs[1])];
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn q4_blocks<const T: usize, const R: usize>(
    panel: &Panel,
    x: [&[ActivationBlock]; T],
    sums: [&mut [f32; ROWS]; T],
    first: usize,
) {
    let mut y: [Rows<R>; T] = core::array::from_fn(|t| load(sums[t], first));
    let x = x.map(|x| &x[..panel.scales.len()]);
    let blocks = panel.scales.iter().zip(panel.lines.as_chunks::<{ q4::LINES }>().0);
    for (b, (scale, lines)) in blocks.enumerate() {
        if T == 1 {
            lines.iter().for_each(|line| prefetch(line));
        }
        let x = x.map(|x| &x[b]);
        let mut acc = [[[vdupq_n_s16(0); 2]; R]; T];
        q4_pair(&mut acc, &lines[0], first, spread_pair(x, 0));
        q4_pair(&mut acc, &lines[1], first, spread_pair(x, 1));
        q4_pair(&mut acc, &lines[2], first, spread_pair(x, 2));
        q4_pair(&mut acc, &lines[3], first, spread_pair(x, 3));
        let scale = scales(scale, first);
        for ((y, acc), x) in y.iter_mut().zip(acc).zip(x) {
            let start = start(-8 * x.sum);
            // Two neighbours are two times 8 products: 2 * 8 * 15 * 127 < 2^15 still.
            let four = |[low, high]: Pairs| vpaddlq_s16(vpaddq_s16(low, high));
            add_block(y, &scale, x.scale, acc.map(|acc| vaddq_s32(four(acc), start)));
        }
    }
    for (sums, y) in sums.into_iter().zip(y) {
        store(sums, first, y);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn q4_pair<const T: usize, const R: usize>(
    acc: &mut [[Pairs; R]; T],
    bytes: &[u8; LINE],
    first: usize,
    x: [[int8x16_t; 2]; T],
) {
    for (r, bytes) in line::<R>(bytes, first).into_iter().enumerate() {
        let [low, high] = nibbles(bytes);
        for (acc, x) in acc.iter_mut().zip(x) {
            acc[r] = multiply_add(multiply_add(acc[r], low, x[0]), high, x[1]);
        }
    }
}

/// What the widths above rest on.
const _: () = assert!(BLOCK / GROUP == 8 && 2 * 8 * 15 * 127 < 1 << 15 && 2 * 128 * 127 < 1 << 15);
