//! The tile of int8 products in registers of 256 bits, for AVX2 and AVX-VNNI to fill in.
//!
//! ```text
//! for each block of columns                            a token's 16 sums are two registers
//!   dot = start(sum of x)
//!   for each line of the panel, each group in it       asks for the line 4 KiB on
//!     for each token   dot = step(dot, group(line, half), 4 activations to all lanes)
//!   y += (scale_w scale_x) end(dot, sum of x)
//! ```
//! `f32` sums lie on the stack: the sixteen registers hold those of integers.

use core::arch::x86_64::*;

use crate::quant::{LINE, ROWS};

/// Bytes between the weights that are asked for and those in use.
const AHEAD: usize = 4096;

/// Asks for the line [`AHEAD`] of this one.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn prefetch(line: &[u8; LINE]) {
    _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD).cast());
}

/// One group of a line of q4, each weight plus 8.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn nibbles(line: __m256i, half: usize) -> __m256i {
    let line = if half == 0 { line } else { _mm256_srli_epi16::<4>(line) };
    _mm256_and_si256(line, _mm256_set1_epi8(15))
}

/// Up to sixteen outputs; lanes without one are zero.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn load_outputs(y: &[f32]) -> [__m256; 2] {
    let mut whole = [0.0; ROWS];
    whole[..y.len()].copy_from_slice(y);
    // SAFETY: the array covers the 64 bytes read.
    unsafe { [_mm256_loadu_ps(whole.as_ptr()), _mm256_loadu_ps(whole.as_ptr().add(8))] }
}

/// Stores as many of sixteen outputs as there is room for.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn store_outputs(y: &mut [f32], sums: &[__m256; 2]) {
    let mut whole = [0.0; ROWS];
    // SAFETY: the array covers the 64 bytes written.
    unsafe {
        _mm256_storeu_ps(whole.as_mut_ptr(), sums[0]);
        _mm256_storeu_ps(whole.as_mut_ptr().add(8), sums[1]);
    }
    match y.first_chunk_mut() {
        Some(y) => *y = whole,
        None => y.copy_from_slice(&whole[..y.len()]),
    }
}

/// Writes `tile_of`, `T` tokens by a panel whose lines hold `HALVES` groups (1 in q8, 2 in q4), for
/// an instruction set whose module has `start`, `group`, `step` and `end`.
macro_rules! tiles {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        fn tile_of<const HALVES: usize, const T: usize>(
            x: Activations,
            w: Packed,
            accumulate: bool,
            y: &mut Tile,
        ) {
            use $crate::avx2::tiles::{load_outputs, prefetch, store_outputs};
            use $crate::avx2::unpack;
            let (token, blocks) = (y.rows().start, w.blocks());
            let lines_of_block = BLOCK / GROUP / HALVES;
            let x = &x.blocks()[token * blocks..][..T * blocks];
            let panel = w.panel(y.cols().start / ROWS);
            let (scales, lines) = (panel.scales, panel.lines);
            assert!(scales.len() == blocks && lines.len() == blocks * lines_of_block);
            let mut sums = [[_mm256_setzero_ps(); 2]; T];
            if accumulate {
                for (t, sums) in sums.iter_mut().enumerate() {
                    *sums = load_outputs(y.row(token + t));
                }
            }
            // No index is checked inside, or else the compiler keeps loads and sums apart.
            for block in 0..blocks {
                let mut four = [x.as_ptr(); T];
                let mut dots = [[_mm256_setzero_si256(); 2]; T];
                for (t, dots) in dots.iter_mut().enumerate() {
                    // SAFETY: `x` holds `blocks` blocks for each of `T` tokens.
                    let x = unsafe { &*x.as_ptr().add(t * blocks + block) };
                    *dots = [start::<HALVES>(x.sum); 2];
                    four[t] = x;
                }
                for i in 0..lines_of_block {
                    // SAFETY: the panel has so many lines for each block, as asserted.
                    let line = unsafe { &*lines.as_ptr().add(block * lines_of_block + i) };
                    prefetch(line);
                    let line = [unpack::line(line, 0), unpack::line(line, 1)];
                    for half in 0..HALVES {
                        let group =
                            [group::<HALVES>(line[0], half), group::<HALVES>(line[1], half)];
                        for (dots, x) in dots.iter_mut().zip(four) {
                            let x = x.cast::<i32>().wrapping_add(i * HALVES + half);
                            // SAFETY: a block's quants are 8 groups; any 4 bytes are an i32.
                            let four = _mm256_set1_epi32(unsafe { x.read_unaligned() });
                            dots[0] = step::<HALVES>(dots[0], group[0], four);
                            dots[1] = step::<HALVES>(dots[1], group[1], four);
                        }
                    }
                }
                // SAFETY: the panel has scales for each block, as asserted.
                let factors = unsafe { &*scales.as_ptr().add(block) };
                let factors = [unpack::scales(factors, 0), unpack::scales(factors, 1)];
                for (t, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let x = unsafe { &*four[t] };
                    let scale = _mm256_set1_ps(x.scale);
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let dot = _mm256_cvtepi32_ps(end::<HALVES>(dots[t][i], x.sum));
                        *sum = _mm256_fmadd_ps(dot, _mm256_mul_ps(factors[i], scale), *sum);
                    }
                }
            }
            for (t, sums) in sums.iter().enumerate() {
                store_outputs(y.row(token + t), sums);
            }
        }
    };
}
pub(crate) use tiles;
