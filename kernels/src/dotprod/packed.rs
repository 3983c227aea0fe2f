//! Int8 products by `sdot`: four rows times four columns an instruction.
//!
//! ```text
//! acc.s[r] += sum over j < 4 of  w.b[4 r + j] x.b[4 lane + j]       sdot acc.4s, w.16b, x.4b[lane]
//! w    4 rows x 4 columns, a quarter of a line
//! x    two registers a block; a lane is the group of columns that a line holds
//! ```
//! A tile is 16 rows by one token, or 8 rows by up to four: 8 i32 accumulators, 8 f32 ones, 4
//! registers of activations. q4
//! starts its accumulators at -8 times the sum of the activations, and multiplies half-bytes as
//! they are.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::neon::int8::{self, Rows, TOKENS, add_block, line, load, nibbles, prefetch, quants};
use crate::neon::int8::{scales, start, store};
use crate::quant::{ActivationBlock, Activations, Format, LINE, Packed, Panel, ROWS, q4, q8};
use crate::tile::Tile;

#[target_feature(enable = "neon,dotprod")]
pub fn forward_i8(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    let sweep = match w.format() {
        Format::Q8 => sweep::<{ q8::LINES }>,
        Format::Q4 => sweep::<{ q4::LINES }>,
    };
    // SAFETY: the sweeps need the features that this function has.
    unsafe { int8::forward(sweep, TOKENS, x, w, accumulate, y) }
}

/// `L`, the lines of a block, tells the formats apart.
#[target_feature(enable = "neon,dotprod")]
fn sweep<const L: usize>(panel: &Panel, x: &[&[ActivationBlock]], sums: &mut [[f32; ROWS]]) {
    match (x, sums) {
        ([a], [p]) => blocks::<L, 1, 4>(panel, [a], [p], 0),
        ([a, b], [p, q]) => halves::<L, 2>(panel, [a, b], [p, q]),
        ([a, b, c], [p, q, r]) => halves::<L, 3>(panel, [a, b, c], [p, q, r]),
        ([a, b, c, d], [p, q, r, s]) => halves::<L, 4>(panel, [a, b, c, d], [p, q, r, s]),
        (x, _) => unreachable!("no sweep of {} tokens", x.len()),
    }
}

/// One half of a panel after the other.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn halves<const L: usize, const T: usize>(
    panel: &Panel,
    x: [&[ActivationBlock]; T],
    mut sums: [&mut [f32; ROWS]; T],
) {
    for first in [0, 2] {
        blocks::<L, T, 2>(panel, x, sums.each_mut().map(|sums| &mut **sums), first);
    }
}

/// A tile's sums of a block: tokens, then registers of four rows.
type Sums<const T: usize, const R: usize> = [[int32x4_t; R]; T];

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn blocks<const L: usize, const T: usize, const R: usize>(
    panel: &Panel,
    x: [&[ActivationBlock]; T],
    sums: [&mut [f32; ROWS]; T],
    first: usize,
) {
    let mut y: [Rows<R>; T] = core::array::from_fn(|t| load(sums[t], first));
    let x = x.map(|x| &x[..panel.scales.len()]);
    for (b, (scale, lines)) in panel.scales.iter().zip(panel.lines.as_chunks::<L>().0).enumerate() {
        if T == 1 {
            lines.iter().for_each(|line| prefetch(line));
        }
        let x = x.map(|x| &x[b]);
        let acc =
            if L == q8::LINES { q8_block(lines, first, x) } else { q4_block(lines, first, x) };
        let scale = scales(scale, first);
        for ((y, acc), x) in y.iter_mut().zip(acc).zip(x) {
            add_block(y, &scale, x.scale, acc);
        }
    }
    for (sums, y) in sums.into_iter().zip(y) {
        store(sums, first, y);
    }
}

/// Half of the activations, 16 of each token.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn half<const T: usize>(x: [&ActivationBlock; T], half: usize) -> [int8x16_t; T] {
    x.map(|x| quants(&x.quants.as_chunks::<16>().0[half]))
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn q8_block<const T: usize, const R: usize>(
    lines: &[[u8; LINE]],
    first: usize,
    x: [&ActivationBlock; T],
) -> Sums<T, R> {
    let mut acc = [[start(0); R]; T];
    let w = |i: usize| line(&lines[i], first).map(|w| vreinterpretq_s8_u8(w));
    let low = half(x, 0);
    group::<0, T, R>(&mut acc, w(0), low);
    group::<1, T, R>(&mut acc, w(1), low);
    group::<2, T, R>(&mut acc, w(2), low);
    group::<3, T, R>(&mut acc, w(3), low);
    let high = half(x, 1);
    group::<0, T, R>(&mut acc, w(4), high);
    group::<1, T, R>(&mut acc, w(5), high);
    group::<2, T, R>(&mut acc, w(6), high);
    group::<3, T, R>(&mut acc, w(7), high);
    acc
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn q4_block<const T: usize, const R: usize>(
    lines: &[[u8; LINE]],
    first: usize,
    x: [&ActivationBlock; T],
) -> Sums<T, R> {
    let mut acc = x.map(|x| [start(-8 * x.sum); R]);
    let low = half(x, 0);
    pair::<0, 1, T, R>(&mut acc, &lines[0], first, low);
    pair::<2, 3, T, R>(&mut acc, &lines[1], first, low);
    let high = half(x, 1);
    pair::<0, 1, T, R>(&mut acc, &lines[2], first, high);
    pair::<2, 3, T, R>(&mut acc, &lines[3], first, high);
    acc
}

/// Two groups of q4: the low halves of a line's bytes, then the high ones.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn pair<const LOW: u32, const HIGH: u32, const T: usize, const R: usize>(
    acc: &mut Sums<T, R>,
    bytes: &[u8; LINE],
    first: usize,
    x: [int8x16_t; T],
) {
    let w = line(bytes, first).map(|bytes| nibbles(bytes));
    group::<LOW, T, R>(acc, w.map(|[low, _]| low), x);
    group::<HIGH, T, R>(acc, w.map(|[_, high]| high), x);
}

/// Adds the products of a group of four columns: `w` of 16 rows, lane `LANE` of each token's `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn group<const LANE: u32, const T: usize, const R: usize>(
    acc: &mut Sums<T, R>,
    w: [int8x16_t; R],
    x: [int8x16_t; T],
) {
    for (r, w) in w.into_iter().enumerate() {
        for (acc, x) in acc.iter_mut().zip(x) {
            acc[r] = sdot::<LANE>(acc[r], w, x);
        }
    }
}

/// `acc[r] += w[4 r ..][..4] . x[4 LANE ..][..4]`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: u32>(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: this function runs only where the CPU has `sdot`; it touches these registers alone.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            acc = inout(vreg) acc, w = in(vreg) w, x = in(vreg) x, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}
