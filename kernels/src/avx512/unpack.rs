//! Packed weights to panels of f32.
//!
//! ```text
//! line of q8         16 dwords: row r's weights 4g .. 4g + 4
//! cols (forward)     byte e of each dword → 16 rows' weight 4g + e: a row of the panel
//! rows (backward)    4 lines, transposed by dwords → row r's weights 4g .. 4g + 16
//! line of q4         its low halves are the q8 line 2p plus 8, its high halves line 2p + 1
//! ```

use core::arch::x86_64::*;

use super::convert::{Load, store};
use super::matmul::Panel;
use crate::quant::{self, BLOCK, Format, GROUP, LINE, Packed, ROWS};

/// `panel[i][j] = w[col + j][k + i]` for `j < width`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn unpack_cols(w: Packed, k: usize, col: usize, width: usize, panel: &mut Panel) {
    assert!(k.is_multiple_of(2 * GROUP) && col.is_multiple_of(ROWS), "part of a line");
    for half in 0..width.div_ceil(ROWS) {
        let from = w.panel(col / ROWS + half);
        match w.format() {
            Format::Q8 => {
                for (i, to) in panel.chunks_mut(GROUP).enumerate() {
                    let at = k / GROUP + i;
                    let quants = widen_q8(line(&from.lines[at]));
                    write_cols(&quants, scales(&from, GROUP * at / BLOCK), half, to);
                }
            }
            Format::Q4 => {
                for (i, to) in panel.chunks_mut(2 * GROUP).enumerate() {
                    let at = k / (2 * GROUP) + i;
                    let quants = widen_q4(line(&from.lines[at]));
                    write_cols(&quants, scales(&from, 2 * GROUP * at / BLOCK), half, to);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn write_cols(quants: &[__m512], scales: __m512, half: usize, to: &mut Panel) {
    for (to, quants) in to.iter_mut().zip(quants) {
        store(&mut to.as_chunks_mut::<16>().0[half], _mm512_mul_ps(*quants, scales));
    }
}

/// `panel[i][j] = w[k + i][col + j]` for `j < width`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn unpack_rows(w: Packed, k: usize, col: usize, width: usize, panel: &mut Panel) {
    assert!(k.is_multiple_of(ROWS) && col.is_multiple_of(16), "part of a panel");
    for (i, to) in panel.chunks_mut(ROWS).enumerate() {
        let from = w.panel(k / ROWS + i);
        for half in 0..width.div_ceil(16) {
            let col = col + 16 * half;
            let mut scale = [0.0; ROWS];
            store(&mut scale, scales(&from, col / BLOCK));
            let mut bytes = [[0; 16]; ROWS];
            transpose(four_lines(w.format(), from.lines, col), &mut bytes);
            for ((to, bytes), scale) in to.iter_mut().zip(&bytes).zip(scale) {
                // SAFETY: this function runs only with the features that `load` needs.
                let quants = unsafe { i8::load(bytes) };
                let weights = _mm512_mul_ps(quants, _mm512_set1_ps(scale));
                store(&mut to.as_chunks_mut::<16>().0[half], weights);
            }
        }
    }
}

/// The lines of q8 that hold columns `col .. col + 16`, whatever the format.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn four_lines(format: Format, lines: &[[u8; LINE]], col: usize) -> [__m512i; 4] {
    match format {
        Format::Q8 => {
            let lines = &lines[col / GROUP..][..4];
            [line(&lines[0]), line(&lines[1]), line(&lines[2]), line(&lines[3])]
        }
        Format::Q4 => {
            let lines = &lines[col / (2 * GROUP)..][..2];
            let (low, high) = (_mm512_set1_epi8(15), _mm512_set1_epi8(8));
            let halves = |x: __m512i| {
                let upper = _mm512_srli_epi16::<4>(x);
                [x, upper].map(|x| _mm512_sub_epi8(_mm512_and_si512(x, low), high))
            };
            let ([a, b], [c, d]) = (halves(line(&lines[0])), halves(line(&lines[1])));
            [a, b, c, d]
        }
    }
}

/// Dwords of four lines to rows of sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn transpose([a, b, c, d]: [__m512i; 4], to: &mut [[i8; 16]; ROWS]) {
    let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    // Lane l of register m is row 4 l + m.
    let rows = [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ];
    let mut put = |row: usize, x: __m128i| {
        // SAFETY: the reference covers the 16 bytes written.
        unsafe { _mm_storeu_si128(to[row].as_mut_ptr().cast(), x) }
    };
    for (m, x) in rows.into_iter().enumerate() {
        put(m, _mm512_extracti32x4_epi32::<0>(x));
        put(4 + m, _mm512_extracti32x4_epi32::<1>(x));
        put(8 + m, _mm512_extracti32x4_epi32::<2>(x));
        put(12 + m, _mm512_extracti32x4_epi32::<3>(x));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn line(bytes: &[u8; LINE]) -> __m512i {
    // SAFETY: the reference covers the 64 bytes read.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// The sixteen scales of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn scales(panel: &quant::Panel, block: usize) -> __m512 {
    let halves = &panel.scales[block];
    // SAFETY: the reference covers the 32 bytes read.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) })
}

/// A line of q8: for each of 4 columns the weights of 16 rows, unscaled.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn widen_q8(x: __m512i) -> [__m512; 4] {
    [
        _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(x)),
        _mm512_srai_epi32::<24>(_mm512_slli_epi32::<16>(x)),
        _mm512_srai_epi32::<24>(_mm512_slli_epi32::<8>(x)),
        _mm512_srai_epi32::<24>(x),
    ]
    .map(|x| _mm512_cvtepi32_ps(x))
}

/// A line of q4: for each of 8 columns the weights of 16 rows, unscaled. The look-up takes the
/// lowest four bits of each dword.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn widen_q4(x: __m512i) -> [__m512; 8] {
    let values =
        _mm512_setr_ps(-8., -7., -6., -5., -4., -3., -2., -1., 0., 1., 2., 3., 4., 5., 6., 7.);
    [
        x,
        _mm512_srli_epi32::<8>(x),
        _mm512_srli_epi32::<16>(x),
        _mm512_srli_epi32::<24>(x),
        _mm512_srli_epi32::<4>(x),
        _mm512_srli_epi32::<12>(x),
        _mm512_srli_epi32::<20>(x),
        _mm512_srli_epi32::<28>(x),
    ]
    .map(|x| _mm512_permutexvar_ps(x, values))
}
