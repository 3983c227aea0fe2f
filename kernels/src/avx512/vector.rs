//! Operations over vectors: sums, the norm, exponentials and the gate.

use core::arch::x86_64::*;

use super::convert::{Load, load, load_or, store, store_some};
use crate::matrix::Data;

/// The sum of sixteen lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn sum(x: __m512) -> f32 {
    let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
    let ((x4, x_rest), (y4, y_rest)) = (x.as_chunks::<4>(), y.as_chunks::<4>());
    let mut sums = [_mm512_setzero_ps(); 4];
    for (x, y) in x4.iter().zip(y4) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum = _mm512_fmadd_ps(load(x), load(y), *sum);
        }
    }
    for ((sum, x), y) in sums.iter_mut().zip(x_rest).zip(y_rest) {
        *sum = _mm512_fmadd_ps(load(x), load(y), *sum);
    }
    sums[3] = _mm512_fmadd_ps(load_or(x_tail, 0.0), load_or(y_tail, 0.0), sums[3]);
    let [a, b, c, d] = sums;
    sum(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    let (x, x_tail) = x.as_chunks::<16>();
    let (y, y_tail) = y.as_chunks_mut::<16>();
    let a = _mm512_set1_ps(a);
    for (x, y) in x.iter().zip(y) {
        store(y, _mm512_fmadd_ps(a, load(x), load(y)));
    }
    store_some(y_tail, _mm512_fmadd_ps(a, load_or(x_tail, 0.0), load_or(y_tail, 0.0)));
}

/// Runs `f` over `x` in place, sixteen at a time; the tail is padded with `fill`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn map(x: &mut [f32], fill: f32, mut f: impl FnMut(__m512) -> __m512) {
    let (sixteens, tail) = x.as_chunks_mut::<16>();
    for x in sixteens {
        store(x, f(load(x)));
    }
    if !tail.is_empty() {
        let y = f(load_or(tail, fill));
        store_some(tail, y);
    }
}

/// `e^x`, within 2 ULP of the true value wherever that is a normal number.
///
/// `x = n ln 2 + r`, `|r| <= ln 2 / 2`; `e^r` by its Taylor series to degree 7, whose remainder is
/// below 6e-9; the scaling by `2^n` rounds what falls below the smallest normal number.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn exp16(x: __m512) -> __m512 {
    let set = |x| _mm512_set1_ps(x);
    // The second operand is what a comparison with NaN gives.
    let x = _mm512_max_ps(set(-104.0), _mm512_min_ps(set(89.0), x));
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    let n = _mm512_roundscale_ps::<NEAREST>(_mm512_mul_ps(x, set(core::f32::consts::LOG2_E)));
    let r = _mm512_fnmadd_ps(n, set(0.693_359_4), x);
    let r = _mm512_fnmadd_ps(n, set(-2.121_944_4e-4), r);
    let mut p = set(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = _mm512_fmadd_ps(p, r, set(c));
    }
    _mm512_scalef_ps(p, n)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn exp(x: &mut [f32]) {
    map(x, 0.0, |x| exp16(x));
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn rmsnorm(x: &[f32], weight: Data, eps: f32, y: &mut [f32]) -> f32 {
    let scale = 1.0 / libm::sqrtf(dot(x, x) / x.len() as f32 + eps);
    match weight {
        Data::F32(weight) => scaled(x, weight, scale, y),
        Data::Bf16(weight) => scaled(x, weight, scale, y),
        Data::F16(weight) => scaled(x, weight, scale, y),
        Data::I8(weight) => scaled(x, weight, scale, y),
    }
    scale
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn scaled<W: Load>(x: &[f32], weight: &[W], scale: f32, y: &mut [f32]) {
    let ((x, x_tail), (w, w_tail)) = (x.as_chunks::<16>(), weight.as_chunks::<16>());
    let (y, y_tail) = y.as_chunks_mut::<16>();
    let scale = _mm512_set1_ps(scale);
    for ((x, w), y) in x.iter().zip(w).zip(y) {
        // SAFETY: this function runs only with the features that `load` needs.
        let w = unsafe { W::load(w) };
        store(y, _mm512_mul_ps(_mm512_mul_ps(load(x), scale), w));
    }
    // SAFETY: as above.
    let w = unsafe { W::load_some(w_tail) };
    store_some(y_tail, _mm512_mul_ps(_mm512_mul_ps(load_or(x_tail, 0.0), scale), w));
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn softmax_part(x: &mut [f32], max: f32) -> (f32, f32) {
    let max = largest(x).max(max);
    let all_max = _mm512_set1_ps(max);
    let mut sums = _mm512_setzero_ps();
    map(x, f32::NEG_INFINITY, |x| {
        let e = exp16(_mm512_sub_ps(x, all_max));
        sums = _mm512_add_ps(sums, e);
        e
    });
    (max, sum(sums))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn scale(a: f32, x: &mut [f32]) {
    let a = _mm512_set1_ps(a);
    map(x, 0.0, |x| _mm512_mul_ps(x, a));
}

/// The largest element that is a number, or minus infinity.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn largest(x: &[f32]) -> f32 {
    let (sixteens, tail) = x.as_chunks::<16>();
    // The second operand is what a comparison with NaN gives.
    let least = _mm512_set1_ps(f32::NEG_INFINITY);
    let mut most = _mm512_max_ps(load_or(tail, f32::NEG_INFINITY), least);
    for x in sixteens {
        most = _mm512_max_ps(load(x), most);
    }
    _mm512_reduce_max_ps(most)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sigmoid(z: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let minus_z = _mm512_xor_ps(z, _mm512_set1_ps(-0.0));
    _mm512_div_ps(one, _mm512_add_ps(one, exp16(minus_z)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn swiglu16(z: __m512, u: __m512) -> __m512 {
    _mm512_mul_ps(_mm512_mul_ps(z, sigmoid(z)), u)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    let ((z, z_tail), (u, u_tail)) = (gate.as_chunks::<16>(), up.as_chunks::<16>());
    let (y, y_tail) = y.as_chunks_mut::<16>();
    for ((z, u), y) in z.iter().zip(u).zip(y) {
        store(y, swiglu16(load(z), load(u)));
    }
    if !y_tail.is_empty() {
        store_some(y_tail, swiglu16(load_or(z_tail, 0.0), load_or(u_tail, 0.0)));
    }
}

/// The gradients of the gate `z` and of `u`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn swiglu_backward16(d: __m512, z: __m512, u: __m512) -> (__m512, __m512) {
    let one = _mm512_set1_ps(1.0);
    let s = sigmoid(z);
    let slope = _mm512_fmadd_ps(z, _mm512_sub_ps(one, s), one);
    let d_gate = _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(d, u), s), slope);
    (d_gate, _mm512_mul_ps(_mm512_mul_ps(d, z), s))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn swiglu_backward(d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
    let (d, d_tail) = d_y.as_chunks::<16>();
    let (z, z_tail) = gate.as_chunks_mut::<16>();
    let (u, u_tail) = up.as_chunks_mut::<16>();
    for ((d, z), u) in d.iter().zip(z).zip(u) {
        let (d_gate, d_up) = swiglu_backward16(load(d), load(z), load(u));
        store(z, d_gate);
        store(u, d_up);
    }
    if !d_tail.is_empty() {
        let (d, z, u) = (load_or(d_tail, 0.0), load_or(z_tail, 0.0), load_or(u_tail, 0.0));
        let (d_gate, d_up) = swiglu_backward16(d, z, u);
        store_some(z_tail, d_gate);
        store_some(u_tail, d_up);
    }
}
