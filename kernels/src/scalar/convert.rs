//! Stored weights to f32: bf16 and f16 widen exactly; and f32 to f16, rounded.

use half::{bf16, f16};

use crate::matrix::Data;

/// How a weight is stored; every value of it is an f32.
pub trait Stored: Copy {
    /// The value, exactly.
    fn to_f32(self) -> f32;
}

impl Stored for f32 {
    fn to_f32(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
}

impl Stored for f16 {
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

impl Stored for i8 {
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

pub fn widen(x: Data, y: &mut [f32]) {
    match x {
        Data::F32(x) => y.copy_from_slice(x),
        Data::Bf16(x) => widen_slice(x, y),
        Data::F16(x) => widen_slice(x, y),
        Data::I8(x) => widen_slice(x, y),
    }
}

pub fn widen_slice<W: Stored>(x: &[W], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = x.to_f32();
    }
}

pub fn narrow(x: &[f32], y: &mut [f16]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = f16::from_f32_const(*x);
    }
}
