//! Causal grouped-query attention over tiles (Dao et al. 2022; Ainslie et al. 2023): no row of scores
//! is ever whole, and no score outlives its tile.
//!
//! ```text
//! job = (block of B tokens, kv head); its R = B * group >= ROWS query rows meet KEYS keys at a time
//!   S = Q Kᵀ / sqrt(head_dim)    m' = max(m, S)    P = exp(S - m')
//!   sum = sum exp(m - m') + rowsum P     out = out exp(m - m') + P V
//! at the end  out = out / sum   z = m + log sum
//! keys, values (kv_heads, C, head_dim); token t sees keys starts[t] ..= past + t
//! ```
//! `starts[t]` is where the dialogue of token `t` begins, so several lie in one batch without
//! padding. Tiles are counted from there: a token's sums do not depend on what it is packed with.

use homespun_kernels::{Data, Matrix, Serial, Slots, tile_pairs_mut};

use crate::cache::View;
use crate::compute::Compute;
use crate::config::Config;

pub(crate) mod backward;

/// Query rows of one job, at least: fewer do not pay for packing keys into panels.
const ROWS: usize = 64;
/// Keys of one tile.
const KEYS: usize = 64;

/// What attention needs to know of a model and of the tokens before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// C, the keys that the cache has room for.
    pub capacity: usize,
    /// Keys in the cache before the first token of this call.
    pub past: usize,
}

impl Shape {
    pub(crate) const fn new(config: &Config, capacity: usize, past: usize) -> Self {
        let Config { heads, kv_heads, head_dim, .. } = *config;
        Self { heads, kv_heads, head_dim, capacity, past }
    }

    /// Query heads that share a kv head.
    const fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// B, tokens of one job.
    const fn block(&self) -> usize {
        ROWS.div_ceil(self.group()).next_power_of_two()
    }

    /// Elements of a token's queries of one group.
    const fn group_dim(&self) -> usize {
        self.group() * self.head_dim
    }

    /// Elements of the work of one job of `tokens` tokens: queries, outputs, scores, m, sum.
    const fn job(&self, tokens: usize) -> usize {
        let block = if tokens < self.block() { tokens } else { self.block() };
        block * self.group() * (2 * self.head_dim + KEYS + 2)
    }

    /// Elements that [`forward`] needs for `tokens` tokens with `workers` jobs at once.
    pub(crate) const fn work(&self, tokens: usize, workers: usize) -> usize {
        let jobs = tokens.div_ceil(self.block()) * self.kv_heads;
        least(jobs, workers) * self.job(tokens)
    }

    /// Keys `from..to` of kv head `h` as a matrix.
    fn tile<'x>(&self, cache: Data<'x>, h: usize, from: usize, to: usize) -> Matrix<'x> {
        let first = h * self.capacity;
        let rows = cache.slice((first + from) * self.head_dim, (first + to) * self.head_dim);
        Matrix::new(rows, to - from, self.head_dim)
    }

    /// Multiplies column `j` of `scores` by the scale of row `from + j` of kv head `h`.
    fn scale_columns(&self, cache: View, h: usize, from: usize, to: usize, scores: &mut [f32]) {
        let Some(scales) = cache.scales else { return };
        let scales = &scales[h * self.capacity + from..h * self.capacity + to];
        for row in scores.chunks_exact_mut(to - from) {
            for (score, scale) in row.iter_mut().zip(scales) {
                *score *= scale;
            }
        }
    }

    /// Gathers the rows of tokens `t0..t1` of kv head `h` from `x (T, heads * head_dim)`, scaled.
    fn gather(&self, x: &[f32], h: usize, t0: usize, t1: usize, scale: f32, rows: &mut [f32]) {
        let width = self.group_dim();
        for (t, rows) in (t0..t1).zip(rows.chunks_exact_mut(width)) {
            let from = (t * self.kv_heads + h) * width;
            for (row, x) in rows.iter_mut().zip(&x[from..from + width]) {
                *row = x * scale;
            }
        }
    }

    fn scale(&self) -> f32 {
        1.0 / libm::sqrtf(self.head_dim as f32)
    }
}

