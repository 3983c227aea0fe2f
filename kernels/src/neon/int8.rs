//! What the int8 products of both Arm tables share: the sweep over panels and tokens, and the end of
//! a block.
//!
//! ```text
//! for 16 rows of w: a panel, which stays in the L1 cache
//!   for a few tokens:  y[t][n..n + 16] as 4 registers a token
//!     for blocks of 32:  sums as i32, exact;  y += (scale_w scale_x) (sum as f32)
//! ```
//! A token's sums are made by the same operations in the same order however many are in its tile.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::quant::{ActivationBlock, Activations, Packed, Panel, ROWS};
use crate::tile::Tile;

/// Adds to each token's 16 sums the products of its blocks with a panel.
pub type Sweep = unsafe fn(&Panel, &[&[ActivationBlock]], &mut [[f32; ROWS]]);

/// The most tokens of a sweep.
pub const TOKENS: usize = 4;

/// The part `y` of `(T, N)`, `tokens` (at most [`TOKENS`]) at a time.
///
/// # Safety
/// The CPU must have the instructions of `sweep`.
#[target_feature(enable = "neon")]
pub unsafe fn forward(
    sweep: Sweep,
    tokens: usize,
    x: Activations,
    w: Packed,
    accumulate: bool,
    y: &mut Tile,
) {
    let (rows, cols) = (y.rows(), y.cols());
    let mut col = cols.start;
    while col < cols.end {
        let (panel, from) = (w.panel(col / ROWS), col % ROWS);
        let end = (col + ROWS - from).min(cols.end);
        for t in rows.clone().step_by(tokens) {
            let len = tokens.min(rows.end - t);
            let mut sums = [[0.0; ROWS]; TOKENS];
            let mut blocks: [&[ActivationBlock]; TOKENS] = [&[]; TOKENS];
            let mut y = y.part(t..t + len, col..end);
            for (i, blocks) in blocks[..len].iter_mut().enumerate() {
                *blocks = x.row(t + i);
                if accumulate {
                    sums[i][from..][..end - col].copy_from_slice(y.row(t + i));
                }
            }
            // SAFETY: the caller's promise.
            unsafe { sweep(&panel, &blocks[..len], &mut sums[..len]) };
            for (i, sums) in sums[..len].iter().enumerate() {
                y.row(t + i).copy_from_slice(&sums[from..][..end - col]);
            }
        }
        col = end;
    }
}

/// Sixteen sums in four registers.
pub type Sixteen = [float32x4_t; 4];

/// Four registers of numbers.
#[inline]
#[target_feature(enable = "neon")]
pub fn load(from: &[f32; ROWS]) -> Sixteen {
    // SAFETY: the reference covers the 64 bytes read.
    core::array::from_fn(|i| unsafe { vld1q_f32(from.as_ptr().add(4 * i)) })
}

/// Four registers to memory.
#[inline]
#[target_feature(enable = "neon")]
pub fn store(to: &mut [f32; ROWS], x: Sixteen) {
    for (to, x) in to.as_chunks_mut::<4>().0.iter_mut().zip(x) {
        // SAFETY: the reference covers the 16 bytes written.
        unsafe { vst1q_f32(to.as_mut_ptr(), x) };
    }
}

/// Sixteen scales, little-endian f16.
#[inline]
#[target_feature(enable = "neon")]
pub fn scales(from: &[u8; 2 * ROWS]) -> Sixteen {
    // SAFETY: the reference covers the 32 bytes read.
    let halves: [_; 2] = core::array::from_fn(|i| unsafe { vld1q_u8(from.as_ptr().add(16 * i)) });
    let [low, high] = halves.map(|halves| vreinterpretq_f16_u8(halves));
    [
        vcvt_f32_f16(vget_low_f16(low)),
        vcvt_high_f32_f16(low),
        vcvt_f32_f16(vget_low_f16(high)),
        vcvt_high_f32_f16(high),
    ]
}

/// `sums += (scales scale_x) (block as f32)`.
#[inline]
#[target_feature(enable = "neon")]
pub fn add_block(sums: &mut Sixteen, scales: &Sixteen, scale_x: f32, block: [int32x4_t; 4]) {
    for ((sum, &scale), block) in sums.iter_mut().zip(scales).zip(block) {
        *sum = vfmaq_f32(*sum, vmulq_n_f32(scale, scale_x), vcvtq_f32_s32(block));
    }
}

/// A register of quants.
#[inline]
#[target_feature(enable = "neon")]
pub fn quants(from: &[i8; 16]) -> int8x16_t {
    // SAFETY: the reference covers the 16 bytes read.
    unsafe { vld1q_s8(from.as_ptr()) }
}

/// Four registers of a line: four rows each.
#[inline]
#[target_feature(enable = "neon")]
pub fn line(from: &[u8; 64]) -> [uint8x16_t; 4] {
    // SAFETY: the reference covers the 64 bytes read.
    core::array::from_fn(|i| unsafe { vld1q_u8(from.as_ptr().add(16 * i)) })
}

/// The low and the high halves of bytes, 0 to 15 each: a quant of q4 plus 8.
#[inline]
#[target_feature(enable = "neon")]
pub fn nibbles(bytes: uint8x16_t) -> [int8x16_t; 2] {
    [vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8::<4>(bytes)].map(|x| vreinterpretq_s8_u8(x))
}

/// How far ahead of the multiplications weights are asked for, in bytes: a guess at the latency of
/// memory (100 ns) times a core's share of its bandwidth, rounded up; not measured on a board.
const AHEAD: usize = 2048;

/// Asks for the 64 bytes that lie [`AHEAD`] of `line`, wherever that is: a prefetch never faults.
#[inline]
#[target_feature(enable = "neon")]
pub fn prefetch(line: &[u8; 64]) {
    let ahead = line.as_ptr().addr().wrapping_add(AHEAD);
    // SAFETY: a hint reads and writes nothing that the program can see, at any address.
    unsafe {
        asm!("prfm pldl1strm, [{}]", in(reg) ahead, options(nomem, nostack, preserves_flags));
    }
}
