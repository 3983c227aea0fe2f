//! What this machine can do at the most: loops that only multiply and add, and one that only reads.
//!
//! ```text
//! arithmetic   acc[0..12] = acc * a + b, over and over, in registers: no load, no dependency that
//!              is longer than the pipeline
//! read         64 sums of u64 words, 512 bytes at a time
//! ```
//! A [`Loop`] exists only if this CPU has its instructions. Its operations are multiplications and
//! additions, counted apart.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use core::hint::black_box;

use crate::table::Isa;

#[cfg(target_arch = "aarch64")]
use neon as isa;
#[cfg(target_arch = "x86_64")]
use x86 as isa;

/// A loop of independent multiplications and additions that never leaves the registers.
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    name: &'static str,
    /// The plainest table that may use its instructions.
    isa: Isa,
    operations: u64,
    run: Run,
}

/// Runs so many iterations and returns something of the result.
type Run = unsafe fn(u64) -> u64;

impl Loop {
    /// The instructions that it is made of.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Multiplications and additions of one iteration.
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// Whether the table of `isa` may use its instructions.
    fn suits(&self, isa: Isa) -> bool {
        let others: &[Isa] = match isa {
            Isa::Scalar => &[],
            Isa::Avx2 | Isa::Neon => &[Isa::Scalar],
            Isa::AvxVnni | Isa::Avx512 => &[Isa::Scalar, Isa::Avx2],
            // AVX-VNNI is an encoding of its own, which a CPU with this one may lack.
            Isa::Avx512Vnni => &[Isa::Scalar, Isa::Avx2, Isa::Avx512],
            Isa::NeonDotprod => &[Isa::Scalar, Isa::Neon],
        };
        self.isa == isa || others.contains(&self.isa)
    }

    /// Runs `iterations` on this thread; the result means nothing, but the compiler must make it.
    pub fn run(&self, iterations: u64) -> u64 {
        // SAFETY: `float` and `int8` hand a loop out only where the CPU has its instructions.
        unsafe { (self.run)(iterations) }
    }
}

const SCALAR: Loop = Loop { name: "scalar", isa: Isa::Scalar, operations: 2 * 64, run: scalar };

/// Plain Rust; the compiler uses what every CPU of the target has.
fn scalar(iterations: u64) -> u64 {
    let mut acc: [f32; 64] = black_box(core::array::from_fn(|i| i as f32));
    let (a, b) = black_box((0.5f32, 0.25f32));
    for _ in 0..iterations {
        for x in &mut acc {
            *x = *x * a + b;
        }
    }
    acc.iter().sum::<f32>().to_bits().into()
}

/// Loops of f32 arithmetic that this CPU and the table of `isa` can run, plain Rust among them; the
/// fastest is the limit.
pub fn float(isa: Isa) -> impl Iterator<Item = Loop> {
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    let loops = isa::float();
    #[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
    let loops = core::iter::empty();
    loops.chain([SCALAR]).filter(move |one| one.suits(isa))
}

/// Loops that multiply 8-bit integers and add in 32 bits, that this CPU and the table of `isa` can
/// run; there may be none.
pub fn int8(isa: Isa) -> impl Iterator<Item = Loop> {
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    let loops = isa::int8();
    #[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
    let loops = core::iter::empty::<Loop>();
    loops.filter(move |one| one.suits(isa))
}

/// Bytes of one step of [`read`].
const STEP: usize = 512;

/// The sum of `bytes`, read as words of 64 bits, the rest as bytes: only as fast as memory is.
pub fn read(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    return x86::read(bytes);
    #[cfg(not(target_arch = "x86_64"))]
    return sum(bytes, |_| ());
}

/// [`read`], for the compiler to make of it what the caller's instructions allow; `before` sees each
/// step.
#[inline(always)]
fn sum(bytes: &[u8], before: impl Fn(&[u8; STEP])) -> u64 {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let mut sums = [0u64; STEP / 8];
    for step in steps {
        before(step);
        let (words, _) = step.as_chunks::<8>();
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    let rest = rest.iter().map(|&byte| u64::from(byte));
    sums.into_iter().chain(rest).fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read() {
        for len in [0, 1, 511, 512, 513, 5000] {
            let mut bytes = vec![0u8; len];
            assert_eq!(read(&bytes), 0);
            for i in (0..len).step_by(97) {
                bytes[i] = 3;
                let word = i < len / STEP * STEP;
                assert_eq!(read(&bytes), if word { 3 << (8 * (i % 8)) } else { 3 }, "{i} of {len}");
                bytes[i] = 0;
            }
        }
    }

    #[test]
    fn a_plainer_table_has_fewer_loops() {
        let names = |isa| float(isa).chain(int8(isa)).map(|one| one.name()).collect::<Vec<_>>();
        assert_eq!(names(Isa::Scalar), ["scalar"]);
        for kernels in crate::Kernels::available() {
            let loops = names(kernels.isa());
            assert!(kernels.isa() == Isa::Scalar || loops.len() > 1, "{kernels:?}: {loops:?}");
            let has = |part| loops.iter().any(|one| one.contains(part));
            match kernels.isa() {
                Isa::Scalar => {}
                Isa::Avx2 | Isa::Avx512 => assert!(!has("dpbusd") && has("maddubs"), "{loops:?}"),
                Isa::AvxVnni | Isa::Avx512Vnni => assert!(has("dpbusd"), "{loops:?}"),
                Isa::Neon => assert!(!has("sdot") && has("smull"), "{loops:?}"),
                Isa::NeonDotprod => assert!(has("sdot"), "{loops:?}"),
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it measures time")]
    fn every_loop_takes_longer_for_more() {
        let tables = crate::Kernels::available().map(crate::Kernels::isa);
        for one in tables.flat_map(|isa| float(isa).chain(int8(isa)).filter(move |l| l.isa == isa))
        {
            let time = |iterations| {
                (0..5)
                    .map(|_| {
                        let start = std::time::Instant::now();
                        black_box(one.run(iterations));
                        start.elapsed()
                    })
                    .min()
                    .unwrap()
            };
            let (few, many) = (time(10_000), time(100_000));
            assert!(many > few * 3, "{}: {few:?}, then {many:?}: the loop is gone", one.name());
            let rate = (one.operations() * 100_000) as f64 / many.as_secs_f64();
            assert!(rate > 1e7, "{}: {rate} operations a second", one.name());
        }
    }
}
