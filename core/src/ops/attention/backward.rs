//! The gradient of attention, from recomputed tiles (Dao et al. 2022, algorithm 4) in two passes, so
//! that every job writes a block of its own.
//!
//! ```text
//! P = exp(S - z)     dP = dO Vᵀ     delta = rowsum(dO * O)     dS = P * (dP - delta)
//! pass 1, job (block of queries, kv head):  dQ = dS K / sqrt(head_dim)
//! pass 2, job (block of keys, kv head):     dV = Pᵀ dO         dK = dSᵀ Q / sqrt(head_dim)
//! ```

use homespun_kernels::{Data, Serial, Slots, Tile, tile_chunks_mut, tile_pairs_mut};

use super::{KEYS, Shape, dialogues, least};
use crate::compute::{Compute, row};

/// What forward left behind; all of `T` tokens that start at key 0.
#[derive(Clone, Copy)]
pub(crate) struct Saved<'a> {
    /// First token of each token's dialogue, `(T)`.
    pub starts: &'a [u32],
    /// Queries, rotated, `(T, heads * head_dim)`.
    pub q: &'a [f32],
    /// `(kv_heads, C, head_dim)`.
    pub keys: &'a [f32],
    /// `(kv_heads, C, head_dim)`.
    pub values: &'a [f32],
    /// `(T, heads)`.
    pub z: &'a [f32],
}

/// The gradients, all written: `d_q (T, heads * head_dim)`, which holds the forward's output when it
/// begins, `d_k` and `d_v (T, kv_heads * head_dim)`.
pub(crate) struct Gradients<'a> {
    pub d_q: &'a mut [f32],
    pub d_k: &'a mut [f32],
    pub d_v: &'a mut [f32],
}

impl Shape {
    /// Rows of a tile of queries.
    const fn tile_rows(&self) -> usize {
        self.block() * self.group()
    }

    /// Elements of a job of pass 1: q, dO, dQ, S, dP.
    const fn query_job(&self) -> usize {
        self.tile_rows() * (3 * self.head_dim + 2 * KEYS)
    }

    /// Elements of a job of pass 2: dK, dV, q, dO, S, dP.
    const fn key_job(&self) -> usize {
        2 * KEYS * self.head_dim + self.tile_rows() * (2 * self.head_dim + 2 * KEYS)
    }

    /// Elements of a job of either pass.
    const fn backward_job(&self) -> usize {
        let (queries, keys) = (self.query_job(), self.key_job());
        if queries > keys { queries } else { keys }
    }

    /// Elements that [`backward`] needs for `tokens` tokens with `workers` jobs at once.
    pub(crate) const fn backward_work(&self, tokens: usize, workers: usize) -> usize {
        let jobs = tokens.div_ceil(least(self.block(), KEYS)) * self.kv_heads;
        least(jobs, workers) * self.backward_job()
    }
}

/// The gradients at `saved` of an output whose gradient is `d_out (T, heads * head_dim)`; `delta` is
/// `(T, heads)` and `work` [`Shape::backward_work`] long, at least for one worker.
pub(crate) fn backward(
    compute: Compute,
    shape: Shape,
    saved: Saved,
    d_out: &[f32],
    delta: &mut [f32],
    work: &mut [f32],
    gradients: Gradients,
) {
    let Gradients { d_q, d_k, d_v } = gradients;
    let out = &*d_q;
    compute.rows(delta, 1, &|r, delta| {
        let (o, d_o) = (row(out, r, shape.head_dim), row(d_out, r, shape.head_dim));
        delta[0] = compute.kernels.dot(o, d_o);
    });
    let pass = Pass { compute, shape, saved, d_out, delta };
    let (tokens, pool) = (saved.starts.len(), compute.pool);
    let slots = Slots::new(work, shape.backward_job());
    let cut = (shape.block(), shape.group_dim());
    tile_chunks_mut(pool, (d_q, (tokens, shape.heads * shape.head_dim), cut), &|i, d_q| {
        slots.lend(|work| pass.queries(i % shape.kv_heads, d_q, work));
    });
    let size = (tokens, shape.kv_heads * shape.head_dim);
    let cut = (KEYS, shape.head_dim);
    tile_pairs_mut(pool, (d_k, size, cut), (d_v, size, cut), &|i, d_k, d_v| {
        slots.lend(|work| pass.keys(i % shape.kv_heads, d_k, d_v, work));
    });
}

/// What every job reads.
#[derive(Clone, Copy)]
struct Pass<'a> {
    compute: Compute<'a>,
    shape: Shape,
    saved: Saved<'a>,
    d_out: &'a [f32],
    delta: &'a [f32],
}

