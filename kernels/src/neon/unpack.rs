//! Packed weights to panels of f32.
//!
//! ```text
//! line of q8         16 dwords, four to a register: row r's weights 4g .. 4g + 4
//! cols (forward)     byte e of each dword → four rows' weight 4g + e: a quarter of a panel's row
//! rows (backward)    4 lines, transposed by dwords → row r's weights 4g .. 4g + 16
//! line of q4         its low halves are the q8 line 2p plus 8, its high halves line 2p + 1
//! ```

use core::arch::aarch64::*;

use super::int8::{line, nibbles, scales};
use super::matmul::transpose4;
use crate::panel::Panel;
use crate::quant::{BLOCK, Format, GROUP, LINE, Packed, ROWS};

/// Rows whose parts of a line fill a register.
const QUARTER: usize = 4;

/// `panel[i][j] = w[col + j][k + i]` for `j < width`.
#[target_feature(enable = "neon")]
pub fn unpack_cols(w: Packed, k: usize, col: usize, width: usize, panel: &mut Panel) {
    assert!(k.is_multiple_of(2 * GROUP) && col.is_multiple_of(ROWS), "part of a line");
    let from = w.panel(col / ROWS);
    for quarter in 0..width.div_ceil(QUARTER) {
        match w.format() {
            Format::Q8 => {
                for (i, to) in panel.chunks_mut(GROUP).enumerate() {
                    let at = k / GROUP + i;
                    let [scale] = scales(&from.scales[GROUP * at / BLOCK], quarter);
                    write_cols(register(&from.lines[at], quarter), scale, quarter, to);
                }
            }
            Format::Q4 => {
                for (i, to) in panel.chunks_mut(2 * GROUP).enumerate() {
                    let at = k / (2 * GROUP) + i;
                    let [scale] = scales(&from.scales[2 * GROUP * at / BLOCK], quarter);
                    let pair = halves(&from.lines[at], quarter);
                    for (quants, to) in pair.into_iter().zip(to.chunks_mut(GROUP)) {
                        write_cols(quants, scale, quarter, to);
                    }
                }
            }
        }
    }
}

/// Four columns of a quarter of a panel.
#[inline]
#[target_feature(enable = "neon")]
fn write_cols(quants: int8x16_t, scale: float32x4_t, quarter: usize, to: &mut Panel) {
    let dwords = vreinterpretq_s32_s8(quants);
    let columns =
        [vshlq_n_s32::<24>(dwords), vshlq_n_s32::<16>(dwords), vshlq_n_s32::<8>(dwords), dwords];
    for (to, column) in to.iter_mut().zip(columns) {
        let weights = vmulq_f32(vcvtq_f32_s32(vshrq_n_s32::<24>(column)), scale);
        store(&mut to.as_chunks_mut::<4>().0[quarter], weights);
    }
}

/// `panel[i][j] = w[k + i][col + j]`; columns that the matrix lacks are zeros.
#[target_feature(enable = "neon")]
pub fn unpack_rows(w: Packed, k: usize, col: usize, panel: &mut Panel) {
    assert!(k.is_multiple_of(QUARTER) && col.is_multiple_of(ROWS), "part of a panel");
    for (i, to) in panel.chunks_mut(QUARTER).enumerate() {
        let row = k + QUARTER * i;
        let (from, quarter) = (w.panel(row / ROWS), row % ROWS / QUARTER);
        let [scale] = scales(&from.scales[col / BLOCK], quarter);
        let scale: [f32; QUARTER] = lanes(scale);
        let rows = transpose(four_lines(w.format(), from.lines, col, quarter));
        for ((to, quants), scale) in to.iter_mut().zip(rows).zip(scale) {
            for (to, weights) in to.as_chunks_mut::<4>().0.iter_mut().zip(widen(quants)) {
                store(to, vmulq_n_f32(weights, scale));
            }
        }
    }
}

/// A quarter of the lines of q8 that hold columns `col .. col + 16`, whatever the format.
#[inline]
#[target_feature(enable = "neon")]
fn four_lines(format: Format, lines: &[[u8; LINE]], col: usize, quarter: usize) -> [int8x16_t; 4] {
    match format {
        Format::Q8 => {
            let lines = &lines[col / GROUP..][..4];
            [0, 1, 2, 3].map(|i| register(&lines[i], quarter))
        }
        Format::Q4 => {
            let lines = &lines[col / (2 * GROUP)..][..2];
            let ([a, b], [c, d]) = (halves(&lines[0], quarter), halves(&lines[1], quarter));
            [a, b, c, d]
        }
    }
}

/// Rows `4 quarter ..` of a line of q8.
#[inline]
#[target_feature(enable = "neon")]
fn register(bytes: &[u8; LINE], quarter: usize) -> int8x16_t {
    let [quants] = line(bytes, quarter);
    vreinterpretq_s8_u8(quants)
}

/// Rows `4 quarter ..` of a line of q4, as those of two lines of q8.
#[inline]
#[target_feature(enable = "neon")]
fn halves(bytes: &[u8; LINE], quarter: usize) -> [int8x16_t; 2] {
    let [bytes] = line(bytes, quarter);
    nibbles(bytes).map(|x| vsubq_s8(x, vdupq_n_s8(8)))
}

/// Dwords of four lines to rows of sixteen bytes.
#[inline]
#[target_feature(enable = "neon")]
fn transpose(lines: [int8x16_t; 4]) -> [int8x16_t; 4] {
    transpose4(lines.map(|x| vreinterpretq_f32_s8(x))).map(|x| vreinterpretq_s8_f32(x))
}

#[inline]
#[target_feature(enable = "neon")]
fn widen(x: int8x16_t) -> [float32x4_t; 4] {
    let (low, high) = (vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
    [
        vmovl_s16(vget_low_s16(low)),
        vmovl_high_s16(low),
        vmovl_s16(vget_low_s16(high)),
        vmovl_high_s16(high),
    ]
    .map(|x| vcvtq_f32_s32(x))
}

#[inline]
#[target_feature(enable = "neon")]
fn lanes(x: float32x4_t) -> [f32; 4] {
    let mut to = [0.0; 4];
    store(&mut to, x);
    to
}

#[inline]
#[target_feature(enable = "neon")]
fn store(to: &mut [f32; 4], x: float32x4_t) {
    // SAFETY: the reference covers the 16 bytes written.
    unsafe { vst1q_f32(to.as_mut_ptr(), x) }
}
