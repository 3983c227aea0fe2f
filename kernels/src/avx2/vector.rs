//! Operations over vectors: sums, the norm, exponentials and the gate.

use core::arch::x86_64::*;

use super::convert::{Load, store};
use crate::matrix::Data;
use crate::tail::padded;

/// The sum of eight lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn sum(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(x: &[f32; 8]) -> __m256 {
    // SAFETY: the reference covers the 32 bytes read.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    let ((x4, x_rest), (y4, y_rest)) = (x.as_chunks::<4>(), y.as_chunks::<4>());
    let mut sums = [_mm256_setzero_ps(); 4];
    for (x, y) in x4.iter().zip(y4) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum = _mm256_fmadd_ps(load(x), load(y), *sum);
        }
    }
    for ((sum, x), y) in sums.iter_mut().zip(x_rest).zip(y_rest) {
        *sum = _mm256_fmadd_ps(load(x), load(y), *sum);
    }
    let (x, y) = (load(&padded(x_tail, 0.0)), load(&padded(y_tail, 0.0)));
    sums[3] = _mm256_fmadd_ps(x, y, sums[3]);
    let [a, b, c, d] = sums;
    sum(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)))
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    let (eights, x_tail) = x.as_chunks::<8>();
    let (y, y_tail) = y.as_chunks_mut::<8>();
    let a8 = _mm256_set1_ps(a);
    for (x, y) in eights.iter().zip(y) {
        store(y, _mm256_fmadd_ps(a8, load(x), load(y)));
    }
    if !y_tail.is_empty() {
        let mut last = padded(y_tail, 0.0);
        let sum = _mm256_fmadd_ps(a8, load(&padded(x_tail, 0.0)), load(&last));
        store(&mut last, sum);
        y_tail.copy_from_slice(&last[..y_tail.len()]);
    }
}

/// Runs `f` over `x` in place, eight at a time; the tail is padded with `fill`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn map(x: &mut [f32], fill: f32, mut f: impl FnMut(__m256) -> __m256) {
    let (eights, tail) = x.as_chunks_mut::<8>();
    for x in eights {
        store(x, f(load(x)));
    }
    if !tail.is_empty() {
        let mut last = padded(tail, fill);
        let y = f(load(&last));
        store(&mut last, y);
        tail.copy_from_slice(&last[..tail.len()]);
    }
}

