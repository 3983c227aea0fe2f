//! f32 activations to int8, a block in four registers.

use core::arch::x86_64::*;

use crate::quant::{ActivationBlock, BLOCK, factor};

/// One token: `x` is `(K)`, `to` its blocks.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn quantize(x: &[f32], to: &mut [ActivationBlock]) {
    let (whole, tail) = x.as_chunks::<BLOCK>();
    for (x, to) in whole.iter().zip(&mut *to) {
        block(x, to);
    }
    if let Some(to) = to.get_mut(whole.len()) {
        let mut last = [0.0; BLOCK];
        last[..tail.len()].copy_from_slice(tail);
        block(&last, to);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn block(x: &[f32; BLOCK], to: &mut ActivationBlock) {
    let mut parts = [_mm256_setzero_ps(); 4];
    let mut bits = _mm256_setzero_si256();
    for (part, x) in parts.iter_mut().zip(x.as_chunks::<8>().0) {
        // SAFETY: the reference covers the 32 bytes read.
        *part = unsafe { _mm256_loadu_ps(x.as_ptr()) };
        let magnitude = _mm256_and_si256(_mm256_castps_si256(*part), _mm256_set1_epi32(i32::MAX));
        // As integers, NaNs are larger than infinity and all else.
        bits = _mm256_max_epu32(bits, magnitude);
    }
    let most = f32::from_bits(most(bits));
    to.scale = most / 127.0;
    if !most.is_finite() {
        (to.quants, to.sum) = ([0; BLOCK], 0);
        return;
    }
    let factor = _mm256_set1_ps(factor(most));
    let mut quants = [_mm256_setzero_si256(); 4];
    for (quant, part) in quants.iter_mut().zip(parts) {
        *quant = _mm256_cvtps_epi32(_mm256_mul_ps(part, factor));
    }
    let [a, b, c, d] = quants;
    to.sum = sum(_mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)));
    // Packs work in halves of a register, so fours of bytes come out in the order 0 2 4 6 1 3 5 7.
    let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    // SAFETY: the array covers the 32 bytes written.
    unsafe { _mm256_storeu_si256(to.quants.as_mut_ptr().cast(), bytes) }
}

/// The largest of eight lanes, which are not negative.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn most(x: __m256i) -> u32 {
    let x = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_max_epu32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
    let x = _mm_max_epu32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x));
    _mm_cvtsi128_si32(x).cast_unsigned()
}

/// The sum of eight lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum(x: __m256i) -> i32 {
    let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
    let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x));
    _mm_cvtsi128_si32(x)
}
