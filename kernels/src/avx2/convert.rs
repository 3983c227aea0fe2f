//! Eight weights to a register of f32, and eight f32 to f16.

use core::arch::x86_64::*;

use half::{bf16, f16};

use crate::matrix::Data;
use crate::scalar::convert::{Stored, widen_slice};
use crate::tail::padded;

/// How eight weights of a storage type become f32.
pub trait Load: Stored {
    /// The eight values.
    ///
    /// # Safety
    /// The CPU must have AVX2 and F16C.
    unsafe fn load(from: &[Self; 8]) -> __m256;
}

impl Load for f32 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: &[f32; 8]) -> __m256 {
        // SAFETY: the reference covers the 32 bytes read.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }
}

impl Load for bf16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: &[bf16; 8]) -> __m256 {
        // SAFETY: the reference covers the 16 bytes read.
        let halves = unsafe { _mm_loadu_si128(from.as_ptr().cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }
}

impl Load for f16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: &[f16; 8]) -> __m256 {
        // SAFETY: the reference covers the 16 bytes read.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
    }
}

impl Load for i8 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: &[i8; 8]) -> __m256 {
        // SAFETY: the reference covers the 8 bytes read.
        let bytes = unsafe { _mm_loadl_epi64(from.as_ptr().cast()) };
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn store(to: &mut [f32; 8], x: __m256) {
    // SAFETY: the reference covers the 32 bytes written.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn widen(x: Data, y: &mut [f32]) {
    match x {
        Data::F32(x) => y.copy_from_slice(x),
        Data::Bf16(x) => widen_stored(x, y),
        Data::F16(x) => widen_stored(x, y),
        Data::I8(x) => widen_stored(x, y),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn widen_stored<W: Load>(x: &[W], y: &mut [f32]) {
    let (x, x_tail) = x.as_chunks::<8>();
    let (y, y_tail) = y.as_chunks_mut::<8>();
    for (x, y) in x.iter().zip(y) {
        // SAFETY: this function runs only with the features that `load` needs.
        store(y, unsafe { W::load(x) });
    }
    widen_slice(x_tail, y_tail);
}

#[target_feature(enable = "avx2,fma,f16c")]
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
#[target_feature(enable = "avx2,fma,f16c")]
fn narrow8(x: &[f32; 8], y: &mut [f16; 8]) {
    // SAFETY: the references cover the 32 bytes read and the 16 written.
    unsafe {
        let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(x.as_ptr()));
        _mm_storeu_si128(y.as_mut_ptr().cast(), halves);
    }
}
