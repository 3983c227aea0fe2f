//! Int8 products by `sdot`: four rows times four columns an instruction.
//!
//! ```text
//! acc.s[r] += sum over j < 4 of  w.b[4 r + j] x.b[4 lane + j]       sdot acc.4s, w.16b, x.4b[lane]
//! w    4 rows x 4 columns, a quarter of a line
//! x    two registers a block; a lane is the group of columns that a line holds
//! ```
//! A tile is 16 rows by up to four tokens: 16 i32 accumulators, 8 registers of activations. q4 starts
//! its accumulators at -8 times the sum of the activations, and multiplies half-bytes as they are.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::neon::int8::{self, Sixteen, TOKENS, add_block, line, load, nibbles, prefetch, quants};
use crate::neon::int8::{scales, store};
use crate::quant::{ActivationBlock, Activations, Format, LINE, Packed, Panel, ROWS, q4, q8};
use crate::tile::Tile;

#[target_feature(enable = "neon,dotprod")]
pub fn forward_i8(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    let sweep = match w.format() {
        Format::Q8 => sweep::<{ Q8 }>,
        Format::Q4 => sweep::<{ Q4 }>,
    };
    // SAFETY: the sweeps need the features that this function has.
    unsafe { int8::forward(sweep, TOKENS, x, w, accumulate, y) }
}

/// A format as a number, for it to be a parameter of a function.
const Q8: usize = 8;
const Q4: usize = 4;

#[target_feature(enable = "neon,dotprod")]
fn sweep<const F: usize>(panel: &Panel, x: &[&[ActivationBlock]], sums: &mut [[f32; ROWS]]) {
    match (x, sums) {
        ([a], [p]) => blocks::<F, 1>(panel, [*a], [p]),
        ([a, b], [p, q]) => blocks::<F, 2>(panel, [*a, *b], [p, q]),
        ([a, b, c], [p, q, r]) => blocks::<F, 3>(panel, [*a, *b, *c], [p, q, r]),
        ([a, b, c, d], [p, q, r, s]) => blocks::<F, 4>(panel, [*a, *b, *c, *d], [p, q, r, s]),
        (x, _) => unreachable!("no sweep of {} tokens", x.len()),
    }
}

/// A tile's sums of a block: tokens, then four registers of four rows.
type Sums<const T: usize> = [[int32x4_t; 4]; T];

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn blocks<const F: usize, const T: usize>(
    panel: &Panel,
    x: [&[ActivationBlock]; T],
    sums: [&mut [f32; ROWS]; T],
) {
    let mut y: [Sixteen; T] = core::array::from_fn(|t| load(sums[t]));
    let lines = if F == Q8 { q8::LINES } else { q4::LINES };
    for (b, (scale, lines)) in panel.scales.iter().zip(panel.lines.chunks_exact(lines)).enumerate()
    {
        let x = x.map(|x| &x[b]);
        let acc = if F == Q8 { q8_block(lines, x) } else { q4_block(lines, x) };
        let scale = scales(scale);
        for ((y, acc), x) in y.iter_mut().zip(acc).zip(x) {
            add_block(y, &scale, x.scale, acc);
        }
    }
    for (sums, y) in sums.into_iter().zip(y) {
        store(sums, y);
    }
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn q8_block<const T: usize>(lines: &[[u8; LINE]], x: [&ActivationBlock; T]) -> Sums<T> {
    let mut acc = [[vdupq_n_s32(0); 4]; T];
    for (half, lines) in lines.as_chunks::<4>().0.iter().enumerate() {
        if T == 1 {
            lines.iter().for_each(|line| prefetch(line));
        }
        let x = x.map(|x| quants(&x.quants.as_chunks::<16>().0[half]));
        let w = |i: usize| line(&lines[i]).map(|w| vreinterpretq_s8_u8(w));
        group::<0, T>(&mut acc, w(0), x);
        group::<1, T>(&mut acc, w(1), x);
        group::<2, T>(&mut acc, w(2), x);
        group::<3, T>(&mut acc, w(3), x);
    }
    acc
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn q4_block<const T: usize>(lines: &[[u8; LINE]], x: [&ActivationBlock; T]) -> Sums<T> {
    let mut acc = x.map(|x| [vdupq_n_s32(-8 * x.sum); 4]);
    for (half, lines) in lines.as_chunks::<2>().0.iter().enumerate() {
        if T == 1 {
            lines.iter().for_each(|line| prefetch(line));
        }
        let x = x.map(|x| quants(&x.quants.as_chunks::<16>().0[half]));
        for (pair, bytes) in lines.iter().enumerate() {
            let w = line(bytes).map(|bytes| nibbles(bytes));
            let (low, high) = (w.map(|[low, _]| low), w.map(|[_, high]| high));
            if pair == 0 {
                group::<0, T>(&mut acc, low, x);
                group::<1, T>(&mut acc, high, x);
            } else {
                group::<2, T>(&mut acc, low, x);
                group::<3, T>(&mut acc, high, x);
            }
        }
    }
    acc
}

/// Adds the products of a group of four columns: `w` of 16 rows, lane `LANE` of each token's `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn group<const LANE: u32, const T: usize>(acc: &mut Sums<T>, w: [int8x16_t; 4], x: [int8x16_t; T]) {
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
