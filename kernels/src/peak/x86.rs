//! The loops of x86-64: FMA, `maddubs`, and `dpbusd` of both encodings.

use core::arch::x86_64::*;
use core::hint::black_box;
use std::arch::is_x86_feature_detected as has;

use super::{Loop, Run, STEP, sum};
use crate::table::Isa;

/// Independent accumulators: latency 4 times 2 a cycle, and some more.
const ACCUMULATORS: usize = 12;

const fn operations(lanes: u64) -> u64 {
    2 * lanes * ACCUMULATORS as u64
}

pub(super) fn float() -> impl Iterator<Item = Loop> {
    let make = |name, isa, lanes, run: Run| Loop { name, isa, operations: operations(lanes), run };
    let has = [
        (has!("avx512f"), make("avx512 fma", Isa::Avx512, 16, fma_512)),
        (has!("avx2") && has!("fma"), make("avx2 fma", Isa::Avx2, 8, fma_256)),
    ];
    has.into_iter().filter_map(|(has, one)| has.then_some(one))
}

pub(super) fn int8() -> impl Iterator<Item = Loop> {
    let make = |name, isa, lanes, run: Run| Loop { name, isa, operations: operations(lanes), run };
    let vnni = has!("avx512f") && has!("avx512vnni");
    let has = [
        (vnni, make("avx512 dpbusd", Isa::Avx512Vnni, 64, dpbusd_512)),
        (has!("avx512bw"), make("avx512 maddubs", Isa::Avx512, 64, maddubs_512)),
        (has!("avx2") && has!("avxvnni"), make("avx dpbusd", Isa::AvxVnni, 32, dpbusd_256)),
        (has!("avx2"), make("avx2 maddubs", Isa::Avx2, 32, maddubs_256)),
    ];
    has.into_iter().filter_map(|(has, one)| has.then_some(one))
}

#[target_feature(enable = "avx512f")]
fn fma_512(iterations: u64) -> u64 {
    let mut acc = core::array::from_fn::<_, ACCUMULATORS, _>(|i| _mm512_set1_ps(i as f32));
    acc = black_box(acc);
    let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
    for _ in 0..iterations {
        for x in &mut acc {
            *x = _mm512_fmadd_ps(*x, a, b);
        }
    }
    let total = acc.into_iter().fold(a, |total, x| _mm512_add_ps(total, x));
    _mm512_reduce_add_ps(total).to_bits().into()
}

#[target_feature(enable = "avx2,fma")]
fn fma_256(iterations: u64) -> u64 {
    let mut acc = core::array::from_fn::<_, ACCUMULATORS, _>(|i| _mm256_set1_ps(i as f32));
    acc = black_box(acc);
    let (a, b) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
    for _ in 0..iterations {
        for x in &mut acc {
            *x = _mm256_fmadd_ps(*x, a, b);
        }
    }
    let total = acc.into_iter().fold(a, |total, x| _mm256_add_ps(total, x));
    _mm256_cvtss_f32(total).to_bits().into()
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn dpbusd_512(iterations: u64) -> u64 {
    let mut acc = core::array::from_fn::<_, ACCUMULATORS, _>(|i| _mm512_set1_epi32(i as i32));
    acc = black_box(acc);
    let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(-2)));
    for _ in 0..iterations {
        for x in &mut acc {
            *x = _mm512_dpbusd_epi32(*x, a, b);
        }
    }
    let total = acc.into_iter().fold(a, |total, x| _mm512_add_epi32(total, x));
    _mm512_reduce_add_epi32(total) as u64
}

#[target_feature(enable = "avx2,avxvnni")]
fn dpbusd_256(iterations: u64) -> u64 {
    let mut acc = core::array::from_fn::<_, ACCUMULATORS, _>(|i| _mm256_set1_epi32(i as i32));
    acc = black_box(acc);
    let (a, b) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi8(black_box(-2)));
    for _ in 0..iterations {
        for x in &mut acc {
            *x = _mm256_dpbusd_avx_epi32(*x, a, b);
        }
    }
    let total = acc.into_iter().fold(a, |total, x| _mm256_add_epi32(total, x));
    _mm256_extract_epi32::<0>(total) as u64
}

/// `acc += madd(maddubs(acc, a), ones)`: the product depends on the sum, or the compiler would make
/// it once.
#[target_feature(enable = "avx2")]
fn maddubs_256(iterations: u64) -> u64 {
    let mut acc = core::array::from_fn::<_, ACCUMULATORS, _>(|i| _mm256_set1_epi32(i as i32));
    acc = black_box(acc);
    let (a, ones) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi16(black_box(1)));
    for _ in 0..iterations {
        for x in &mut acc {
            let pairs = _mm256_maddubs_epi16(*x, a);
            *x = _mm256_add_epi32(*x, _mm256_madd_epi16(pairs, ones));
        }
    }
    let total = acc.into_iter().fold(a, |total, x| _mm256_add_epi32(total, x));
    _mm256_extract_epi32::<0>(total) as u64
}

#[target_feature(enable = "avx512f,avx512bw")]
fn maddubs_512(iterations: u64) -> u64 {
    let mut acc = core::array::from_fn::<_, ACCUMULATORS, _>(|i| _mm512_set1_epi32(i as i32));
    acc = black_box(acc);
    let (a, ones) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi16(black_box(1)));
    for _ in 0..iterations {
        for x in &mut acc {
            let pairs = _mm512_maddubs_epi16(*x, a);
            *x = _mm512_add_epi32(*x, _mm512_madd_epi16(pairs, ones));
        }
    }
    let total = acc.into_iter().fold(a, |total, x| _mm512_add_epi32(total, x));
    _mm512_reduce_add_epi32(total) as u64
}

pub(super) fn read(bytes: &[u8]) -> u64 {
    if has!("avx512f") {
        // SAFETY: this CPU has AVX-512F.
        return unsafe { read_512(bytes) };
    }
    if has!("avx2") {
        // SAFETY: this CPU has AVX2.
        return unsafe { read_256(bytes) };
    }
    sum(bytes, ask_ahead)
}

/// How far ahead memory is asked for: a page, where the hardware's own prefetch stops.
const AHEAD: usize = 4096;

#[inline(always)]
fn ask_ahead(step: &[u8; STEP]) {
    for line in step.as_chunks::<64>().0 {
        let there = line.as_ptr().wrapping_add(AHEAD);
        // SAFETY: asking for a line is no access: it has no effect but on time, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(there.cast()) };
    }
}

#[target_feature(enable = "avx512f")]
fn read_512(bytes: &[u8]) -> u64 {
    sum(bytes, ask_ahead)
}

#[target_feature(enable = "avx2")]
fn read_256(bytes: &[u8]) -> u64 {
    sum(bytes, ask_ahead)
}
