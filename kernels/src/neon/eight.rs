//! Eight f32 in two registers, and the arithmetic on them.

use core::arch::aarch64::*;

/// Lanes 0 to 3, then 4 to 7.
pub type Eight = [float32x4_t; 2];

#[inline]
#[target_feature(enable = "neon")]
pub fn load(from: &[f32; 8]) -> Eight {
    // SAFETY: the reference covers the 32 bytes read.
    unsafe { [vld1q_f32(from.as_ptr()), vld1q_f32(from.as_ptr().add(4))] }
}

#[inline]
#[target_feature(enable = "neon")]
pub fn store(to: &mut [f32; 8], x: Eight) {
    // SAFETY: the reference covers the 32 bytes written.
    unsafe {
        vst1q_f32(to.as_mut_ptr(), x[0]);
        vst1q_f32(to.as_mut_ptr().add(4), x[1]);
    }
}

#[inline]
#[target_feature(enable = "neon")]
pub fn splat(x: f32) -> Eight {
    [vdupq_n_f32(x); 2]
}

#[inline]
#[target_feature(enable = "neon")]
pub fn add(x: Eight, y: Eight) -> Eight {
    [vaddq_f32(x[0], y[0]), vaddq_f32(x[1], y[1])]
}

#[inline]
#[target_feature(enable = "neon")]
pub fn sub(x: Eight, y: Eight) -> Eight {
    [vsubq_f32(x[0], y[0]), vsubq_f32(x[1], y[1])]
}

#[inline]
#[target_feature(enable = "neon")]
pub fn mul(x: Eight, y: Eight) -> Eight {
    [vmulq_f32(x[0], y[0]), vmulq_f32(x[1], y[1])]
}

#[inline]
#[target_feature(enable = "neon")]
pub fn div(x: Eight, y: Eight) -> Eight {
    [vdivq_f32(x[0], y[0]), vdivq_f32(x[1], y[1])]
}

/// `x y + z`, rounded once.
#[inline]
#[target_feature(enable = "neon")]
pub fn fma(x: Eight, y: Eight, z: Eight) -> Eight {
    [vfmaq_f32(z[0], x[0], y[0]), vfmaq_f32(z[1], x[1], y[1])]
}

/// The larger one; of a number and a NaN, the number.
#[inline]
#[target_feature(enable = "neon")]
pub fn larger(x: Eight, y: Eight) -> Eight {
    [vmaxnmq_f32(x[0], y[0]), vmaxnmq_f32(x[1], y[1])]
}

/// The sum of the lanes.
#[inline]
#[target_feature(enable = "neon")]
pub fn sum(x: Eight) -> f32 {
    vaddvq_f32(vaddq_f32(x[0], x[1]))
}

/// `e^x`, within 2 ULP of the true value wherever that is a normal number.
///
/// `x = n ln 2 + r`, `|r| <= ln 2 / 2`; `e^r` by its Taylor series to degree 7, whose remainder is
/// below 6e-9; `2^n` in two factors, so that results close to the largest and below the smallest
/// normal number come out too.
#[inline]
#[target_feature(enable = "neon")]
pub fn exp(x: Eight) -> Eight {
    [exp4(x[0]), exp4(x[1])]
}

#[inline]
#[target_feature(enable = "neon")]
fn exp4(x: float32x4_t) -> float32x4_t {
    let x = vmaxq_f32(vminq_f32(x, vdupq_n_f32(89.0)), vdupq_n_f32(-104.0));
    let n = vrndnq_f32(vmulq_n_f32(x, core::f32::consts::LOG2_E));
    let r = vfmsq_f32(x, n, vdupq_n_f32(0.693_359_4));
    let r = vfmsq_f32(r, n, vdupq_n_f32(-2.121_944_4e-4));
    let mut p = vdupq_n_f32(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = vfmaq_f32(vdupq_n_f32(c), p, r);
    }
    let n = vcvtq_s32_f32(n);
    let half = vshrq_n_s32::<1>(n);
    let two_to = |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))));
    vmulq_f32(vmulq_f32(p, two_to(half)), two_to(vsubq_s32(n, half)))
}
