//! Every table against the scalar one, over odd shapes and all storage types.
//!
//! A result may differ from the specification's by rounding alone: by at most `bound` times the sum
//! of the magnitudes that were added (for a product), or times the value (for a function).

mod pools;
mod products;
mod scalar;
mod vectors;

use half::{bf16, f16};

use crate::{DType, Data, Isa, Kernels};

/// Unit in the last place of 1.
const ULP: f32 = f32::EPSILON;

/// The tables to compare with the specification.
fn others() -> impl Iterator<Item = &'static Kernels> {
    Kernels::available().filter(|kernels| kernels.isa() != Isa::Scalar)
}

fn specification() -> &'static Kernels {
    Kernels::for_isa(Isa::Scalar).unwrap()
}

/// Reproducible numbers in -1..1 that no tail repeats.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Numbers as they are stored.
enum Weights {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
}

impl Weights {
    fn new(dtype: DType, x: &[f32]) -> Self {
        match dtype {
            DType::F32 => Weights::F32(x.to_vec()),
            DType::Bf16 => Weights::Bf16(x.iter().map(|&x| bf16::from_f32(x)).collect()),
            DType::F16 => Weights::F16(x.iter().map(|&x| f16::from_f32(x)).collect()),
        }
    }

    fn data(&self) -> Data<'_> {
        match self {
            Weights::F32(x) => Data::F32(x),
            Weights::Bf16(x) => Data::Bf16(x),
            Weights::F16(x) => Data::F16(x),
        }
    }
}

const DTYPES: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

/// The first place where `got` is further than `allowed[i]` from `want`, NaN counting as far.
fn difference(got: &[f32], want: &[f32], allowed: impl Fn(usize) -> f32) -> Option<String> {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).enumerate().find_map(|(i, (got, want))| {
        let same = got == want || (got - want).abs() <= allowed(i);
        (!same).then(|| format!("element {i} is {got}, not {want}, allowed {}", allowed(i)))
    })
}
