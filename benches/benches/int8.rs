//! Products of int8 activations with packed weights, one thread, for every instruction set that this
//! CPU has.
//!
//! One token is bound by memory: the throughput is bytes of weights a second, from a cache or, where
//! the matrix is larger than those, from memory. Many tokens are bound by arithmetic: criterion's
//! "elem/s" are 2 T N K a second, to compare with the limits beside them, which are loops of
//! multiply-adds that never leave the registers.

use core::hint::black_box;
use core::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homespun_benches::numbers;
use homespun_kernels::quant::{ActivationBlock, Activations, Format, Packed, pack};
use homespun_kernels::{Data, Input, Isa, Kernels, Matrix, Product, Serial, peak};

/// Outputs and inputs of a layer.
const LAYERS: [(usize, usize); 3] = [(576, 576), (1536, 576), (8192, 2048)];
/// Outputs and inputs of a matrix that no cache holds.
const LARGE: (usize, usize) = (65536, 1024);

/// Multiply-adds that take the scalar table, which decodes each weight alone, too long.
const SLOW: usize = 1 << 27;

/// A packed matrix, the same panel over and over.
fn packed(format: Format, n: usize, k: usize) -> Vec<u8> {
    let mut panel = vec![0; format.panel_bytes(k)];
    pack(format, Data::F32(&numbers(16 * k)), 16, k, &mut panel).expect("finite weights");
    panel.repeat(n / 16)
}

/// Runs `T` tokens by a matrix for every instruction set and format.
fn products(
    c: &mut Criterion,
    group: &str,
    t: usize,
    layers: &[(usize, usize)],
    throughput: impl Fn(usize, usize, usize) -> Throughput,
) {
    for format in [Format::Q8, Format::Q4] {
        let mut group = c.benchmark_group(format!("{group}_{}", format.name()));
        for &(n, k) in layers {
            let (bytes, x, mut y) = (packed(format, n, k), numbers(t * k), vec![0.0; t * n]);
            let w = Packed::new(format, &bytes, n, k).expect("the bytes of this shape");
            let zero = ActivationBlock { quants: [0; 32], scale: 0.0, sum: 0 };
            let mut blocks = vec![zero; t * Activations::width(k)];
            group.throughput(throughput(bytes.len(), n, k));
            let small = t * n * k < SLOW;
            for kernels in Kernels::available().filter(|k| small || k.isa() != Isa::Scalar) {
                let x = kernels.quantize(&Serial, &x, k, &mut blocks);
                let id = BenchmarkId::new(kernels.isa().name(), format!("{t}x{n}x{k}"));
                group.bench_function(id, |b| {
                    b.iter(|| {
                        let w = Matrix::packed(w);
                        let product = Product { w, accumulate: false, y: &mut y };
                        kernels.matmul_each(&Serial, Input::I8(black_box(x)), [product]);
                    });
                });
            }
        }
        group.finish();
    }
}

fn matvec(c: &mut Criterion) {
    let layers = [LAYERS[0], LAYERS[1], LARGE];
    products(c, "matvec_i8", 1, &layers, |bytes, _, _| Throughput::Bytes(bytes as u64));
}

fn matmul(c: &mut Criterion) {
    for (t, layers) in [(8, &LAYERS[..2]), (256, &LAYERS[..]), (512, &LAYERS[..2])] {
        products(c, "matmul_i8", t, layers, |_, n, k| Throughput::Elements((2 * t * n * k) as u64));
    }
}

fn quantize(c: &mut Criterion) {
    let mut group = c.benchmark_group("quantize");
    let (t, k) = (64, 2048);
    let x = numbers(t * k);
    let zero = ActivationBlock { quants: [0; 32], scale: 0.0, sum: 0 };
    let mut blocks = vec![zero; t * Activations::width(k)];
    group.throughput(Throughput::Elements((t * k) as u64));
    for kernels in Kernels::available() {
        group.bench_function(kernels.isa().name(), |b| {
            b.iter(|| kernels.quantize(&Serial, black_box(&x), k, &mut blocks).tokens());
        });
    }
    group.finish();
}

/// What multiply-adds of bytes and reads can do at the most here.
fn limits(c: &mut Criterion) {
    let mut group = c.benchmark_group("limits");
    for kernels in Kernels::available() {
        for limit in peak::int8(kernels.isa()) {
            group.throughput(Throughput::Elements(100_000 * limit.operations()));
            let id = BenchmarkId::new(kernels.isa().name(), limit.name());
            group.bench_function(id, |b| b.iter(|| limit.run(black_box(100_000))));
        }
    }
    let bytes = vec![1; 64 << 20];
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("read", |b| b.iter(|| peak::read(black_box(&bytes))));
    group.finish();
}

criterion_group! {
    name = int8;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .sample_size(10);
    targets = limits, matvec, matmul, quantize
}
criterion_main!(int8);
