//! AVX-512 F, BW, DQ and VL: sixteen f32 in a register, and masks for what does not fill one; with
//! VNNI, int8 products.

mod convert;
mod few;
mod matmul;
mod matvec;
mod packed;
mod quantize;
mod transpose;
mod unpack;
mod vector;

use crate::avx2;
use crate::table::{Isa, Kernels};

/// To be used only where the CPU has all that [`avx2::TABLE`] needs, and AVX-512 F, BW, DQ and VL.
pub(crate) const TABLE: Kernels = Kernels {
    isa: Isa::Avx512,
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
    ..avx2::TABLE
};

/// To be used only where the CPU has that and AVX512-VNNI.
pub(crate) const VNNI_TABLE: Kernels =
    Kernels { isa: Isa::Avx512Vnni, forward_i8: packed::forward_i8, ..TABLE };
