//! AVX-512 F, BW, DQ and VL: sixteen f32 in a register; with VNNI, int8 products.

mod packed;
mod quantize;

use crate::avx2;
use crate::table::{Isa, Kernels};

/// To be used only where the CPU has all that [`avx2::TABLE`] needs, and AVX-512 F, BW, DQ and VL.
pub(crate) const TABLE: Kernels =
    Kernels { isa: Isa::Avx512, quantize: quantize::quantize, ..avx2::TABLE };

/// To be used only where the CPU has that and AVX512-VNNI.
pub(crate) const VNNI_TABLE: Kernels =
    Kernels { isa: Isa::Avx512Vnni, forward_i8: packed::forward_i8, ..TABLE };
