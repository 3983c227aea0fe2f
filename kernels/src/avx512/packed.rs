//! Int8 products by AVX512-VNNI: `vpdpbusd` takes a whole line, 16 rows by 4 columns, at a time.
//!
//! ```text
//!            panel p      panel p + 1       line of weights, made unsigned: w + 128 or w + 8
//! token t    [16 sums]    [16 sums]    +=   line · (4 activations, to all lanes)
//! ..t+6      ...          ...
//! block's end:  y += (scale_w scale_x) sum;  sums restart at -128 (or -8) times the block's sum of x
//! ```
//! Twelve i32 sums and twelve f32 ones fill the registers; one token alone streams one panel.

use core::arch::x86_64::*;

use crate::quant::sweep::Sweep;
use crate::quant::{Activations, BLOCK, Format, GROUP, LINE, Packed, Panel, ROWS};
use crate::tile::Tile;

const SWEEP: Sweep = Sweep { tokens: 6, panels: 2, tile };

/// Bytes between the weights that are asked for and those in use.
const AHEAD: usize = 4096;

/// The part `y` of `(T, N)`, from quantised activations.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub fn forward_i8(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    let one = y.rows().len() == 1;
    let sweep = Sweep { panels: if one { 1 } else { SWEEP.panels }, ..SWEEP };
    // SAFETY: this function runs only with the features of `tile`.
    unsafe { sweep.run(x, w, accumulate, y) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    match w.format() {
        Format::Q8 => tile_of_format::<1>(x, w, accumulate, y),
        Format::Q4 => tile_of_format::<2>(x, w, accumulate, y),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile_of_format<const HALVES: usize>(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    match (y.rows().len(), y.cols().len().div_ceil(ROWS)) {
        (1, 1) => tile_of::<HALVES, 1, 1>(x, w, accumulate, y),
        (2, 1) => tile_of::<HALVES, 2, 1>(x, w, accumulate, y),
        (3, 1) => tile_of::<HALVES, 3, 1>(x, w, accumulate, y),
        (4, 1) => tile_of::<HALVES, 4, 1>(x, w, accumulate, y),
        (5, 1) => tile_of::<HALVES, 5, 1>(x, w, accumulate, y),
        (6, 1) => tile_of::<HALVES, 6, 1>(x, w, accumulate, y),
        (1, 2) => tile_of::<HALVES, 1, 2>(x, w, accumulate, y),
        (2, 2) => tile_of::<HALVES, 2, 2>(x, w, accumulate, y),
        (3, 2) => tile_of::<HALVES, 3, 2>(x, w, accumulate, y),
        (4, 2) => tile_of::<HALVES, 4, 2>(x, w, accumulate, y),
        (5, 2) => tile_of::<HALVES, 5, 2>(x, w, accumulate, y),
        (6, 2) => tile_of::<HALVES, 6, 2>(x, w, accumulate, y),
        (tokens, panels) => unreachable!("no tile of {tokens} tokens and {panels} panels"),
    }
}

/// `T` tokens by `P` panels whose lines hold `HALVES` groups: 1 in q8, 2 in q4.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile_of<const HALVES: usize, const T: usize, const P: usize>(
    x: Activations,
    w: Packed,
    accumulate: bool,
    y: &mut Tile,
) {
    let (token, blocks) = (y.rows().start, w.blocks());
    let lines_of_block = BLOCK / GROUP / HALVES;
    let x = &x.blocks()[token * blocks..][..T * blocks];
    let mut panels = [Panel { scales: &[], lines: &[] }; P];
    for (p, panel) in panels.iter_mut().enumerate() {
        *panel = w.panel(y.cols().start / ROWS + p);
        assert!(panel.scales.len() == blocks && panel.lines.len() == blocks * lines_of_block);
    }
    let mut sums = [[_mm512_setzero_ps(); P]; T];
    if accumulate {
        for (t, sums) in sums.iter_mut().enumerate() {
            for (sum, y) in sums.iter_mut().zip(y.row(token + t).chunks(ROWS)) {
                // SAFETY: the mask covers no more than the elements of `y`.
                *sum = unsafe { _mm512_maskz_loadu_ps(mask(y.len()), y.as_ptr()) };
            }
        }
    }
    // No index is checked inside, or else the compiler keeps loads and sums apart.
    for block in 0..blocks {
        let mut four = [x.as_ptr(); T];
        let mut dots = [[_mm512_setzero_si512(); P]; T];
        for (t, dots) in dots.iter_mut().enumerate() {
            // SAFETY: `x` holds `blocks` blocks for each of `T` tokens.
            let x = unsafe { &*x.as_ptr().add(t * blocks + block) };
            let offset = if HALVES == 1 { -128 } else { -8 };
            *dots = [_mm512_set1_epi32(offset * x.sum); P];
            four[t] = x;
        }
        for i in 0..lines_of_block {
            let mut line = [_mm512_setzero_si512(); P];
            for (line, panel) in line.iter_mut().zip(&panels) {
                // SAFETY: the panel has so many lines for each block, as asserted.
                let from = unsafe { &*panel.lines.as_ptr().add(block * lines_of_block + i) };
                *line = load(from);
            }
            for half in 0..HALVES {
                let mut group = line;
                for group in &mut group {
                    *group = unsigned::<HALVES>(*group, half);
                }
                for (dots, x) in dots.iter_mut().zip(four) {
                    // SAFETY: a block's quants are 8 groups; any 4 bytes are an i32.
                    let four = unsafe { x.cast::<i32>().add(i * HALVES + half).read_unaligned() };
                    let four = _mm512_set1_epi32(four);
                    for (dot, group) in dots.iter_mut().zip(group) {
                        *dot = _mm512_dpbusd_epi32(*dot, group, four);
                    }
                }
            }
        }
        let mut factors = [_mm512_setzero_ps(); P];
        for (factors, panel) in factors.iter_mut().zip(&panels) {
            // SAFETY: the panel has scales for each block, as asserted.
            *factors = widen(unsafe { &*panel.scales.as_ptr().add(block) });
        }
        for (t, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let scale = _mm512_set1_ps(unsafe { (*four[t]).scale });
            for (p, sum) in sums.iter_mut().enumerate() {
                let dot = _mm512_cvtepi32_ps(dots[t][p]);
                *sum = _mm512_fmadd_ps(dot, _mm512_mul_ps(factors[p], scale), *sum);
            }
        }
    }
    for (t, sums) in sums.iter().enumerate() {
        for (y, sum) in y.row(token + t).chunks_mut(ROWS).zip(sums) {
            // SAFETY: the mask covers no more than the elements of `y`.
            unsafe { _mm512_mask_storeu_ps(y.as_mut_ptr(), mask(y.len()), *sum) }
        }
    }
}

/// The lanes of `len` elements, at most sixteen.
#[inline]
fn mask(len: usize) -> __mmask16 {
    u16::MAX >> (ROWS - len)
}

/// A line; the one [`AHEAD`] of it is asked for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn load(line: &[u8; LINE]) -> __m512i {
    _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD).cast());
    // SAFETY: the reference covers the 64 bytes read.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}

/// A group of a line, each weight plus 128 (q8) or 8 (q4).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn unsigned<const HALVES: usize>(line: __m512i, half: usize) -> __m512i {
    match (HALVES, half) {
        (1, _) => _mm512_xor_si512(line, _mm512_set1_epi8(-128)),
        (_, 0) => _mm512_and_si512(line, _mm512_set1_epi8(15)),
        _ => _mm512_and_si512(_mm512_srli_epi16::<4>(line), _mm512_set1_epi8(15)),
    }
}

/// Sixteen scales.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn widen(scales: &[u8; 2 * ROWS]) -> __m512 {
    // SAFETY: the reference covers the 32 bytes read.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(scales.as_ptr().cast()) })
}
