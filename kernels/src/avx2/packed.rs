//! Int8 products by AVX2: `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs in i16.
//!
//! ```text
//! q8   |w| · (x with the sign of w), two products a lane: at most 2 · 127 · 127, then pairs in i32
//! q4   (w + 8) · x, two products a lane, and 8 groups of them: at most 2 · 8 · 15 · 127 = 30,480;
//!      at the block's end pairs in i32, less 8 times the block's sum of x
//! ```

use core::arch::x86_64::*;

use super::tiles::{nibbles, tiles};
use crate::quant::sweep::Sweep;
use crate::quant::{Activations, BLOCK, Format, GROUP, Packed, ROWS};
use crate::tile::Tile;

/// The part `y` of `(T, N)`, from quantised activations.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn forward_i8(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    let sweep = Sweep { tokens: 4, panels: 1, tile };
    // SAFETY: this function runs only with the features of `tile`.
    unsafe { sweep.run(x, w, accumulate, y) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn tile(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    match (w.format(), y.rows().len()) {
        (Format::Q8, 1) => tile_of::<1, 1>(x, w, accumulate, y),
        (Format::Q8, 2) => tile_of::<1, 2>(x, w, accumulate, y),
        (Format::Q8, 3) => tile_of::<1, 3>(x, w, accumulate, y),
        (Format::Q8, 4) => tile_of::<1, 4>(x, w, accumulate, y),
        (Format::Q4, 1) => tile_of::<2, 1>(x, w, accumulate, y),
        (Format::Q4, 2) => tile_of::<2, 2>(x, w, accumulate, y),
        (Format::Q4, 3) => tile_of::<2, 3>(x, w, accumulate, y),
        (Format::Q4, 4) => tile_of::<2, 4>(x, w, accumulate, y),
        (_, tokens) => unreachable!("no tile of {tokens} tokens"),
    }
}

tiles!("avx2,fma,f16c");

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn start<const HALVES: usize>(_: i32) -> __m256i {
    _mm256_setzero_si256()
}

/// Signed weights of q8, those of q4 plus 8.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn group<const HALVES: usize>(line: __m256i, half: usize) -> __m256i {
    if HALVES == 1 { line } else { nibbles(line, half) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn step<const HALVES: usize>(dot: __m256i, group: __m256i, four: __m256i) -> __m256i {
    if HALVES == 1 {
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(group), _mm256_sign_epi8(four, group));
        _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    } else {
        _mm256_add_epi16(dot, _mm256_maddubs_epi16(group, four))
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn end<const HALVES: usize>(dot: __m256i, sum: i32) -> __m256i {
    if HALVES == 1 {
        dot
    } else {
        let dot = _mm256_madd_epi16(dot, _mm256_set1_epi16(1));
        _mm256_sub_epi32(dot, _mm256_set1_epi32(8 * sum))
    }
}
