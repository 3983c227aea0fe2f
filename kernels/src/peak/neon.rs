//! The loops of AArch64: `fmla`, `smull` with `sadalp`, and `sdot`.

use core::arch::aarch64::*;
use core::arch::asm;
use core::hint::black_box;
use std::arch::is_aarch64_feature_detected as has;

use super::{Loop, Run};
use crate::table::Isa;

/// Independent accumulators: latency 4 times 2 a cycle, and some more.
const ACCUMULATORS: usize = 12;

const fn operations(lanes: u64) -> u64 {
    2 * lanes * ACCUMULATORS as u64
}

pub(super) fn float() -> impl Iterator<Item = Loop> {
    let fmla = Loop { name: "neon fmla", isa: Isa::Neon, operations: operations(4), run: fmla };
    has!("neon").then_some(fmla).into_iter()
}

pub(super) fn int8() -> impl Iterator<Item = Loop> {
    let make = |name, isa, lanes, run: Run| Loop { name, isa, operations: operations(lanes), run };
    let has = [
        (has!("dotprod"), make("neon sdot", Isa::NeonDotprod, 16, sdot)),
        (has!("neon"), make("neon smull", Isa::Neon, 8, smull)),
    ];
    has.into_iter().filter_map(|(has, one)| has.then_some(one))
}

#[target_feature(enable = "neon")]
fn fmla(iterations: u64) -> u64 {
    let mut acc = core::array::from_fn::<_, ACCUMULATORS, _>(|i| vdupq_n_f32(i as f32));
    acc = black_box(acc);
    // `x += x a`: the accumulator is a factor too, so that it stays finite (a is below 0).
    let a = vdupq_n_f32(black_box(-0.5));
    for _ in 0..iterations {
        for x in &mut acc {
            *x = vfmaq_f32(*x, *x, a);
        }
    }
    let total = acc.into_iter().fold(a, |total, x| vaddq_f32(total, x));
    vaddvq_f32(total).to_bits().into()
}

/// `acc += pairs of (low half of acc as i8) * a`: the product depends on the sum, or the compiler
/// would make it once.
#[target_feature(enable = "neon")]
fn smull(iterations: u64) -> u64 {
    let mut acc = core::array::from_fn::<_, ACCUMULATORS, _>(|i| vdupq_n_s32(i as i32));
    acc = black_box(acc);
    let a = vdup_n_s8(black_box(3));
    for _ in 0..iterations {
        for x in &mut acc {
            let bytes = vget_low_s8(vreinterpretq_s8_s32(*x));
            *x = vpadalq_s16(*x, vmull_s8(bytes, a));
        }
    }
    let total = acc.into_iter().fold(vdupq_n_s32(0), |total, x| vaddq_s32(total, x));
    vaddvq_s32(total) as u64
}

#[target_feature(enable = "neon,dotprod")]
fn sdot(iterations: u64) -> u64 {
    let mut acc = core::array::from_fn::<_, ACCUMULATORS, _>(|i| vdupq_n_s32(i as i32));
    acc = black_box(acc);
    let (a, b) = (vdupq_n_s8(black_box(3)), vdupq_n_s8(black_box(-2)));
    for _ in 0..iterations {
        for x in &mut acc {
            // SAFETY: this function runs only where the CPU has `sdot`; registers alone are touched.
            unsafe {
                asm!(
                    "sdot {x:v}.4s, {a:v}.16b, {b:v}.16b",
                    x = inout(vreg) *x, a = in(vreg) a, b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
    }
    let total = acc.into_iter().fold(vdupq_n_s32(0), |total, x| vaddq_s32(total, x));
    vaddvq_s32(total) as u64
}