/// `e^x`, within 2 ULP of the true value wherever that is a normal number.
///
/// `x = n ln 2 + r`, `|r| <= ln 2 / 2`; `e^r` by its Taylor series to degree 7, whose remainder is
/// below 6e-9; `2^n` in two factors, so that results close to the largest and below the smallest
/// normal number come out too.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn exp8(x: __m256) -> __m256 {
    let set = |x| _mm256_set1_ps(x);
    // The second operand is what a comparison with NaN gives.
    let x = _mm256_max_ps(set(-104.0), _mm256_min_ps(set(89.0), x));
    let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
        x,
        set(core::f32::consts::LOG2_E),
    ));
    let r = _mm256_fnmadd_ps(n, set(0.693_359_4), x);
    let r = _mm256_fnmadd_ps(n, set(-2.121_944_4e-4), r);
    let mut p = set(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = _mm256_fmadd_ps(p, r, set(c));
    }
    let n = _mm256_cvtps_epi32(n);
    let half = _mm256_srai_epi32::<1>(n);
    let two_to = |n| {
        let biased = _mm256_add_epi32(n, _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
    };
    _mm256_mul_ps(_mm256_mul_ps(p, two_to(half)), two_to(_mm256_sub_epi32(n, half)))
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn exp(x: &mut [f32]) {
    map(x, 0.0, |x| exp8(x));
}

#[target_feature(enable = "avx2,fma,f16c")]
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
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled<W: Load>(x: &[f32], weight: &[W], scale: f32, y: &mut [f32]) {
    let ((x, x_tail), (w, w_tail)) = (x.as_chunks::<8>(), weight.as_chunks::<8>());
    let (y, y_tail) = y.as_chunks_mut::<8>();
    let scale8 = _mm256_set1_ps(scale);
    for ((x, w), y) in x.iter().zip(w).zip(y) {
        // SAFETY: this function runs only with the features that `load` needs.
        let w = unsafe { W::load(w) };
        store(y, _mm256_mul_ps(_mm256_mul_ps(load(x), scale8), w));
    }
    for ((x, w), y) in x_tail.iter().zip(w_tail).zip(y_tail) {
        *y = x * scale * w.to_f32();
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn softmax_part(x: &mut [f32], max: f32) -> (f32, f32) {
    let max = largest(x).max(max);
    let all_max = _mm256_set1_ps(max);
    let mut sums = _mm256_setzero_ps();
    map(x, f32::NEG_INFINITY, |x| {
        let e = exp8(_mm256_sub_ps(x, all_max));
        sums = _mm256_add_ps(sums, e);
        e
    });
    (max, sum(sums))
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn scale(a: f32, x: &mut [f32]) {
    let a = _mm256_set1_ps(a);
    map(x, 0.0, |x| _mm256_mul_ps(x, a));
}

/// The largest element that is a number, or minus infinity.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn largest(x: &[f32]) -> f32 {
    let (eights, tail) = x.as_chunks::<8>();
    let mut most = load(&padded(tail, f32::NEG_INFINITY));
    for x in eights {
        most = _mm256_max_ps(load(x), most);
    }
    let mut lanes = [0.0; 8];
    store(&mut lanes, most);
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sigmoid(z: __m256) -> __m256 {
    let one = _mm256_set1_ps(1.0);
    let minus_z = _mm256_xor_ps(z, _mm256_set1_ps(-0.0));
    _mm256_div_ps(one, _mm256_add_ps(one, exp8(minus_z)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn swiglu8(z: &[f32; 8], u: &[f32; 8]) -> __m256 {
    let z = load(z);
    _mm256_mul_ps(_mm256_mul_ps(z, sigmoid(z)), load(u))
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    let ((z, z_tail), (u, u_tail)) = (gate.as_chunks::<8>(), up.as_chunks::<8>());
    let (y, y_tail) = y.as_chunks_mut::<8>();
    for ((z, u), y) in z.iter().zip(u).zip(y) {
        store(y, swiglu8(z, u));
    }
    if !y_tail.is_empty() {
        let mut last = [0.0; 8];
        store(&mut last, swiglu8(&padded(z_tail, 0.0), &padded(u_tail, 0.0)));
        y_tail.copy_from_slice(&last[..y_tail.len()]);
    }
}

/// `z` and `u` become their gradients.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn swiglu_backward8(d: &[f32; 8], gate: &mut [f32; 8], up: &mut [f32; 8]) {
    let (d, z, u) = (load(d), load(gate), load(up));
    let one = _mm256_set1_ps(1.0);
    let s = sigmoid(z);
    let slope = _mm256_fmadd_ps(z, _mm256_sub_ps(one, s), one);
    store(gate, _mm256_mul_ps(_mm256_mul_ps(_mm256_mul_ps(d, u), s), slope));
    store(up, _mm256_mul_ps(_mm256_mul_ps(d, z), s));
}

#[target_feature(enable = "avx2,fma,f16c")]
pub fn swiglu_backward(d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
    let (d, d_tail) = d_y.as_chunks::<8>();
    let (z, z_tail) = gate.as_chunks_mut::<8>();
    let (u, u_tail) = up.as_chunks_mut::<8>();
    for ((d, z), u) in d.iter().zip(z).zip(u) {
        swiglu_backward8(d, z, u);
    }
    if !d_tail.is_empty() {
        let (mut z, mut u) = (padded(z_tail, 0.0), padded(u_tail, 0.0));
        swiglu_backward8(&padded(d_tail, 0.0), &mut z, &mut u);
        z_tail.copy_from_slice(&z[..z_tail.len()]);
        u_tail.copy_from_slice(&u[..u_tail.len()]);
    }
}
