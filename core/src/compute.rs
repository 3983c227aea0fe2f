//! What computes: the table of kernels and the pool of threads, handed to every operation.

use homespun_kernels::{Kernels, PairJob, Pool, Serial, chunks_mut, pairs_mut};

/// Elements of one chunk of elementwise work.
const GRAIN: usize = 8192;
/// Multiply-adds that take about as long as waking another thread.
const SHARED: usize = 1 << 16;

/// The kernels of this CPU and who runs chunks.
#[derive(Clone, Copy)]
pub struct Compute<'a> {
    /// The arithmetic.
    pub kernels: &'static Kernels,
    /// The threads.
    pub pool: &'a dyn Pool,
    /// Whether linear layers with packed weights take their input as int8. Training never does.
    pub int8: bool,
    /// Told of the layer whose weights training will read next, the number of layers standing for the
    /// head: weights that do not all fit in memory can be on their way.
    pub ahead: Option<&'a (dyn Fn(usize) + Sync)>,
}

impl core::fmt::Debug for Compute<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        write!(f, "{} on {} thread(s)", self.kernels.isa().name(), self.pool.threads())
    }
}

impl<'a> Compute<'a> {
    /// `kernels` on `pool`, in f32.
    pub const fn new(kernels: &'static Kernels, pool: &'a dyn Pool) -> Self {
        Self { kernels, pool, int8: false, ahead: None }
    }

    /// `kernels` on the calling thread.
    pub const fn serial(kernels: &'static Kernels) -> Compute<'static> {
        Compute { kernels, pool: &Serial, int8: false, ahead: None }
    }

    /// The same with or without int8 activations.
    pub const fn with_int8(self, int8: bool) -> Self {
        Self { int8, ..self }
    }

    /// The same, telling `ahead` which layer comes next.
    pub const fn with_ahead(self, ahead: &'a (dyn Fn(usize) + Sync)) -> Self {
        Self { ahead: Some(ahead), ..self }
    }

    /// Layer `layer` comes next.
    pub(crate) fn tell_ahead(&self, layer: usize) {
        if let Some(ahead) = self.ahead {
            ahead(layer);
        }
    }

    /// The same on the calling thread alone, if `work` multiply-adds are too few to share.
    pub(crate) fn for_work(self, work: usize) -> Self {
        if work < SHARED { Self { pool: &Serial, ..self } } else { self }
    }

    /// `to = from`.
    pub(crate) fn copy(&self, from: &[f32], to: &mut [f32]) {
        chunks_mut(self.pool, to, 2 * GRAIN, &|i, to| {
            to.copy_from_slice(&from[2 * GRAIN * i..][..to.len()]);
        });
    }

    /// Runs `job(t, row)` for each row of `width` elements of `data`, some rows a chunk.
    pub(crate) fn rows(
        &self,
        data: &mut [f32],
        width: usize,
        job: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        let rows = (GRAIN / width).max(1);
        chunks_mut(self.pool, data, rows * width, &|i, chunk| {
            for (t, row) in chunk.chunks_exact_mut(width).enumerate() {
                job(i * rows + t, row);
            }
        });
    }

    /// Runs `job(t, row of a, row of b)` for each pair of rows, some a chunk.
    pub(crate) fn row_pairs(
        &self,
        (a, a_width): (&mut [f32], usize),
        (b, b_width): (&mut [f32], usize),
        job: &PairJob<f32, f32>,
    ) {
        let rows = (GRAIN / a_width.max(b_width)).max(1);
        pairs_mut(self.pool, (a, rows * a_width), (b, rows * b_width), &|i, a, b| {
            let pairs = a.chunks_exact_mut(a_width).zip(b.chunks_exact_mut(b_width));
            for (t, (a, b)) in pairs.enumerate() {
                job(i * rows + t, a, b);
            }
        });
    }
}

/// Row `t` of `x (T, width)`.
pub(crate) fn row(x: &[f32], t: usize, width: usize) -> &[f32] {
    &x[t * width..(t + 1) * width]
}