impl Pass<'_> {
    /// The part `d_q` of dQ: a block of tokens and kv head `h`.
    fn queries(&self, h: usize, mut d_q: Tile, work: &mut [f32]) {
        let Self { shape, saved, .. } = *self;
        let block = d_q.rows();
        let (sum, tile) = work.split_at_mut(shape.tile_rows() * shape.head_dim);
        for (t0, t1) in dialogues(saved.starts, block.start, block.end) {
            let sum = &mut sum[..(t1 - t0) * shape.group_dim()];
            sum.fill(0.0);
            let mut tile = self.load(h, t0, t1, tile);
            for k0 in (saved.starts[t0] as usize..t1).step_by(KEYS) {
                let k1 = (k0 + KEYS).min(t1);
                let n = self.scores(h, t0, (k0, k1), &mut tile);
                let keys = shape.tile(Data::F32(saved.keys), h, k0, k1);
                self.compute.kernels.matmul_backward(&Serial, &tile.d_s[..n], keys, true, sum);
            }
            let scale = shape.scale();
            for (t, sum) in (t0..t1).zip(sum.chunks_exact(shape.group_dim())) {
                d_q.row(t).iter_mut().zip(sum).for_each(|(d, sum)| *d = sum * scale);
            }
        }
    }

    /// The parts `d_k` and `d_v` of dK and dV: a block of keys and kv head `h`.
    fn keys(&self, h: usize, mut d_k: Tile, mut d_v: Tile, work: &mut [f32]) {
        let Self { shape, saved, .. } = *self;
        let (tokens, block) = (saved.starts.len(), d_k.rows());
        let (sum_k, rest) = work.split_at_mut(KEYS * shape.head_dim);
        let (sum_v, tile) = rest.split_at_mut(KEYS * shape.head_dim);
        for (k0, k1) in dialogues(saved.starts, block.start, block.end) {
            let sum_k = &mut sum_k[..(k1 - k0) * shape.head_dim];
            let sum_v = &mut sum_v[..(k1 - k0) * shape.head_dim];
            sum_k.fill(0.0);
            sum_v.fill(0.0);
            let start = saved.starts[k0];
            let end = (k0..tokens).find(|&t| saved.starts[t] != start).unwrap_or(tokens);
            for t0 in (k0..end).step_by(shape.block()) {
                let t1 = (t0 + shape.block()).min(end);
                let mut tile = self.load(h, t0, t1, tile);
                let n = self.scores(h, t0, (k0, k1), &mut tile);
                let (p, d_s, queries) = (&tile.p[..n], &tile.d_s[..n], n / (k1 - k0));
                let Compute { kernels, .. } = self.compute;
                kernels.outer_accumulate(&Serial, 1.0, p, tile.d_out, queries, sum_v);
                kernels.outer_accumulate(&Serial, 1.0, d_s, tile.q, queries, sum_k);
            }
            let each = sum_k.chunks_exact(shape.head_dim).zip(sum_v.chunks_exact(shape.head_dim));
            for (t, (sum_k, sum_v)) in (k0..k1).zip(each) {
                d_k.row(t).copy_from_slice(sum_k);
                d_v.row(t).copy_from_slice(sum_v);
            }
        }
    }

    /// Gathers the queries, scaled, and the output's gradient of tokens `t0..t1`.
    fn load<'w>(&self, h: usize, t0: usize, t1: usize, work: &'w mut [f32]) -> Queries<'w> {
        let shape = self.shape;
        let n = (t1 - t0) * shape.group();
        let (q, rest) = work.split_at_mut(shape.tile_rows() * shape.head_dim);
        let (d_out, rest) = rest.split_at_mut(shape.tile_rows() * shape.head_dim);
        let (p, rest) = rest.split_at_mut(shape.tile_rows() * KEYS);
        let (q, d_out) = (&mut q[..n * shape.head_dim], &mut d_out[..n * shape.head_dim]);
        shape.gather(self.saved.q, h, t0, t1, shape.scale(), q);
        shape.gather(self.d_out, h, t0, t1, 1.0, d_out);
        Queries { q, d_out, p, d_s: rest }
    }

    /// Computes P and dS of a loaded tile of queries, the first at token `t0`, against keys `k0..k1`;
    /// returns how many elements each has.
    fn scores(&self, h: usize, t0: usize, (k0, k1): (usize, usize), tile: &mut Queries) -> usize {
        let Self { compute: Compute { kernels, .. }, shape, saved, .. } = *self;
        let (n, width) = (tile.q.len() / shape.head_dim, k1 - k0);
        let (p, d_s) = (&mut tile.p[..n * width], &mut tile.d_s[..n * width]);
        kernels.matmul(&Serial, tile.q, shape.tile(Data::F32(saved.keys), h, k0, k1), false, p);
        kernels.matmul(
            &Serial,
            tile.d_out,
            shape.tile(Data::F32(saved.values), h, k0, k1),
            false,
            d_s,
        );
        for (r, (p, d_s)) in p.chunks_exact_mut(width).zip(d_s.chunks_exact_mut(width)).enumerate()
        {
            let (t, g) = (t0 + r / shape.group(), r % shape.group());
            let visible = (t + 1).clamp(k0, k1) - k0;
            p[visible..].fill(0.0);
            d_s[visible..].fill(0.0);
            if visible == 0 {
                continue;
            }
            let at = t * shape.heads + h * shape.group() + g;
            let factor = libm::expf(kernels.softmax(&mut p[..visible]) - saved.z[at]);
            for (p, d_s) in p[..visible].iter_mut().zip(d_s) {
                *p *= factor;
                *d_s = *p * (*d_s - self.delta[at]);
            }
        }
        n * width
    }
}

/// Query rows of some tokens and room for their scores.
struct Queries<'a> {
    q: &'a mut [f32],
    d_out: &'a mut [f32],
    p: &'a mut [f32],
    d_s: &'a mut [f32],
}
