//! The table of kernels: which instruction sets exist, which this CPU has, and the safe methods.

use core::fmt;

#[cfg(target_arch = "x86_64")]
use crate::avx2;
use crate::grid;
use crate::matrix::{Data, Matrix};
#[cfg(target_arch = "aarch64")]
use crate::neon;
use crate::pool::Pool;
use crate::scalar;
use crate::tile::{Tile, tiles_mut};

/// An instruction set with a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust, the specification.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// Armv8-A Advanced SIMD.
    Neon,
}

impl Isa {
    /// Every instruction set, from the plainest.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Neon];

    /// The name that `--isa` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
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
    pub(crate) softmax: unsafe fn(&mut [f32]) -> f32,
    pub(crate) swiglu: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) swiglu_backward: unsafe fn(&[f32], &mut [f32], &mut [f32]),
    pub(crate) widen: unsafe fn(Data, &mut [f32]),
    pub(crate) forward: unsafe fn(&[f32], Matrix, bool, &mut Tile),
    pub(crate) backward: unsafe fn(&[f32], Matrix, bool, &mut Tile),
    pub(crate) outer: unsafe fn(f32, &[f32], &[f32], usize, &mut Tile),
}

static SCALAR: Kernels = scalar::TABLE;
#[cfg(target_arch = "x86_64")]
static AVX2: Kernels = avx2::TABLE;
#[cfg(target_arch = "aarch64")]
static NEON: Kernels = neon::TABLE;

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
            Isa::Avx2 => ([has!("avx2"), has!("fma"), has!("f16c")] == [true; 3]).then_some(&AVX2),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 => None,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => has!("neon").then_some(&NEON),
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon => None,
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

    /// `x = exp(x - max) / sum exp(x - max)`; returns `max + ln(sum)`, the log-sum-exp.
    pub fn softmax(&self, x: &mut [f32]) -> f32 {
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.softmax)(x) }
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

    /// `x = e^x`: within 1 ULP for the scalar table (libm), 2 ULP for the others.
    pub fn exp(&self, x: &mut [f32]) {
        // SAFETY: a table is handed out only where the CPU has its instruction set.
        unsafe { (self.exp)(x) }
    }

    /// `y = x wᵀ` (or `y += x wᵀ`): `x` is `(T, K)`, `w` is `(N, K)`, `y` is `(T, N)`.
    ///
    /// # Panics
    /// If `x` or `y` is not of a shape that fits `w`.
    pub fn matmul(&self, pool: &dyn Pool, x: &[f32], w: Matrix, accumulate: bool, y: &mut [f32]) {
        let (n, k) = (w.rows(), w.cols());
        let t = tokens(x.len(), k, y.len(), n);
        tiles_mut(pool, y, (t, n), grid::chunk(t, n, k), &|mut y| {
            // SAFETY: a table is handed out only where the CPU has its instruction set.
            unsafe { (self.forward)(x, w, accumulate, &mut y) }
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
        tiles_mut(pool, d_x, (t, k), grid::chunk(t, k, n), &|mut d_x| {
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
        tiles_mut(pool, d_w, (n, k), grid::chunk(n, k, tokens), &|mut d_w| {
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
