//! What the int8 products of both Arm tables share: the sweep over panels and tokens, and the end
//! of a block.
//!
//! ```text
//! for 16 rows of w: a panel, which stays in the L1 cache
//!   for a few tokens:  y[t][n..n + 16] as 4 registers a token
//!     for blocks of 32:  sums as i32, exact;  y += (scale_w scale_x) (sum as f32)
//! ```
//! A token's sums are made by the same operations in the same order however many are in its tile.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::quant::{ActivationBlock, Activations, BLOCK, LINE, Packed, Panel, ROWS};
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

/// A number for each row of `R` registers of four rows, of a panel's four such registers.
pub type Rows<const R: usize> = [float32x4_t; R];

/// Registers `first ..` of a panel's sums.
#[inline]
#[target_feature(enable = "neon")]
pub fn load<const R: usize>(from: &[f32; ROWS], first: usize) -> Rows<R> {
    let from = &from.as_chunks::<4>().0[first..][..R];
    // SAFETY: a reference covers the 16 bytes read.
    core::array::from_fn(|i| unsafe { vld1q_f32(from[i].as_ptr()) })
}

/// The same the other way.
#[inline]
#[target_feature(enable = "neon")]
pub fn store<const R: usize>(to: &mut [f32; ROWS], first: usize, x: Rows<R>) {
    for (to, x) in to.as_chunks_mut::<4>().0[first..].iter_mut().zip(x) {
        // SAFETY: the reference covers the 16 bytes written.
        unsafe { vst1q_f32(to.as_mut_ptr(), x) };
    }
}

/// The scales of registers `first ..`, little-endian f16.
#[inline]
#[target_feature(enable = "neon")]
pub fn scales<const R: usize>(from: &[u8; 2 * ROWS], first: usize) -> Rows<R> {
    let from = &from.as_chunks::<8>().0[first..][..R];
    core::array::from_fn(|i| {
        // SAFETY: a reference covers the 8 bytes read.
        vcvt_f32_f16(vreinterpret_f16_u8(unsafe { vld1_u8(from[i].as_ptr()) }))
    })
}

/// 1.5 * 2^23, whose last bit is worth 1: as an integer plus `n` it is the number plus `n`, for any
/// `n` of less than 22 bits.
const MIDDLE: f32 = 12_582_912.0;
const _: () = assert!(BLOCK * 128 * 128 < 1 << 22);

/// What a block's sum starts from: [`add_block`] takes it off again.
#[inline]
#[target_feature(enable = "neon")]
pub fn start(from: i32) -> int32x4_t {
    vdupq_n_s32(MIDDLE.to_bits().cast_signed() + from)
}

/// `sums += (scales scale_x) (block - start)`: a subtraction, which starts twice a cycle, stands for
/// the conversion, which starts once.
#[inline]
#[target_feature(enable = "neon")]
pub fn add_block<const R: usize>(
    sums: &mut Rows<R>,
    scales: &Rows<R>,
    scale_x: f32,
    block: [int32x4_t; R],
) {
    for ((sum, &scale), block) in sums.iter_mut().zip(scales).zip(block) {
        let block = vsubq_f32(vreinterpretq_f32_s32(block), vdupq_n_f32(MIDDLE));
        *sum = vfmaq_f32(*sum, vmulq_n_f32(scale, scale_x), block);
    }
}

/// A register of quants.
#[inline]
#[target_feature(enable = "neon")]
pub fn quants(from: &[i8; 16]) -> int8x16_t {
    // SAFETY: the reference covers the 16 bytes read.
    unsafe { vld1q_s8(from.as_ptr()) }
}

/// Registers `first ..` of a line.
#[inline]
#[target_feature(enable = "neon")]
pub fn line<const R: usize>(from: &[u8; LINE], first: usize) -> [uint8x16_t; R] {
    let from = &from.as_chunks::<16>().0[first..][..R];
    // SAFETY: a reference covers the 16 bytes read.
    core::array::from_fn(|i| unsafe { vld1q_u8(from[i].as_ptr()) })
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
pub fn prefetch(line: &[u8; LINE]) {
    let ahead = line.as_ptr().addr().wrapping_add(AHEAD);
    // SAFETY: a hint reads and writes nothing that the program can see, at any address.
    unsafe {
        asm!("prfm pldl1strm, [{}]", in(reg) ahead, options(nomem, nostack, preserves_flags));
    }
}
