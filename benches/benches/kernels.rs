//! The kernels of every instruction set that this CPU has, one thread, at shapes of small models.
//!
//! Criterion's "elem/s" are floating-point operations a second: 2 T N K for a product.

use core::hint::black_box;
use core::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homespun_benches::numbers;
use homespun_kernels::{Data, Kernels, Matrix, Serial};

/// Outputs and inputs of a layer: about 5, 15 and 135 million parameters.
const LAYERS: [(usize, usize); 3] = [(128, 384), (256, 704), (576, 1536)];

fn dot(c: &mut Criterion) {
    let mut group = c.benchmark_group("dot");
    for len in [64, 576, 4096] {
        let (x, y) = (numbers(len), numbers(len));
        group.throughput(Throughput::Elements(2 * len as u64));
        for kernels in Kernels::available() {
            group.bench_function(BenchmarkId::new(kernels.isa().name(), len), |b| {
                b.iter(|| kernels.dot(black_box(&x), black_box(&y)));
            });
        }
    }
    group.finish();
}

/// One token: bound by memory, so the throughput is bytes of weights.
fn matvec(c: &mut Criterion) {
    let mut group = c.benchmark_group("matvec");
    for (n, k) in LAYERS {
        let (x, w, mut y) = (numbers(k), numbers(n * k), vec![0.0; n]);
        let halves: Vec<_> = w.iter().map(|&w| half::bf16::from_f32(w)).collect();
        for (name, data) in [("f32", Data::F32(&w)), ("bf16", Data::Bf16(&halves))] {
            group.throughput(Throughput::Bytes(
                data.dtype().matrix_bytes(n, k).expect("a small matrix") as u64,
            ));
            for kernels in Kernels::available() {
                let id =
                    BenchmarkId::new(format!("{}/{name}", kernels.isa().name()), shape(1, n, k));
                group.bench_function(id, |b| {
                    b.iter(|| kernels.matmul(&Serial, &x, Matrix::new(data, n, k), false, &mut y));
                });
            }
        }
    }
    group.finish();
}

/// Many tokens: bound by arithmetic.
fn matmul(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul");
    for (n, k) in LAYERS {
        for t in [64, 256] {
            let (x, w, mut y) = (numbers(t * k), numbers(n * k), vec![0.0; t * n]);
            let halves: Vec<_> = w.iter().map(|&w| half::bf16::from_f32(w)).collect();
            group.throughput(Throughput::Elements((2 * t * n * k) as u64));
            for (name, data) in [("f32", Data::F32(&w)), ("bf16", Data::Bf16(&halves))] {
                for kernels in Kernels::available() {
                    let name = format!("{}/{name}", kernels.isa().name());
                    group.bench_function(BenchmarkId::new(name, shape(t, n, k)), |b| {
                        let w = Matrix::new(data, n, k);
                        b.iter(|| kernels.matmul(&Serial, &x, w, false, &mut y));
                    });
                }
            }
        }
    }
    group.finish();
}

fn matmul_backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul_backward");
    for (n, k) in LAYERS {
        for t in [64, 256] {
            let (d_y, w, mut d_x) = (numbers(t * n), numbers(n * k), vec![0.0; t * k]);
            let halves: Vec<_> = w.iter().map(|&w| half::bf16::from_f32(w)).collect();
            group.throughput(Throughput::Elements((2 * t * n * k) as u64));
            for (name, data) in [("f32", Data::F32(&w)), ("bf16", Data::Bf16(&halves))] {
                for kernels in Kernels::available() {
                    let name = format!("{}/{name}", kernels.isa().name());
                    group.bench_function(BenchmarkId::new(name, shape(t, n, k)), |b| {
                        let w = Matrix::new(data, n, k);
                        b.iter(|| kernels.matmul_backward(&Serial, &d_y, w, false, &mut d_x));
                    });
                }
            }
        }
    }
    group.finish();
}

