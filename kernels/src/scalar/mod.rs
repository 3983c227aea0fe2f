//! Plain Rust: the specification of every kernel, bit-identical on every target.
//!
//! No fused multiply-add, no platform maths, sums in one fixed order: eight lanes, lane `j` taking
//! the elements `j`, `j + 8`, ..., then `((0+4)+(2+6)) + ((1+5)+(3+7))`. Compilers keep that order
//! and still find vectors in it.

pub(crate) mod convert;
mod matmul;
mod packed;
mod quantize;
mod vector;

use crate::table::{Isa, Kernels};

pub(crate) const TABLE: Kernels = Kernels {
    isa: Isa::Scalar,
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
};
