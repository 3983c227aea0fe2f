//! f32 activations to int8, a block of 32 in eight registers.

use core::arch::aarch64::*;

use crate::quant::{ActivationBlock, BLOCK, factor};

/// One token: `x` is `(K)`, `to` its blocks.
#[target_feature(enable = "neon")]
pub fn quantize(x: &[f32], to: &mut [ActivationBlock]) {
    let (whole, tail) = x.as_chunks::<BLOCK>();
    let (to, to_tail) = to.split_at_mut(whole.len());
    for (x, to) in whole.iter().zip(to) {
        block(x, to);
    }
    if let Some(to) = to_tail.first_mut() {
        let mut last = [0.0; BLOCK];
        last[..tail.len()].copy_from_slice(tail);
        block(&last, to);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn block(x: &[f32; BLOCK], to: &mut ActivationBlock) {
    // SAFETY: the reference covers the 128 bytes read.
    let x: [_; 8] = core::array::from_fn(|i| unsafe { vld1q_f32(x.as_ptr().add(4 * i)) });
    // As integers, NaNs are larger than infinity and all else.
    let bits = x.map(|x| vreinterpretq_u32_f32(vabsq_f32(x)));
    let most = bits.into_iter().fold(vdupq_n_u32(0), |most, bits| vmaxq_u32(most, bits));
    let most = f32::from_bits(vmaxvq_u32(most));
    let factor = factor(most);
    // Ties to even; a NaN becomes 0.
    let words = x.map(|x| vcvtnq_s32_f32(vmulq_n_f32(x, factor)));
    let halves: [_; 4] = core::array::from_fn(|i| {
        vcombine_s16(vqmovn_s32(words[2 * i]), vqmovn_s32(words[2 * i + 1]))
    });
    let bytes: [_; 2] = core::array::from_fn(|i| {
        vcombine_s8(vqmovn_s16(halves[2 * i]), vqmovn_s16(halves[2 * i + 1]))
    });
    for (to, bytes) in to.quants.as_chunks_mut::<16>().0.iter_mut().zip(bytes) {
        // SAFETY: the reference covers the 16 bytes written.
        unsafe { vst1q_s8(to.as_mut_ptr(), bytes) };
    }
    to.scale = most / 127.0;
    to.sum = i32::from(vaddlvq_s8(bytes[0])) + i32::from(vaddlvq_s8(bytes[1]));
}
