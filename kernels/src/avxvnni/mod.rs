//! AVX-VNNI: what AVX2 has, and the multiply-add of bytes in its registers.

mod packed;

use crate::avx2;
use crate::table::{Isa, Kernels};

/// To be used only where the CPU has all that [`avx2::TABLE`] needs, and AVX-VNNI.
pub(crate) const TABLE: Kernels =
    Kernels { isa: Isa::AvxVnni, forward_i8: packed::forward_i8, ..avx2::TABLE };
