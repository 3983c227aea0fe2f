//! Eight weights to two registers of f32, and eight f32 to f16.

use core::arch::aarch64::*;

use half::{bf16, f16};

use super::eight::{self, Eight, store};
use crate::matrix::Data;
use crate::scalar::convert::{Stored, widen_slice};
use crate::tail::padded;

/// How eight weights of a storage type become f32.
pub trait Load: Stored {
    /// The eight values.
    ///
    /// # Safety
    /// The CPU must have Advanced SIMD.
    unsafe fn load(from: &[Self; 8]) -> Eight;
}

impl Load for f32 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: &[f32; 8]) -> Eight {
        eight::load(from)
    }
}

impl Load for bf16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: &[bf16; 8]) -> Eight {
        // SAFETY: the reference covers the 16 bytes read.
        let halves = unsafe { vld1q_u16(from.as_ptr().cast()) };
        let low = vshll_n_u16::<16>(vget_low_u16(halves));
        [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(vshll_high_n_u16::<16>(halves))]
    }
}

impl Load for f16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: &[f16; 8]) -> Eight {
        // SAFETY: the reference covers the 16 bytes read.
        let halves = unsafe { vld1q_u16(from.as_ptr().cast()) };
        let halves = vreinterpretq_f16_u16(halves);
        [vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)]
    }
}

impl Load for i8 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: &[i8; 8]) -> Eight {
        // SAFETY: the reference covers the 8 bytes read.
        let words = vmovl_s8(unsafe { vld1_s8(from.as_ptr()) });
        [vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), vcvtq_f32_s32(vmovl_high_s16(words))]
    }
}

#[target_feature(enable = "neon")]
pub fn widen(x: Data, y: &mut [f32]) {
    match x {
        Data::F32(x) => y.copy_from_slice(x),
        Data::Bf16(x) => widen_stored(x, y),
        Data::F16(x) => widen_stored(x, y),
        Data::I8(x) => widen_stored(x, y),
    }
}

#[target_feature(enable = "neon")]
fn widen_stored<W: Load>(x: &[W], y: &mut [f32]) {
    let (x, x_tail) = x.as_chunks::<8>();
    let (y, y_tail) = y.as_chunks_mut::<8>();
    for (x, y) in x.iter().zip(y) {
        // SAFETY: this function runs only with the feature that `load` needs.
        store(y, unsafe { W::load(x) });
    }
    widen_slice(x_tail, y_tail);
}

#[target_feature(enable = "neon")]
pub fn narrow(x: &[f32], y: &mut [f16]) {
    let (x, x_tail) = x.as_chunks::<8>();
    let (y, y_tail) = y.as_chunks_mut::<8>();
    for (x, y) in x.iter().zip(y) {
        narrow8(x, y);
    }
    let mut last = [f16::ZERO; 8];
    narrow8(&padded(x_tail, 0.0), &mut last);
    y_tail.copy_from_slice(&last[..y_tail.len()]);
}

#[inline]
#[target_feature(enable = "neon")]
fn narrow8(x: &[f32; 8], y: &mut [f16; 8]) {
    let [low, high] = eight::load(x);
    let halves = vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(low), high));
    // SAFETY: the reference covers the 16 bytes written.
    unsafe { vst1q_u16(y.as_mut_ptr().cast(), halves) }
}
