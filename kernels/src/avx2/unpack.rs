//! Packed weights to panels of f32.
//!
//! ```text
//! line of q8         16 dwords, eight to a register: row r's weights 4g .. 4g + 4
//! cols (forward)     byte e of each dword → eight rows' weight 4g + e: half a row of the panel
//! rows (backward)    4 lines, transposed by dwords → row r's weights 4g .. 4g + 16
//! line of q4         its low halves are the q8 line 2p plus 8, its high halves line 2p + 1
//! ```

use core::arch::x86_64::*;

use super::convert::{Load, store};
use crate::panel::Panel;
use crate::quant::{BLOCK, Format, GROUP, LINE, Packed, ROWS};

/// Rows whose parts of a line fill a register.
const HALF: usize = 8;

/// `panel[i][j] = w[col + j][k + i]` for `j < width`.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn unpack_cols(w: Packed, k: usize, col: usize, width: usize, panel: &mut Panel) {
    assert!(k.is_multiple_of(2 * GROUP) && col.is_multiple_of(ROWS), "part of a line");
    let from = w.panel(col / ROWS);
    for half in 0..width.div_ceil(HALF) {
        match w.format() {
            Format::Q8 => {
                for (i, to) in panel.chunks_mut(GROUP).enumerate() {
                    let at = k / GROUP + i;
                    let quants = widen(line(&from.lines[at], half));
                    write_cols(&quants, scales(&from.scales[GROUP * at / BLOCK], half), half, to);
                }
            }
            Format::Q4 => {
                for (i, to) in panel.chunks_mut(2 * GROUP).enumerate() {
                    let at = k / (2 * GROUP) + i;
                    let scales = scales(&from.scales[2 * GROUP * at / BLOCK], half);
                    let lines = halves(line(&from.lines[at], half));
                    for (line, to) in lines.into_iter().zip(to.chunks_mut(GROUP)) {
                        write_cols(&widen(line), scales, half, to);
                    }
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn write_cols(quants: &[__m256; 4], scales: __m256, half: usize, to: &mut Panel) {
    for (to, quants) in to.iter_mut().zip(quants) {
        store(&mut to.as_chunks_mut::<8>().0[half], _mm256_mul_ps(*quants, scales));
    }
}

/// `panel[i][j] = w[k + i][col + j]` for `j < width`.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn unpack_rows(w: Packed, k: usize, col: usize, width: usize, panel: &mut Panel) {
    assert!(k.is_multiple_of(HALF) && col.is_multiple_of(16), "part of a panel");
    for (i, to) in panel.chunks_mut(HALF).enumerate() {
        let row = k + HALF * i;
        let (from, half) = (w.panel(row / ROWS), row % ROWS / HALF);
        let mut scale = [0.0; HALF];
        store(&mut scale, scales(&from.scales[col / BLOCK], half));
        let mut bytes = [[0; 16]; HALF];
        transpose(four_lines(w.format(), from.lines, col, half), &mut bytes);
        for ((to, bytes), scale) in to.iter_mut().zip(&bytes).zip(scale) {
            let eights = bytes.as_chunks::<8>().0.iter().take(width.div_ceil(8));
            for (to, bytes) in to.as_chunks_mut::<8>().0.iter_mut().zip(eights) {
                // SAFETY: this function runs only with the features that `load` needs.
                let quants = unsafe { i8::load(bytes) };
                store(to, _mm256_mul_ps(quants, _mm256_set1_ps(scale)));
            }
        }
    }
}

/// Half of the lines of q8 that hold columns `col .. col + 16`, whatever the format.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn four_lines(format: Format, lines: &[[u8; LINE]], col: usize, half: usize) -> [__m256i; 4] {
    match format {
        Format::Q8 => {
            let lines = &lines[col / GROUP..][..4];
            [0, 1, 2, 3].map(|i| line(&lines[i], half))
        }
        Format::Q4 => {
            let lines = &lines[col / (2 * GROUP)..][..2];
            let ([a, b], [c, d]) = (halves(line(&lines[0], half)), halves(line(&lines[1], half)));
            [a, b, c, d]
        }
    }
}

/// A register of q4 as two of q8.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn halves(x: __m256i) -> [__m256i; 2] {
    let (low, offset) = (_mm256_set1_epi8(15), _mm256_set1_epi8(8));
    [x, _mm256_srli_epi16::<4>(x)].map(|x| _mm256_sub_epi8(_mm256_and_si256(x, low), offset))
}

/// Dwords of four lines to rows of sixteen bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn transpose([a, b, c, d]: [__m256i; 4], to: &mut [[i8; 16]; HALF]) {
    let (ab, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    // Lane l of register m is row 4 l + m.
    let rows = [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ];
    let mut put = |row: usize, x: __m128i| {
        // SAFETY: the reference covers the 16 bytes written.
        unsafe { _mm_storeu_si128(to[row].as_mut_ptr().cast(), x) }
    };
    for (m, x) in rows.into_iter().enumerate() {
        put(m, _mm256_castsi256_si128(x));
        put(4 + m, _mm256_extracti128_si256::<1>(x));
    }
}

/// Rows `8 half ..` of a line.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn line(bytes: &[u8; LINE], half: usize) -> __m256i {
    let bytes = &bytes.as_chunks::<32>().0[half];
    // SAFETY: the reference covers the 32 bytes read.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// The scales of rows `8 half ..` of a block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn scales(halves: &[u8; 2 * ROWS], half: usize) -> __m256 {
    let halves = &halves.as_chunks::<16>().0[half];
    // SAFETY: the reference covers the 16 bytes read.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
}

/// Half a line of q8: for each of 4 columns the weights of eight rows, unscaled.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn widen(x: __m256i) -> [__m256; 4] {
    [
        _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(x)),
        _mm256_srai_epi32::<24>(_mm256_slli_epi32::<16>(x)),
        _mm256_srai_epi32::<24>(_mm256_slli_epi32::<8>(x)),
        _mm256_srai_epi32::<24>(x),
    ]
    .map(|x| _mm256_cvtepi32_ps(x))
}
