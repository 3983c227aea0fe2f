//! Sixteen weights to a register of f32, and fewer under a mask; f32 to f16.

use core::arch::x86_64::*;

use half::{bf16, f16};

use crate::matrix::Data;
use crate::scalar::convert::Stored;

/// How sixteen weights of a storage type become f32.
pub trait Load: Stored {
    /// The sixteen values.
    ///
    /// # Safety
    /// The CPU must have AVX-512 F, BW, DQ and VL.
    unsafe fn load(from: &[Self; 16]) -> __m512;

    /// The values of the first sixteen at most, then zeros.
    ///
    /// # Safety
    /// The CPU must have AVX-512 F, BW, DQ and VL.
    unsafe fn load_some(from: &[Self]) -> __m512;
}

/// One bit for each of `len` elements, sixteen at most.
#[inline]
pub fn mask(len: usize) -> __mmask16 {
    ((1u32 << len.min(16)) - 1) as __mmask16
}

impl Load for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load(from: &[f32; 16]) -> __m512 {
        // SAFETY: the reference covers the 64 bytes read.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_some(from: &[f32]) -> __m512 {
        // SAFETY: the mask lets only elements of the slice be read.
        unsafe { _mm512_maskz_loadu_ps(mask(from.len()), from.as_ptr()) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn widen_bf16(x: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)))
}

impl Load for bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load(from: &[bf16; 16]) -> __m512 {
        // SAFETY: the reference covers the 32 bytes read.
        widen_bf16(unsafe { _mm256_loadu_si256(from.as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_some(from: &[bf16]) -> __m512 {
        // SAFETY: the mask lets only elements of the slice be read.
        widen_bf16(unsafe { _mm256_maskz_loadu_epi16(mask(from.len()), from.as_ptr().cast()) })
    }
}

impl Load for f16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load(from: &[f16; 16]) -> __m512 {
        // SAFETY: the reference covers the 32 bytes read.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_some(from: &[f16]) -> __m512 {
        // SAFETY: the mask lets only elements of the slice be read.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask(from.len()), from.as_ptr().cast()) })
    }
}

impl Load for i8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load(from: &[i8; 16]) -> __m512 {
        // SAFETY: the reference covers the 16 bytes read.
        let bytes = unsafe { _mm_loadu_si128(from.as_ptr().cast()) };
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_some(from: &[i8]) -> __m512 {
        // SAFETY: the mask lets only elements of the slice be read.
        let bytes = unsafe { _mm_maskz_loadu_epi8(mask(from.len()), from.as_ptr()) };
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn load(x: &[f32; 16]) -> __m512 {
    // SAFETY: the reference covers the 64 bytes read.
    unsafe { _mm512_loadu_ps(x.as_ptr()) }
}

/// The first sixteen elements at most, then `fill`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn load_or(x: &[f32], fill: f32) -> __m512 {
    // SAFETY: the mask lets only elements of the slice be read.
    unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask(x.len()), x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn store(to: &mut [f32; 16], x: __m512) {
    // SAFETY: the reference covers the 64 bytes written.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
}

/// The first sixteen elements at most.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn store_some(to: &mut [f32], x: __m512) {
    // SAFETY: the mask lets only elements of the slice be written.
    unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask(to.len()), x) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn widen(x: Data, y: &mut [f32]) {
    match x {
        Data::F32(x) => y.copy_from_slice(x),
        Data::Bf16(x) => widen_stored(x, y),
        Data::F16(x) => widen_stored(x, y),
        Data::I8(x) => widen_stored(x, y),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn widen_stored<W: Load>(x: &[W], y: &mut [f32]) {
    let (x, x_tail) = x.as_chunks::<16>();
    let (y, y_tail) = y.as_chunks_mut::<16>();
    for (x, y) in x.iter().zip(y) {
        // SAFETY: this function runs only with the features that `load` needs.
        store(y, unsafe { W::load(x) });
    }
    // SAFETY: as above.
    store_some(y_tail, unsafe { W::load_some(x_tail) });
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn narrow(x: &[f32], y: &mut [f16]) {
    for (x, y) in x.chunks(16).zip(y.chunks_mut(16)) {
        let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(load_or(x, 0.0));
        // SAFETY: the mask lets only elements of the slice be written.
        unsafe { _mm256_mask_storeu_epi16(y.as_mut_ptr().cast(), mask(y.len()), halves) }
    }
}
