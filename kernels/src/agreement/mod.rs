//! Every table against the scalar one, over odd shapes and all storage types.
//!
//! A result may differ from the specification's by rounding alone: by at most `bound` times the sum
//! of the magnitudes that were added (for a product), or times the value (for a function).

mod packed;
pub(crate) mod pools;
mod products;
mod scalar;
mod unaligned;
mod vectors;

use half::{bf16, f16};

use crate::quant::{Format, Packed, pack};
use crate::{DType, Data, Isa, Kernels, Matrix, Storage};

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
pub(crate) fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Numbers as they are stored.
enum Stored {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
    I8(Vec<i8>),
    Packed(Format, Vec<u8>),
}

impl Stored {
    /// A matrix of `cols` columns; integers are 127 times as large.
    fn new(dtype: DType, x: &[f32], cols: usize) -> Self {
        let packed = |format: Format| {
            let rows = x.len().checked_div(cols).unwrap_or(0);
            let mut bytes = vec![0; format.bytes(rows, cols).unwrap()];
            pack(format, Data::F32(x), rows, cols, &mut bytes).unwrap();
            Stored::Packed(format, bytes)
        };
        match dtype {
            DType::F32 => Stored::F32(x.to_vec()),
            DType::Bf16 => Stored::Bf16(x.iter().map(|&x| bf16::from_f32(x)).collect()),
            DType::F16 => Stored::F16(x.iter().map(|&x| f16::from_f32(x)).collect()),
            DType::I8 => Stored::I8(x.iter().map(|x| (x * 127.0) as i8).collect()),
            DType::Q8 => packed(Format::Q8),
            DType::Q4 => packed(Format::Q4),
        }
    }

    /// The numbers of a vector.
    fn data(&self) -> Data<'_> {
        match self {
            Stored::F32(x) => Data::F32(x),
            Stored::Bf16(x) => Data::Bf16(x),
            Stored::F16(x) => Data::F16(x),
            Stored::I8(x) => Data::I8(x),
            Stored::Packed(..) => panic!("a packed matrix is no vector"),
        }
    }

    fn matrix(&self, rows: usize, cols: usize) -> Matrix<'_> {
        match self {
            Stored::Packed(format, bytes) => {
                Matrix::packed(Packed::new(*format, bytes, rows, cols).unwrap())
            }
            dense => Matrix::new(dense.data(), rows, cols),
        }
    }
}

/// What vectors are stored as.
const DENSE: [DType; 4] = [DType::F32, DType::Bf16, DType::F16, DType::I8];
/// What matrices are stored as.
const DTYPES: [DType; 6] = [DType::F32, DType::Bf16, DType::F16, DType::I8, DType::Q8, DType::Q4];

/// The largest magnitude of what [`Stored::new`] makes.
fn largest(dtype: DType) -> f32 {
    if dtype == DType::I8 { 127.0 } else { 1.0 }
}

/// The first place where `got` is further than `allowed[i]` from `want`, NaN counting as far.
fn difference(got: &[f32], want: &[f32], allowed: impl Fn(usize) -> f32) -> Option<String> {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).enumerate().find_map(|(i, (got, want))| {
        let same = got == want || (got - want).abs() <= allowed(i);
        (!same).then(|| format!("element {i} is {got}, not {want}, allowed {}", allowed(i)))
    })
}
