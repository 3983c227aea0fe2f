//! AVX2 with FMA and F16C: eight f32 in a register.

mod convert;
mod few;
mod matmul;
mod matvec;
mod packed;
mod quantize;
pub(crate) mod tiles;
pub(crate) mod unpack;
mod vector;

use crate::scalar;
use crate::table::{Isa, Kernels};

/// To be used only where the CPU has AVX2, FMA and F16C.
#[allow(clippy::needless_update, reason = "a new operation is scalar until it is written here")]
pub(crate) const TABLE: Kernels = Kernels {
    isa: Isa::Avx2,
    dot: vector::dot,
    axpy: vector::axpy,
    exp: vector::exp,
    rmsnorm: vector::rmsnorm,
    scale: vector::scale,
    softmax_part: vector::softmax_part,
    swiglu: vector::swiglu,
    swiglu_backward: vector::swiglu_backward,
    widen: convert::widen,
    narrow: convert::narrow,
    forward: matmul::forward,
    backward: matmul::backward,
    outer: matmul::outer,
    quantize: quantize::quantize,
    forward_i8: packed::forward_i8,
    ..scalar::TABLE
};
