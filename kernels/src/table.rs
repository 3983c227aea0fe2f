//! The table of kernels: which instruction sets exist, which this CPU has, and the safe methods.

use crate::matrix::{Data, Matrix};
use crate::pool::Pool;
use crate::scalar;

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
#[derive(Debug)]
pub struct Kernels {
    isa: Isa,
}

static SCALAR: Kernels = Kernels { isa: Isa::Scalar };

impl Kernels {
    /// The fastest table that this CPU can run.
    pub fn detect() -> &'static Kernels {
        &SCALAR
    }

    /// The table of `isa`, if this CPU can run it.
    pub fn for_isa(isa: Isa) -> Option<&'static Kernels> {
        match isa {
            Isa::Scalar => Some(&SCALAR),
            Isa::Avx2 | Isa::Neon => None,
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
        scalar::dot(x, y)
    }

    /// `y += a x`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn axpy(&self, a: f32, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        scalar::axpy(a, x, y);
    }

    /// `y = x / rms(x) * weight`, and `1 / rms(x)` where `rms(x) = sqrt(mean(x^2) + eps)`
    /// (Zhang and Sennrich 2019, equation 4).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rmsnorm(&self, x: &[f32], weight: Data, eps: f32, y: &mut [f32]) -> f32 {
        assert!(x.len() == y.len() && x.len() == weight.len());
        scalar::rmsnorm(x, weight, eps, y)
    }

    /// `x = exp(x - max) / sum exp(x - max)`; returns `max + ln(sum)`, the log-sum-exp.
    pub fn softmax(&self, x: &mut [f32]) -> f32 {
        scalar::softmax(x)
    }

    /// `y = silu(gate) * up`, where `silu(z) = z / (1 + exp(-z))`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn swiglu(&self, gate: &[f32], up: &[f32], y: &mut [f32]) {
        assert!(gate.len() == y.len() && up.len() == y.len());
        scalar::swiglu(gate, up, y);
    }

    /// The gradients of [`swiglu`](Self::swiglu), written in place: `gate` becomes `d_gate`, `up`
    /// becomes `d_up`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn swiglu_backward(&self, d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
        assert!(gate.len() == d_y.len() && up.len() == d_y.len());
        scalar::swiglu_backward(d_y, gate, up);
    }

    /// `y = x` as f32.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn widen(&self, x: Data, y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        scalar::widen(x, y);
    }

    /// `y = x wᵀ` (or `y += x wᵀ`): `x` is `(T, K)`, `w` is `(N, K)`, `y` is `(T, N)`.
    ///
    /// # Panics
    /// If `x` or `y` is not of a shape that fits `w`.
    pub fn matmul(&self, pool: &dyn Pool, x: &[f32], w: Matrix, accumulate: bool, y: &mut [f32]) {
        let t = y.len() / w.rows().max(1);
        assert!(x.len() == t * w.cols() && y.len() == t * w.rows());
        let _ = pool;
        scalar::matmul(x, w, accumulate, y);
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
        let t = d_x.len() / w.cols().max(1);
        assert!(d_y.len() == t * w.rows() && d_x.len() == t * w.cols());
        let _ = pool;
        scalar::matmul_backward(d_y, w, accumulate, d_x);
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
        let t = tokens.max(1);
        let (n, k) = (d_y.len() / t, x.len() / t);
        assert!(d_y.len() == tokens * n && x.len() == tokens * k && d_w.len() == n * k);
        let _ = pool;
        scalar::outer_accumulate(a, d_y, x, tokens, d_w);
    }
}
