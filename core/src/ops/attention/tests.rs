//! Attention against its definition, its gradients against central differences.

use super::backward::{Gradients, Saved, backward};
use super::*;
use crate::cache::Rows;
use crate::testing::{check_gradient, compute, gradient_fails, random, weighted};

const HEAD: usize = 6;

fn dense(rows: &[f32]) -> View<'_> {
    View { data: Data::F32(rows), scales: None }
}

fn shape(heads: usize, kv_heads: usize, tokens: usize) -> Shape {
    Shape { heads, kv_heads, head_dim: HEAD, capacity: tokens, past: 0 }
}

/// Keys or values `(T, kv_heads * head_dim)` as a cache.
fn cached(shape: Shape, x: &[f32]) -> Vec<f32> {
    let mut cache = vec![f32::NAN; shape.kv_heads * shape.capacity * HEAD];
    let place = (shape.kv_heads, shape.capacity, shape.past);
    Rows::F32(&mut cache).append(compute(), place, x);
    cache
}

struct Forward {
    out: Vec<f32>,
    z: Vec<f32>,
}

fn run(shape: Shape, starts: &[u32], q: &[f32], k: &[f32], v: &[f32]) -> Forward {
    let mut out = vec![f32::NAN; q.len()];
    let mut z = vec![f32::NAN; starts.len() * shape.heads];
    let mut work = vec![f32::NAN; shape.work(starts.len(), 1)];
    let (keys, values) = (cached(shape, k), cached(shape, v));
    forward(compute(), shape, starts, q, dense(&keys), dense(&values), &mut work, &mut out, &mut z);
    Forward { out, z }
}

/// The definition, in f64: softmax over the dialogue's keys so far, row by row.
fn definition(shape: Shape, starts: &[u32], q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
    let at = |x: &[f32], t: usize, width: usize, h: usize| -> Vec<f64> {
        let from = (t * width + h) * HEAD;
        x[from..from + HEAD].iter().map(|&x| f64::from(x)).collect()
    };
    let mut out = Vec::new();
    for (t, &start) in starts.iter().enumerate() {
        for h in 0..shape.heads {
            let (query, kv) = (at(q, t, shape.heads, h), h / shape.group());
            let score = |j: usize| -> f64 {
                let key = at(k, j, shape.kv_heads, kv);
                let dot: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                (dot / (HEAD as f64).sqrt()).exp()
            };
            let weights: Vec<f64> = (start as usize..=t).map(score).collect();
            let sum: f64 = weights.iter().sum();
            for i in 0..HEAD {
                let mix = weights
                    .iter()
                    .enumerate()
                    .map(|(j, w)| w / sum * at(v, start as usize + j, shape.kv_heads, kv)[i]);
                out.push(mix.sum::<f64>() as f32);
            }
        }
    }
    out
}

/// Dialogues of these lengths, one after the other.
fn packed(lengths: &[usize]) -> Vec<u32> {
    let mut starts = Vec::new();
    for &n in lengths {
        starts.extend([starts.len() as u32].repeat(n));
    }
    starts
}

fn inputs(shape: Shape, tokens: usize) -> [Vec<f32>; 4] {
    let (q, kv) = (tokens * shape.heads * HEAD, tokens * shape.kv_heads * HEAD);
    let wide = |seed, n| random(seed, n).iter().map(|x| 3.0 * x).collect();
    [wide(1, q), wide(2, kv), random(3, kv), random(4, q)]
}

#[test]
fn the_output_is_the_definition_over_several_tiles_and_dialogues() {
    for (heads, kv_heads) in [(4, 4), (4, 2), (6, 1)] {
        for lengths in [&[1][..], &[7, 3], &[150], &[5, 90, 1, 70]] {
            let starts = packed(lengths);
            let shape = shape(heads, kv_heads, starts.len());
            let [q, k, v, _] = inputs(shape, starts.len());
            let expected = definition(shape, &starts, &q, &k, &v);
            let found = run(shape, &starts, &q, &k, &v).out;
            let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0, f32::max) < 1e-5);
            // Planted bug: one head's output dropped.
            let dropped = |i: usize| i / HEAD % heads == heads - 1;
            let bug = expected.iter().enumerate().map(|(i, &x)| if dropped(i) { 0.0 } else { x });
            assert!(found.iter().zip(bug).any(|(a, b)| (a - b).abs() > 1e-2));
        }
    }
}

fn gradients(shape: Shape, starts: &[u32], [q, k, v, d_out]: &[Vec<f32>; 4]) -> [Vec<f32>; 3] {
    let Forward { out, z } = run(shape, starts, q, k, v);
    let (keys, values) = (cached(shape, k), cached(shape, v));
    let saved = Saved { starts, q, keys: &keys, values: &values, z: &z };
    let [mut d_k, mut d_v] = [k, v].map(|x| vec![f32::NAN; x.len()]);
    let mut d_q = out;
    let mut delta = vec![f32::NAN; z.len()];
    let mut work = vec![f32::NAN; shape.backward_work(starts.len(), 1)];
    let write = Gradients { d_q: &mut d_q, d_k: &mut d_k, d_v: &mut d_v };
    backward(compute(), shape, saved, d_out, &mut delta, &mut work, write);
    [d_q, d_k, d_v]
}

#[test]
fn the_gradients_are_the_central_differences_over_several_tiles_and_dialogues() {
    for (heads, kv_heads, lengths) in [(2, 2, &[9, 4][..]), (4, 2, &[3, 20, 1]), (3, 1, &[70, 5])] {
        let starts = packed(lengths);
        let shape = shape(heads, kv_heads, starts.len());
        let x = inputs(shape, starts.len());
        let [q, k, v, d_out] = &x;
        let [mut d_q, mut d_k, d_v] = gradients(shape, &starts, &x);
        let loss =
            |q: &[f32], k: &[f32], v: &[f32]| weighted(&run(shape, &starts, q, k, v).out, d_out);
        check_gradient(q, &d_q, |q| loss(q, k, v));
        check_gradient(k, &d_k, |k| loss(q, k, v));
        check_gradient(v, &d_v, |v| loss(q, k, v));
        // Planted bugs: a head of dQ dropped; dK without the last token's.
        let width = heads * HEAD;
        d_q.chunks_exact_mut(width).for_each(|d| d[width - HEAD..].fill(0.0));
        assert!(gradient_fails(q, &d_q, |q| loss(q, k, v)));
        d_k[(starts.len() - 2) * kv_heads * HEAD..].fill(0.0);
        assert!(gradient_fails(k, &d_k, |k| loss(q, k, v)));
    }
}