/// The narrow products of an adapter of rank 8: `h = x Aᵀ`, `y += h Bᵀ`, and their gradients.
fn adapter(c: &mut Criterion) {
    let mut group = c.benchmark_group("adapter");
    let (t, d, r) = (256, 576, 8);
    let (x, h, a, mut y, mut g) =
        (numbers(t * d), numbers(t * r), numbers(d * r), numbers(t * d), numbers(t * r));
    let mut d_a = vec![0.0; d * r];
    let (down, up) = (Matrix::new(Data::F32(&a), r, d), Matrix::new(Data::F32(&a), d, r));
    group.throughput(Throughput::Elements((2 * t * d * r) as u64));
    for kernels in Kernels::available() {
        let name = kernels.isa().name();
        group.bench_function(BenchmarkId::new(name, "x_to_h"), |b| {
            b.iter(|| kernels.matmul(&Serial, &x, down, false, &mut g));
        });
        group.bench_function(BenchmarkId::new(name, "h_to_y"), |b| {
            b.iter(|| kernels.matmul(&Serial, &h, up, false, &mut y));
        });
        group.bench_function(BenchmarkId::new(name, "d_y_to_d_h"), |b| {
            b.iter(|| kernels.matmul_backward(&Serial, &x, up, false, &mut g));
        });
        group.bench_function(BenchmarkId::new(name, "d_h_to_d_x"), |b| {
            b.iter(|| kernels.matmul_backward(&Serial, &h, down, false, &mut y));
        });
        group.bench_function(BenchmarkId::new(name, "d_a"), |b| {
            b.iter(|| kernels.outer_accumulate(&Serial, 1e-9, &h, &x, t, &mut d_a));
        });
        group.bench_function(BenchmarkId::new(name, "d_b"), |b| {
            b.iter(|| kernels.outer_accumulate(&Serial, 1e-9, &x, &h, t, &mut d_a));
        });
    }
    group.finish();
}

/// Operations over vectors of a layer's width.
fn vectors(c: &mut Criterion) {
    let mut group = c.benchmark_group("vectors");
    let len = 1536;
    let (x, up, mut y) = (numbers(len), numbers(len), vec![0.0; len]);
    let bf16s: Vec<_> = x.iter().map(|&x| half::bf16::from_f32(x)).collect();
    let f16s: Vec<_> = x.iter().map(|&x| half::f16::from_f32(x)).collect();
    let i8s: Vec<_> = x.iter().map(|x| (127.0 * x) as i8).collect();
    let mut halves = f16s.clone();
    group.throughput(Throughput::Elements(len as u64));
    for kernels in Kernels::available() {
        let name = kernels.isa().name();
        group.bench_function(BenchmarkId::new(name, "rmsnorm"), |b| {
            b.iter(|| kernels.rmsnorm(&x, Data::F32(&up), 1e-5, &mut y));
        });
        group.bench_function(BenchmarkId::new(name, "softmax"), |b| {
            b.iter(|| {
                y.copy_from_slice(&x);
                kernels.softmax(&mut y)
            });
        });
        group.bench_function(BenchmarkId::new(name, "softmax_part"), |b| {
            b.iter(|| {
                y.copy_from_slice(&x);
                kernels.softmax_part(0.5, &mut y)
            });
        });
        group.bench_function(BenchmarkId::new(name, "exp"), |b| {
            b.iter(|| {
                y.copy_from_slice(&x);
                kernels.exp(&mut y);
            });
        });
        group.bench_function(BenchmarkId::new(name, "swiglu"), |b| {
            b.iter(|| kernels.swiglu(&x, &up, &mut y));
        });
        for x in [Data::Bf16(&bf16s), Data::F16(&f16s), Data::I8(&i8s)] {
            let id = BenchmarkId::new(name, format!("widen_{}", x.dtype().name()));
            group.bench_function(id, |b| b.iter(|| kernels.widen(black_box(x), &mut y)));
        }
        group.bench_function(BenchmarkId::new(name, "narrow"), |b| {
            b.iter(|| kernels.narrow(black_box(&x), &mut halves));
        });
    }
    group.finish();
}

fn shape(t: usize, n: usize, k: usize) -> String {
    format!("{t}x{n}x{k}")
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20);
    targets = dot, matvec, matmul, matmul_backward, adapter, vectors
}
criterion_main!(kernels);