/// `out (T, heads * head_dim)` from `q` of the same shape; `z (T, heads)` gets each row's
/// log-sum-exp, which backward needs; `work` is [`Shape::work`] long, at least for one worker.
#[allow(clippy::too_many_arguments, reason = "each is one buffer of the operation")]
pub(crate) fn forward(
    compute: Compute,
    shape: Shape,
    starts: &[u32],
    q: &[f32],
    keys: View,
    values: View,
    work: &mut [f32],
    out: &mut [f32],
    z: &mut [f32],
) {
    let tokens = starts.len();
    let seen = tokens * (shape.past + tokens) * shape.heads * shape.head_dim;
    let compute = compute.for_work(2 * seen);
    let slots = Slots::new(work, shape.job(tokens));
    let (block, width) = (shape.block().min(tokens), shape.heads * shape.head_dim);
    let out = (out, (tokens, width), (block, shape.group_dim()));
    let z = (z, (tokens, shape.heads), (block, shape.group()));
    tile_pairs_mut(compute.pool, out, z, &|i, mut out, mut z| {
        slots.lend(|work| {
            let (h, tile) = (i % shape.kv_heads, out.rows());
            for (t0, t1) in dialogues(starts, tile.start, tile.end) {
                let mut parts = Parts::of(work, shape, t1 - t0);
                rows(compute, shape, (starts, t0, t1, h), q, keys, values, &mut parts);
                let each = parts.out.chunks_exact(shape.group_dim());
                for (t, (o, l)) in (t0..t1).zip(each.zip(parts.max.chunks_exact(shape.group()))) {
                    out.row(t).copy_from_slice(o);
                    z.row(t).copy_from_slice(l);
                }
            }
        });
    });
}

/// The smaller one, where `min` is not to be had.
const fn least(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

/// The parts `t0..t1` of `from..to` that lie in one dialogue each.
fn dialogues(starts: &[u32], from: usize, to: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = from;
    core::iter::from_fn(move || {
        let first = at;
        at = (first..to).find(|&t| starts[t] != starts[first]).unwrap_or(to);
        (first < to).then_some((first, at))
    })
}

/// The rows of some tokens in a job's work.
struct Parts<'a> {
    q: &'a mut [f32],
    out: &'a mut [f32],
    scores: &'a mut [f32],
    /// Largest score so far, then z.
    max: &'a mut [f32],
    sum: &'a mut [f32],
}

impl<'a> Parts<'a> {
    /// The work of `tokens` tokens is
    /// `| q (R, head_dim) | out (R, head_dim) | scores (R, KEYS) | max (R) | sum (R) |`.
    fn of(work: &'a mut [f32], shape: Shape, tokens: usize) -> Self {
        let rows = tokens * shape.group();
        let (q, rest) = work.split_at_mut(rows * shape.head_dim);
        let (out, rest) = rest.split_at_mut(rows * shape.head_dim);
        let (scores, rest) = rest.split_at_mut(rows * KEYS);
        let (max, rest) = rest.split_at_mut(rows);
        Self { q, out, scores, max, sum: &mut rest[..rows] }
    }
}

/// Attention of tokens `t0..t1` of one dialogue, for the query heads of kv head `h`.
fn rows(
    compute: Compute,
    shape: Shape,
    (starts, t0, t1, h): (&[u32], usize, usize, usize),
    q: &[f32],
    keys: View,
    values: View,
    parts: &mut Parts,
) {
    let Parts { q: queries, out, scores, max, sum } = parts;
    let kernels = compute.kernels;
    shape.gather(q, h, t0, t1, shape.scale(), queries);
    out.fill(0.0);
    max.fill(f32::NEG_INFINITY);
    sum.fill(0.0);
    let last = shape.past + t1;
    for from in (starts[t0] as usize..last).step_by(KEYS) {
        let to = (from + KEYS).min(last);
        let scores = &mut scores[..max.len() * (to - from)];
        let tile = shape.tile(keys.data, h, from, to);
        kernels.matmul(&Serial, queries, tile, false, scores);
        shape.scale_columns(keys, h, from, to, scores);
        for (r, row) in scores.chunks_exact_mut(to - from).enumerate() {
            let visible = (shape.past + t0 + r / shape.group() + 1).clamp(from, to) - from;
            let (seen, hidden) = row.split_at_mut(visible);
            hidden.fill(0.0);
            if seen.is_empty() {
                continue;
            }
            let (larger, part) = kernels.softmax_part(max[r], seen);
            if larger > max[r] {
                let kept = libm::expf(max[r] - larger);
                kernels.scale(kept, &mut out[r * shape.head_dim..(r + 1) * shape.head_dim]);
                sum[r] *= kept;
                max[r] = larger;
            }
            sum[r] += part;
        }
        shape.scale_columns(values, h, from, to, scores);
        let tile = shape.tile(values.data, h, from, to);
        kernels.matmul_backward(&Serial, scores, tile, true, out);
    }
    for (r, out) in out.chunks_exact_mut(shape.head_dim).enumerate() {
        kernels.scale(1.0 / sum[r], out);
        max[r] += libm::logf(sum[r]);
    }
}

#[cfg(test)]
mod tests;
