//! The table of kernels: which instruction sets exist, which this CPU has, and the safe methods.

use core::fmt;

use half::f16;

#[cfg(target_arch = "x86_64")]
use crate::avx2;
#[cfg(target_arch = "x86_64")]
use crate::avx512;
#[cfg(target_arch = "x86_64")]
use crate::avxvnni;
#[cfg(target_arch = "aarch64")]
use crate::dotprod;
#[cfg(all(feature = "std", target_arch = "x86_64"))]
use crate::gemm;
use crate::grid;
use crate::matrix::{Data, Matrix, Storage};
#[cfg(target_arch = "aarch64")]
use crate::neon;
use crate::pool::{Pool, chunks_mut};
use crate::quant::{ActivationBlock, Activations, Packed};
use crate::scalar;
use crate::tile::{Tile, tiles_mut};

/// An instruction set with a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust, the specification.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// The same with AVX-VNNI for int8 products.
    AvxVnni,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same with VNNI for int8 products.
    Avx512Vnni,
    /// Armv8-A Advanced SIMD.
    Neon,
    /// The same with the dot products of Armv8.2-A.
    NeonDotprod,
}

impl Isa {
    /// Every instruction set, from the plainest.
    pub const ALL: [Isa; 7] = [
        Isa::Scalar,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512,
        Isa::Avx512Vnni,
        Isa::Neon,
        Isa::NeonDotprod,
    ];

    /// The name that `--isa` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Neon => "neon",
            Isa::NeonDotprod => "dotprod",
        }
    }
}

/// The operations of one instruction set; holding one proves that this CPU has it.
///
/// Each field is called in the one method of its name, which checks lengths. The three products get
/// whole factors and the part of the output to make.
pub struct Kernels {
    pub(crate) isa: Isa,
    pub(crate) dot: unsafe fn(&[f32], &[f32]) -> f32,
    pub(crate) axpy: unsafe fn(f32, &[f32], &mut [f32]),
    pub(crate) exp: unsafe fn(&mut [f32]),
    pub(crate) rmsnorm: unsafe fn(&[f32], Data, f32, &mut [f32]) -> f32,
    pub(crate) scale: unsafe fn(f32, &mut [f32]),
    pub(crate) softmax_part: unsafe fn(&mut [f32], f32) -> (f32, f32),
    pub(crate) swiglu: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) swiglu_backward: unsafe fn(&[f32], &mut [f32], &mut [f32]),
    pub(crate) widen: unsafe fn(Data, &mut [f32]),
    pub(crate) narrow: unsafe fn(&[f32], &mut [f16]),
    pub(crate) forward: unsafe fn(&[f32], Matrix, bool, &mut Tile),
    pub(crate) backward: unsafe fn(&[f32], Matrix, bool, &mut Tile),
    pub(crate) outer: unsafe fn(f32, &[f32], &[f32], usize, &mut Tile),
    pub(crate) quantize: unsafe fn(&[f32], &mut [ActivationBlock]),
    pub(crate) forward_i8: unsafe fn(Activations, Packed, bool, &mut Tile),
}

/// What a product multiplies: activations `(T, K)`.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// As they are.
    F32(&'a [f32]),
    /// Quantised; the matrix must be packed.
    I8(Activations<'a>),
}

/// One of several products of the same activations: `y = x wᵀ`, or `y += x wᵀ`.
#[derive(Debug)]
pub struct Product<'a> {
    /// `(N, K)`.
    pub w: Matrix<'a>,
    /// Whether to add to what `y` holds.
    pub accumulate: bool,
    /// `(T, N)`.
    pub y: &'a mut [f32],
}

static SCALAR: Kernels = scalar::TABLE;
#[cfg(target_arch = "x86_64")]
static AVX2: Kernels = avx2::TABLE;
#[cfg(target_arch = "x86_64")]
static AVX_VNNI: Kernels = avxvnni::TABLE;
#[cfg(target_arch = "x86_64")]
static AVX512: Kernels = avx512::TABLE;
#[cfg(target_arch = "x86_64")]
static AVX512_VNNI: Kernels = avx512::VNNI_TABLE;
#[cfg(target_arch = "aarch64")]
static NEON: Kernels = neon::TABLE;
#[cfg(target_arch = "aarch64")]
static NEON_DOTPROD: Kernels = dotprod::TABLE;

