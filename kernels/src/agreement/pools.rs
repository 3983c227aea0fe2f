//! The order and the number of threads change no bit.

use bytemuck::Zeroable;

use super::*;
use crate::quant::{ActivationBlock, Activations};
use crate::{Input, Pool, Product, Serial};

/// Last chunk first.
struct Reversed;

impl Pool for Reversed {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..chunks).rev().for_each(job);
    }

    fn threads(&self) -> usize {
        1
    }
}

/// Threads that take every fourth chunk each.
pub(crate) struct Four;

impl Pool for Four {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || (thread..chunks).step_by(4).for_each(job));
            }
        });
    }

    fn threads(&self) -> usize {
        4
    }
}

/// All three products of a shape that splits into many chunks, one after the other.
fn products(kernels: &Kernels, pool: &dyn Pool, (t, n, k): (usize, usize, usize)) -> Vec<u32> {
    let (x, w, d_y) = (numbers(t * k, 1), numbers(n * k, 2), numbers(t * n, 3));
    let [bf16, q8, q4] = [DType::Bf16, DType::Q8, DType::Q4].map(|d| Stored::new(d, &w, k));
    let (mut y, mut d_x, mut d_w) = (vec![0.0; t * n], vec![0.0; t * k], vec![0.0; n * k]);
    kernels.matmul(pool, &x, Matrix::new(Data::F32(&w), n, k), false, &mut y);
    kernels.matmul(pool, &x, bf16.matrix(n, k), true, &mut y);
    kernels.matmul_backward(pool, &d_y, Matrix::new(Data::F32(&w), n, k), false, &mut d_x);
    kernels.outer_accumulate(pool, 2.0, &d_y, &x, t, &mut d_w);
    let mut blocks = vec![ActivationBlock::zeroed(); t * Activations::width(k)];
    let quantised = kernels.quantize(pool, &x, k, &mut blocks);
    let (mut y8, mut y4) = (vec![0.0; t * n], vec![0.0; t * n]);
    let each = [(&q8, &mut y8), (&q4, &mut y4)].map(|(w, y)| Product {
        w: w.matrix(n, k),
        accumulate: false,
        y,
    });
    kernels.matmul_each(pool, Input::I8(quantised), each);
    y.extend(y8.iter().chain(&y4));
    y.iter().chain(&d_x).chain(&d_w).map(|x| x.to_bits()).collect()
}

#[test]
#[cfg_attr(miri, ignore = "a product that is worth cutting takes an interpreter minutes")]
fn the_pool_changes_no_bit() {
    for kernels in Kernels::available() {
        for shape in [(1, 700, 600), (40, 300, 100), (700, 8, 200), (700, 200, 8)] {
            let want = products(kernels, &Serial, shape);
            assert!(want == products(kernels, &Reversed, shape), "{kernels:?} {shape:?} reversed");
            assert!(want == products(kernels, &Four, shape), "{kernels:?} {shape:?} four threads");
        }
    }
}
