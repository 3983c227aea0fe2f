//! Int8 products by AVX-VNNI: `vpdpbusd` multiplies unsigned by signed bytes and adds fours in i32.
//!
//! ```text
//! weights made unsigned: w + 128 (q8) or w + 8 (q4)
//! a block's sums begin at -128 (or -8) times its sum of x
//! ```

use core::arch::x86_64::*;

use crate::avx2::tiles::{nibbles, tiles};
use crate::quant::sweep::Sweep;
use crate::quant::{Activations, BLOCK, Format, GROUP, Packed, ROWS};
use crate::tile::Tile;

/// The part `y` of `(T, N)`, from quantised activations.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub fn forward_i8(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    // As many as registers hold; lines of q4 need two more.
    let tokens = match w.format() {
        Format::Q8 => 6,
        Format::Q4 => 5,
    };
    let sweep = Sweep { tokens, panels: 1, tile };
    // SAFETY: this function runs only with the features of `tile`.
    unsafe { sweep.run(x, w, accumulate, y) }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn tile(x: Activations, w: Packed, accumulate: bool, y: &mut Tile) {
    match (w.format(), y.rows().len()) {
        (Format::Q8, 1) => tile_of::<1, 1>(x, w, accumulate, y),
        (Format::Q8, 2) => tile_of::<1, 2>(x, w, accumulate, y),
        (Format::Q8, 3) => tile_of::<1, 3>(x, w, accumulate, y),
        (Format::Q8, 4) => tile_of::<1, 4>(x, w, accumulate, y),
        (Format::Q8, 5) => tile_of::<1, 5>(x, w, accumulate, y),
        (Format::Q8, 6) => tile_of::<1, 6>(x, w, accumulate, y),
        (Format::Q4, 1) => tile_of::<2, 1>(x, w, accumulate, y),
        (Format::Q4, 2) => tile_of::<2, 2>(x, w, accumulate, y),
        (Format::Q4, 3) => tile_of::<2, 3>(x, w, accumulate, y),
        (Format::Q4, 4) => tile_of::<2, 4>(x, w, accumulate, y),
        (Format::Q4, 5) => tile_of::<2, 5>(x, w, accumulate, y),
        (_, tokens) => unreachable!("no tile of {tokens} tokens"),
    }
}

tiles!("avx2,fma,f16c,avxvnni");

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn start<const HALVES: usize>(sum: i32) -> __m256i {
    _mm256_set1_epi32(if HALVES == 1 { -128 * sum } else { -8 * sum })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn group<const HALVES: usize>(line: __m256i, half: usize) -> __m256i {
    match HALVES {
        1 => _mm256_xor_si256(line, _mm256_set1_epi8(-128)),
        _ => nibbles(line, half),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn step<const HALVES: usize>(dot: __m256i, group: __m256i, four: __m256i) -> __m256i {
    _mm256_dpbusd_avx_epi32(dot, group, four)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn end<const HALVES: usize>(dot: __m256i, _: i32) -> __m256i {
    dot
}
