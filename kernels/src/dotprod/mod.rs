//! Advanced SIMD with the dot products of Armv8.2-A, as the Cortex-A76 and A78 have them.

mod packed;

use crate::neon;
use crate::table::{Isa, Kernels};

/// To be used only where the CPU has Advanced SIMD and the dot products.
pub(crate) const TABLE: Kernels =
    Kernels { isa: Isa::NeonDotprod, forward_i8: packed::forward_i8, ..neon::TABLE };
