//! The arithmetic of Homespun: one table of operations per instruction set, chosen at run time.
//!
//! ```text
//! Kernels ── scalar       the specification, bit-identical on every target
//!         ├─ avx2         AVX2 + FMA + F16C
//!         ├─ avxvnni      the same, int8 products by AVX-VNNI
//!         ├─ avx512       AVX-512 F, BW, DQ, VL
//!         ├─ avx512vnni   the same, int8 products by AVX512-VNNI
//!         ├─ neon         Armv8-A Advanced SIMD
//!         └─ dotprod      the same, int8 products by SDOT
//! ```
//! Letters of shapes: T tokens, K inputs of a matrix, N outputs.
#![cfg_attr(not(any(feature = "std", test)), no_std)]

#[cfg(test)]
mod agreement;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod dotprod;
#[cfg(all(feature = "std", target_arch = "x86_64"))]
mod gemm;
mod grid;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod panel;
#[cfg(feature = "std")]
pub mod peak;
mod pool;
pub mod quant;
mod scalar;
mod slots;
mod table;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod tail;
mod tile;

pub use matrix::{DType, Data, Matrix, Storage};
pub use pool::{PairJob, Pool, Serial, chunks_mut, pairs_mut};
pub use slots::Slots;
pub use table::{Input, Isa, Kernels, Product};
pub use tile::{Cut, Tile, TilePairJob, tile_chunks_mut, tile_pairs_mut};
