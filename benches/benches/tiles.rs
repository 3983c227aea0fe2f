//! f32 products over every way to store weights, on one thread: few tokens and many.
//!
//! Criterion's "elem/s" are floating-point operations a second, 2 T N K.
//! One token is bound by memory once weights leave the cache.

use core::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};
use homespun_benches::numbers;
use homespun_kernels::quant::{Format, Packed, pack};
use homespun_kernels::{Data, Kernels, Matrix, Serial};

/// Outputs and inputs of the layer.
const SHAPE: (usize, usize) = (576, 1536);
/// Tokens of a product.
const TOKENS: [usize; 4] = [1, 8, 64, 256];

/// Runs `bench` on the same weights in each storage type.
fn each_storage(mut bench: impl FnMut(&str, Matrix)) {
    let (n, k) = SHAPE;
    let w = numbers(n * k);
    let packed = |format: Format| {
        let mut bytes = vec![0; format.bytes(n, k).expect("a small matrix")];
        pack(format, Data::F32(&w), n, k, &mut bytes).expect("finite weights");
        bytes
    };
    let bf16s: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
    let f16s: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
    for data in [Data::F32(&w), Data::Bf16(&bf16s), Data::F16(&f16s)] {
        bench(data.dtype().name(), Matrix::new(data, n, k));
    }
    for format in [Format::Q8, Format::Q4] {
        let bytes = packed(format);
        let w = Packed::new(format, &bytes, n, k).expect("packed above");
        bench(format.name(), Matrix::packed(w));
    }
}

/// One product: activations `(T, K)` or gradients `(T, N)`, weights, and the output.
type Product = fn(&Kernels, &[f32], Matrix, &mut [f32]);

fn products(c: &mut Criterion, name: &str, product: Product, input: usize, output: usize) {
    let (n, k) = SHAPE;
    let mut group = c.benchmark_group(name);
    for t in TOKENS {
        let (x, mut y) = (numbers(t * input), vec![0.0; t * output]);
        group.throughput(Throughput::Elements((2 * t * n * k) as u64));
        each_storage(|dtype, w| {
            for kernels in Kernels::available() {
                let name = format!("{}/{dtype}", kernels.isa().name());
                group.bench_function(BenchmarkId::new(name, t), |b| {
                    b.iter(|| product(kernels, &x, w, &mut y));
                });
            }
        });
    }
    group.finish();
}

fn forward(c: &mut Criterion) {
    let product: Product = |kernels, x, w, y| kernels.matmul(&Serial, x, w, false, y);
    products(c, "forward", product, SHAPE.1, SHAPE.0);
}

fn backward(c: &mut Criterion) {
    let product: Product = |kernels, d_y, w, d_x| {
        kernels.matmul_backward(&Serial, d_y, w, false, d_x);
    };
    products(c, "backward", product, SHAPE.0, SHAPE.1);
}

fn outer(c: &mut Criterion) {
    let (n, k) = SHAPE;
    let mut group = c.benchmark_group("outer");
    for t in TOKENS {
        let (d_y, x, mut d_w) = (numbers(t * n), numbers(t * k), vec![0.0; n * k]);
        group.throughput(Throughput::Elements((2 * t * n * k) as u64));
        for kernels in Kernels::available() {
            group.bench_function(BenchmarkId::new(kernels.isa().name(), t), |b| {
                b.iter(|| kernels.outer_accumulate(&Serial, 1e-9, &d_y, &x, t, &mut d_w));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = tiles;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(10);
    targets = forward, backward, outer
}
criterion_main!(tiles);
