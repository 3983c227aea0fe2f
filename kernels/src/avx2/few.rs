//! Forward products of few tokens with packed weights, which are widened in registers.
//!
//! ```text
//! y[t][n .. n+16] += scale[n ..] (sum over the block of quant[n ..] x[t][k])
//! ```

use core::arch::x86_64::*;

use super::convert::store;
use super::unpack::{halves, line, scales, widen};
use crate::quant::{self, BLOCK, Format, GROUP, LINE, Packed, ROWS};
use crate::tile::Tile;

/// Bytes between the weights that are asked for and those in use, when they stream from memory.
const AHEAD: usize = 4096;

/// The most tokens that share a pass over packed weights.
const SHARE: usize = 4;

/// The part `y` of `(T, N)`: `x` is `(T, K)`; whole panels, but for the last one.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn forward_packed(x: &[f32], w: Packed, accumulate: bool, y: &mut Tile) {
    let (rows, cols) = (y.rows(), y.cols());
    assert!(cols.start.is_multiple_of(ROWS), "part of a panel");
    let k = w.cols();
    for n in cols.clone().step_by(ROWS) {
        let panel = w.panel(n / ROWS);
        for t in rows.clone().step_by(SHARE) {
            let end = (t + SHARE).min(rows.end);
            let x = &x[t * k..end * k];
            let mut y = y.part(t..end, n..(n + ROWS).min(cols.end));
            let run = match end - t {
                1 => panel_sums::<1, 4>,
                2 => panel_sums::<2, 2>,
                3 => panel_sums::<3, 1>,
                _ => panel_sums::<4, 1>,
            };
            run(x, k, w.format(), &panel, accumulate, &mut y);
        }
    }
}

/// `M` tokens by the two halves of a panel, the sum over a block in `U` parts.
#[target_feature(enable = "avx2,fma,f16c")]
fn panel_sums<const M: usize, const U: usize>(
    x: &[f32],
    k: usize,
    format: Format,
    panel: &quant::Panel,
    accumulate: bool,
    y: &mut Tile,
) {
    assert!(x.len() == M * k);
    let lines = format.block_bytes() / LINE;
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    let mut padded = [[0.0; BLOCK]; M];
    for (block, lines) in panel.lines.chunks_exact(lines).enumerate() {
        let from = block * BLOCK;
        let mut rows: [&[f32; BLOCK]; M] = [&[0.0; BLOCK]; M];
        for ((row, padded), x) in rows.iter_mut().zip(&mut padded).zip(x.chunks_exact(k)) {
            let x = &x[from..];
            *row = match x.first_chunk() {
                Some(whole) => whole,
                None => {
                    padded[..x.len()].copy_from_slice(x);
                    padded
                }
            };
        }
        let mut parts = [[[_mm256_setzero_ps(); U]; M]; 2];
        for (i, bytes) in lines.iter().enumerate() {
            let ahead = bytes.as_ptr().wrapping_add(AHEAD);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            for (half, parts) in parts.iter_mut().enumerate() {
                let line = line(bytes, half);
                match format {
                    Format::Q8 => add_line(parts, line, &rows, GROUP * i),
                    Format::Q4 => {
                        let [low, high] = halves(line);
                        add_line(parts, low, &rows, 2 * GROUP * i);
                        add_line(parts, high, &rows, 2 * GROUP * i + GROUP);
                    }
                }
            }
        }
        for (half, parts) in parts.into_iter().enumerate() {
            let scales = scales(&panel.scales[block], half);
            for (sums, parts) in sums.iter_mut().zip(parts) {
                let mut part = parts[0];
                for other in &parts[1..] {
                    part = _mm256_add_ps(part, *other);
                }
                sums[half] = _mm256_fmadd_ps(scales, part, sums[half]);
            }
        }
    }
    let first = y.rows().start;
    for (i, [low, high]) in sums.into_iter().enumerate() {
        let mut sums = [[0.0; 8]; 2];
        store(&mut sums[0], low);
        store(&mut sums[1], high);
        for (y, sum) in y.row(first + i).iter_mut().zip(sums.as_flattened()) {
            *y = if accumulate { *y + sum } else { *sum };
        }
    }
}

/// `parts[m] += ` the weights of `line` times `rows[m][at ..]`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_line<const M: usize, const U: usize>(
    parts: &mut [[__m256; U]; M],
    line: __m256i,
    rows: &[&[f32; BLOCK]; M],
    at: usize,
) {
    let quants = widen(line);
    for (parts, row) in parts.iter_mut().zip(rows) {
        let x = &row[at..at + GROUP];
        for e in 0..GROUP {
            parts[e % U] = _mm256_fmadd_ps(quants[e], _mm256_set1_ps(x[e]), parts[e % U]);
        }
    }
}
