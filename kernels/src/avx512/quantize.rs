//! f32 activations to int8, a block in two registers.

use core::arch::x86_64::*;

use crate::quant::{ActivationBlock, BLOCK, factor};

/// One token: `x` is `(K)`, `to` its blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn block(x: &[f32; BLOCK], to: &mut ActivationBlock) {
    // SAFETY: the reference covers the 128 bytes read.
    let [low, high] = [0, 16].map(|i| unsafe { _mm512_loadu_ps(x.as_ptr().add(i)) });
    let bits = |x| _mm512_castps_si512(_mm512_abs_ps(x));
    // As integers, NaNs are larger than infinity and all else.
    let most = _mm512_reduce_max_epu32(_mm512_max_epu32(bits(low), bits(high)));
    let most = f32::from_bits(most);
    to.scale = most / 127.0;
    if !most.is_finite() {
        (to.quants, to.sum) = ([0; BLOCK], 0);
        return;
    }
    let factor = _mm512_set1_ps(factor(most));
    let [low, high] = [low, high].map(|x| _mm512_cvtps_epi32(_mm512_mul_ps(x, factor)));
    to.sum = _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
    for (to, x) in to.quants.as_chunks_mut::<16>().0.iter_mut().zip([low, high]) {
        // SAFETY: the reference covers the 16 bytes written.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(x)) }
    }
}
