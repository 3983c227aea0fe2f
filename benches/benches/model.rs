//! The built-in model: prefill, decode and a training step, on one thread with every
//! instruction set that this CPU has, and with the fastest on two.

use core::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homespun_core::lora::{LoraConfig, Targets};
use homespun_core::schedule::Schedule;
use homespun_kernels::Kernels;
use homespun_runtime::adapter::Adapter;
use homespun_runtime::engine::{Base, Engine, Sampling};
use homespun_runtime::pool::Threads;
use homespun_runtime::tune::{Example, Length, Options, Trainer};

/// Some ids of the built-in vocabulary, always the same.
fn tokens(n: usize) -> Vec<u32> {
    (0..n).map(|i| 10 + (i * 37 % 900) as u32).collect()
}

/// Kernels, threads, and what they are called.
fn machines() -> impl Iterator<Item = (&'static Kernels, usize, String)> {
    let two = Kernels::detect();
    let one = Kernels::available().map(|kernels| (kernels, 1));
    one.chain([(two, 2)]).map(|(kernels, threads)| {
        (kernels, threads, format!("{} {threads} threads", kernels.isa().name()))
    })
}

fn inference(c: &mut Criterion) {
    let base = Base::builtin(None).expect("the built-in model opens");
    let layers = base.layers().expect("its layers are there");
    for (kernels, threads, name) in machines() {
        let pool = Threads::new(threads).expect("threads start");
        let engine = Engine::new(&base, &layers, kernels, &pool).expect("it computes");
        let mut group = c.benchmark_group("prefill");
        for n in [32, 256] {
            let ids = tokens(n);
            group.throughput(Throughput::Elements(n as u64));
            let mut session = engine.session(None);
            group.bench_function(BenchmarkId::new(&name, n), |b| {
                b.iter(|| session.states(&ids).expect("it computes").raw[0]);
            });
        }
        group.finish();
        let mut group = c.benchmark_group("decode");
        let (prompt, sampling) = (tokens(8), Sampling::greedy(64));
        let mut session = engine.session(None);
        let written = session.generate(&prompt, &sampling, &mut |_| Ok(true)).expect("it writes");
        group.throughput(Throughput::Elements(written.len().max(1) as u64));
        group.bench_function(&name, |b| {
            b.iter(|| session.generate(&prompt, &sampling, &mut |_| Ok(true)).expect("it writes"));
        });
        group.finish();
    }
}

fn training(c: &mut Criterion) {
    let base = Base::builtin(None).expect("the built-in model opens");
    let layers = base.layers().expect("its layers are there");
    let examples: Vec<Example> = (0..4)
        .map(|id| {
            let tokens = tokens(128);
            let targets = (0..128).map(|i| i > 64).collect();
            Example { tokens, targets, id }
        })
        .collect();
    let mut group = c.benchmark_group("train_step");
    group.throughput(Throughput::Elements(4 * 128));
    for (kernels, threads, name) in machines() {
        let pool = Threads::new(threads).expect("threads start");
        let engine = Engine::new(&base, &layers, kernels, &pool).expect("it computes");
        let config = LoraConfig::new(8, 16.0, 0.05, Targets::ALL);
        let mut adapter = Adapter::fresh(config, base.config(), base.name(), 0);
        let options = Options {
            lr: 1e-3,
            batch: 4,
            micro_batch: None,
            length: Length::Steps(usize::MAX / 8),
            warmup: 0,
            schedule: Schedule::Constant,
            weight_decay: 0.0,
            clip: 1.0,
            shuffle: true,
            seed: 0,
        };
        let mut trainer =
            Trainer::new(&engine, &mut adapter, &examples, options).expect("there is work");
        group.bench_function(&name, |b| {
            b.iter(|| trainer.step().expect("it learns"));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = inference, training
}
criterion_main!(benches);
