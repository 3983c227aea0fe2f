//! Sixteen registers of sixteen: rows become columns.

use core::arch::x86_64::*;

/// Rows become columns.
///
/// ```text
/// 2 x 2 blocks of elements, then of pairs, inside lanes of four; then 4 x 4 lanes
/// ```
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn transpose(r: [__m512; 16]) -> [__m512; 16] {
    // Lane l of fours[q][e] holds rows 4q .. 4q + 4 of column 4l + e.
    let mut fours = [[_mm512_setzero_ps(); 4]; 4];
    for (four, r) in fours.iter_mut().zip(r.as_chunks::<4>().0) {
        *four = transpose4(*r);
    }
    let mut columns = [_mm512_setzero_ps(); 16];
    for e in 0..4 {
        let [a, b, c, d] = [fours[0][e], fours[1][e], fours[2][e], fours[3][e]];
        // Lanes 0 and 1, and 2 and 3, of two quarters of the rows.
        let ab_low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
        let ab_high = _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b);
        let cd_low = _mm512_shuffle_f32x4::<0b01_00_01_00>(c, d);
        let cd_high = _mm512_shuffle_f32x4::<0b11_10_11_10>(c, d);
        columns[e] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_low, cd_low);
        columns[4 + e] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_low, cd_low);
        columns[8 + e] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_high, cd_high);
        columns[12 + e] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_high, cd_high);
    }
    columns
}

/// In each lane of four, rows become columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn transpose4([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    let pair = |x| _mm512_castps_pd(x);
    let (ab, ab_high) = (pair(_mm512_unpacklo_ps(a, b)), pair(_mm512_unpackhi_ps(a, b)));
    let (cd, cd_high) = (pair(_mm512_unpacklo_ps(c, d)), pair(_mm512_unpackhi_ps(c, d)));
    [
        _mm512_unpacklo_pd(ab, cd),
        _mm512_unpackhi_pd(ab, cd),
        _mm512_unpacklo_pd(ab_high, cd_high),
        _mm512_unpackhi_pd(ab_high, cd_high),
    ]
    .map(|x| _mm512_castpd_ps(x))
}