/// Whether this CPU has a feature: asked at run time, or without `std` known when compiled.
#[cfg(all(feature = "std", target_arch = "x86_64"))]
macro_rules! has {
    ($feature:tt) => {
        std::arch::is_x86_feature_detected!($feature)
    };
}
#[cfg(all(feature = "std", target_arch = "aarch64"))]
macro_rules! has {
    ($feature:tt) => {
        std::arch::is_aarch64_feature_detected!($feature)
    };
}
#[cfg(all(not(feature = "std"), any(target_arch = "aarch64", target_arch = "x86_64")))]
macro_rules! has {
    ($feature:tt) => {
        cfg!(target_feature = $feature)
    };
}

/// What every x86 table of ours needs at least.
#[cfg(target_arch = "x86_64")]
fn avx2() -> bool {
    has!("avx2") && has!("fma") && has!("f16c")
}

/// What every table with 512-bit registers needs.
#[cfg(target_arch = "x86_64")]
fn avx512() -> bool {
    avx2() && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl")
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels").field("isa", &self.isa).finish_non_exhaustive()
    }
}

impl Kernels {
    /// The fastest table that this CPU can run.
    pub fn detect() -> &'static Kernels {
        Kernels::available().last().unwrap_or(&SCALAR)
    }

    /// The table of `isa`, if this CPU can run it.
    pub fn for_isa(isa: Isa) -> Option<&'static Kernels> {
        match isa {
            Isa::Scalar => Some(&SCALAR),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2().then_some(&AVX2),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => (avx2() && has!("avxvnni")).then_some(&AVX_VNNI),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512().then_some(&AVX512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => (avx512() && has!("avx512vnni")).then_some(&AVX512_VNNI),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 | Isa::Avx512Vnni => None,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => has!("neon").then_some(&NEON),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod => (has!("neon") && has!("dotprod")).then_some(&NEON_DOTPROD),
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon | Isa::NeonDotprod => None,
        }
    }

    /// Every table that this CPU can run.
    pub fn available() -> impl Iterator<Item = &'static Kernels> {
        Isa::ALL.into_iter().filter_map(Kernels::for_isa)
    }

    /// The instruction set of this table.
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes that products of `tokens` tokens, forward and backward, take on each thread: a panel on its
    /// stack, and what the gemm crate takes on the heap, for an adapter's matrices are dense over any
    /// weights.
    pub const fn workspace(&self, tokens: usize) -> usize {
        const STACK: usize = 1 << 16;
        #[cfg(all(feature = "std", target_arch = "x86_64"))]
        if matches!(self.isa, Isa::Avx512 | Isa::Avx512Vnni) && tokens >= gemm::TOKENS {
            return STACK + gemm::WORKSPACE;
        }
        let _ = tokens;
        STACK
    }

    /// `sum_i x[i] y[i]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn dot(&self, x: &[f32], y: &[f32]) -> f32 {
        assert_eq!(x.len(), y.len());
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.dot)(x, y) }
    }

    /// `y += a x`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn axpy(&self, a: f32, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.axpy)(a, x, y) }
    }

    /// `y = x / rms(x) * weight`, and `1 / rms(x)` where `rms(x) = sqrt(mean(x^2) + eps)`
    /// (Zhang and Sennrich 2019, equation 4).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rmsnorm(&self, x: &[f32], weight: Data, eps: f32, y: &mut [f32]) -> f32 {
        assert!(x.len() == y.len() && x.len() == weight.len());
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.rmsnorm)(x, weight, eps, y) }
    }

    /// `x *= a`.
    pub fn scale(&self, a: f32, x: &mut [f32]) {
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.scale)(a, x) }
    }

    /// One part of a softmax that is made in parts (Milakov and Gimelshein 2018, algorithm 3):
    /// `x = exp(x - m)` where `m` is the largest of `max` and `x`; returns `m` and the sum of the new
    /// `x`. Sums of earlier parts, made with `max`, are to be multiplied by `exp(max - m)`.
    pub fn softmax_part(&self, max: f32, x: &mut [f32]) -> (f32, f32) {
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.softmax_part)(x, max) }
    }

    /// `x = exp(x - max) / sum exp(x - max)`; returns `max + ln(sum)`, the log-sum-exp.
    pub fn softmax(&self, x: &mut [f32]) -> f32 {
        let (max, sum) = self.softmax_part(f32::NEG_INFINITY, x);
        self.scale(1.0 / sum, x);
        max + libm::logf(sum)
    }

    /// `y = silu(gate) * up`, where `silu(z) = z / (1 + exp(-z))`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn swiglu(&self, gate: &[f32], up: &[f32], y: &mut [f32]) {
        assert!(gate.len() == y.len() && up.len() == y.len());
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.swiglu)(gate, up, y) }
    }

    /// The gradients of [`swiglu`](Self::swiglu), written in place: `gate` becomes `d_gate`, `up`
    /// becomes `d_up`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn swiglu_backward(&self, d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
        assert!(gate.len() == d_y.len() && up.len() == d_y.len());
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.swiglu_backward)(d_y, gate, up) }
    }

    /// `y = x` as f32.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn widen(&self, x: Data, y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.widen)(x, y) }
    }

    /// `y = x` as f16, to the nearest, ties to even; what is too large becomes infinite.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn narrow(&self, x: &[f32], y: &mut [f16]) {
        assert_eq!(x.len(), y.len());
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.narrow)(x, y) }
    }

    /// `x = e^x`: within 1 ULP for the scalar table (libm), 2 ULP for the others.
    pub fn exp(&self, x: &mut [f32]) {
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.exp)(x) }
    }

    /// Row `row` of `w (N, K)` as f32.
    ///
    /// # Panics
    /// If there is no such row, or `y` is not `(K)`.
    pub fn widen_row(&self, w: Matrix, row: usize, y: &mut [f32]) {
        assert_eq!(w.cols(), y.len());
        match w.storage() {
            Storage::Dense(data) => {
                self.widen(data.slice(row * w.cols(), (row + 1) * w.cols()), y);
            }
            Storage::Packed(packed) => packed.dequantize(row, 0, y),
        }
    }

    /// `x (T, K)` as int8 in `blocks`, [`Activations::width`] for each token.
    ///
    /// # Panics
    /// If the lengths do not fit `k` or each other.
    pub fn quantize<'a>(
        &self,
        pool: &dyn Pool,
        x: &[f32],
        k: usize,
        blocks: &'a mut [ActivationBlock],
    ) -> Activations<'a> {
        let width = Activations::width(k);
        let tokens = x.len().checked_div(k).unwrap_or(0);
        assert!(x.len() == tokens * k && blocks.len() == tokens * width, "lengths do not fit");
        if tokens > 0 {
            let rows = grid::rows(k);
            chunks_mut(pool, blocks, rows * width, &|i, blocks| {
                let x = x[i * rows * k..].chunks_exact(k);
                for (x, blocks) in x.zip(blocks.chunks_exact_mut(width)) {
                    // SAFETY: a table is handed out only where the CPU has its instruction set.
                    unsafe { (self.quantize)(x, blocks) }
                }
            });
        }
        Activations::new(blocks, k)
    }

    /// `y = x wᵀ` (or `y += x wᵀ`): `x` is `(T, K)`, `w` is `(N, K)`, `y` is `(T, N)`.
    ///
    /// # Panics
    /// If `x` or `y` is not of a shape that fits `w`.
    pub fn matmul(&self, pool: &dyn Pool, x: &[f32], w: Matrix, accumulate: bool, y: &mut [f32]) {
        self.matmul_each(pool, Input::F32(x), [Product { w, accumulate, y }]);
    }

    /// Several products of the same activations, their chunks shared out together.
    ///
    /// # Panics
    /// If `x` or a `y` is not of a shape that fits its matrix, or `x` is int8 and the matrix dense.
    pub fn matmul_each<const N: usize>(&self, pool: &dyn Pool, x: Input, each: [Product; N]) {
        let weights = each.each_ref().map(|product| (product.w, product.accumulate));
        let cuts = each.map(|Product { w, y, .. }| {
            let (n, k) = (w.rows(), w.cols());
            match x {
                Input::F32(x) => {
                    let t = tokens(x.len(), k, y.len(), n);
                    (y, (t, n), grid::chunk(t, n, k))
                }
                Input::I8(x) => {
                    assert!(x.cols() == k && matches!(w.storage(), Storage::Packed(_)));
                    let t = tokens(x.blocks().len(), Activations::width(k), y.len(), n);
                    (y, (t, n), grid::packed_chunk(t, n, k))
                }
            }
        });
        tiles_mut(pool, cuts, &|i, mut y| {
            let (w, accumulate) = weights[i];
            match (x, w.storage()) {
                // SAFETY: a table is handed out only where the CPU has its instruction set.
                (Input::F32(x), _) => unsafe { (self.forward)(x, w, accumulate, &mut y) },
                (Input::I8(x), Storage::Packed(w)) => {
                    // SAFETY: as above.
                    unsafe { (self.forward_i8)(x, w, accumulate, &mut y) }
                }
                (Input::I8(_), Storage::Dense(_)) => unreachable!("asserted above"),
            }
        });
    }

    /// `d_x = d_y w` (or `d_x += d_y w`): `d_y` is `(T, N)`, `w` is `(N, K)`, `d_x` is `(T, K)`.
    ///
    /// # Panics
    /// If `d_x` or `d_y` is not of a shape that fits `w`.
    pub fn matmul_backward(
        &self,
        pool: &dyn Pool,
        d_y: &[f32],
        w: Matrix,
        accumulate: bool,
        d_x: &mut [f32],
    ) {
        let (n, k) = (w.rows(), w.cols());
        let t = tokens(d_x.len(), k, d_y.len(), n);
        tiles_mut(pool, [(d_x, (t, k), grid::chunk_of_columns(t, k, n))], &|_, mut d_x| {
            // SAFETY: a table is handed out only where the CPU has its instruction set.
            unsafe { (self.backward)(d_y, w, accumulate, &mut d_x) }
        });
    }

    /// `d_w += a d_yᵀ x`: `d_y` is `(T, N)`, `x` is `(T, K)`, `d_w` is `(N, K)`.
    ///
    /// # Panics
    /// If the lengths do not fit `T`, `d_w` or each other.
    pub fn outer_accumulate(
        &self,
        pool: &dyn Pool,
        a: f32,
        d_y: &[f32],
        x: &[f32],
        tokens: usize,
        d_w: &mut [f32],
    ) {
        if tokens == 0 {
            return assert!(d_y.is_empty() && x.is_empty(), "lengths without tokens");
        }
        let (n, k) = (d_y.len() / tokens, x.len() / tokens);
        assert!(d_y.len() == tokens * n && x.len() == tokens * k && d_w.len() == n * k);
        tiles_mut(pool, [(d_w, (n, k), grid::chunk(n, k, tokens))], &|_, mut d_w| {
            // SAFETY: a table is handed out only where the CPU has its instruction set.
            unsafe { (self.outer)(a, d_y, x, tokens, &mut d_w) }
        });
    }
}

/// `T`, given the lengths of a `(T, K)` and a `(T, N)`.
///
/// # Panics
/// If there is no such `T`.
fn tokens(inputs: usize, k: usize, outputs: usize, n: usize) -> usize {
    let tokens = outputs.checked_div(n).unwrap_or(inputs / k.max(1));
    assert!(inputs == tokens * k && outputs == tokens * n, "lengths do not fit the matrix");
    tokens
}
