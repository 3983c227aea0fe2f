//! Handing work to threads: this pool beside rayon's, two threads each.
//!
//! ```text
//! empty        two chunks that do nothing: what posting costs a caller who need not wait
//! meet         two chunks, each of which waits for the other: one whole hand-over and back
//! gap          a serial gap, then two chunks of 5 us: how awake the others still are
//! sixty-four   64 chunks of 1 us: what a chunk costs
//! ```
//! The time of the gap is not counted; that of the chunks is.

use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use homespun_kernels::{Pool, Serial, chunks_mut};
use homespun_runtime::pool::Threads;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

const THREADS: usize = 2;

/// rayon's pool behind the same trait; the caller waits outside of it, as everywhere in this program.
struct Rayon(rayon::ThreadPool);

impl Pool for Rayon {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        self.0.install(|| (0..chunks).into_par_iter().for_each(job));
    }

    fn threads(&self) -> usize {
        THREADS
    }
}

/// rayon's pool when the caller is one of its threads already.
struct RayonInside;

impl Pool for RayonInside {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..chunks).into_par_iter().for_each(job);
    }

    fn threads(&self) -> usize {
        THREADS
    }
}

/// Keeps this thread busy for `time`.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        core::hint::spin_loop();
    }
}

/// Arithmetic of about a microsecond; no clock, whose reading would count.
fn microsecond(times: usize) {
    let mut x = 1.0f32;
    for _ in 0..times * 500 {
        x = black_box(x * 0.999 + 0.5);
    }
}

/// Two chunks that both must have begun before either ends.
fn meet(pool: &dyn Pool) {
    let begun = AtomicUsize::new(0);
    pool.run(2, &|_| {
        begun.fetch_add(1, Ordering::Relaxed);
        while begun.load(Ordering::Relaxed) < 2 {
            core::hint::spin_loop();
        }
    });
}

fn measure(c: &mut Criterion, name: &str, pool: &dyn Pool) {
    let mut group = c.benchmark_group("pool");
    group.bench_function(format!("empty/{name}"), |b| {
        b.iter(|| pool.run(THREADS, &|i| _ = black_box(i)));
    });
    if pool.threads() > 1 {
        group.bench_function(format!("meet/{name}"), |b| b.iter(|| meet(pool)));
    }
    for gap in [5, 50] {
        group.bench_function(format!("gap {gap} us/{name}"), |b| {
            b.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    spin(Duration::from_micros(gap));
                    let start = Instant::now();
                    pool.run(THREADS, &|_| microsecond(5));
                    total += start.elapsed();
                }
                total
            });
        });
    }
    group.bench_function(format!("sixty-four/{name}"), |b| {
        b.iter(|| pool.run(64, &|_| microsecond(1)));
    });
    let mut data = [0u8; 64];
    group.bench_function(format!("sixty-four, proven once/{name}"), |b| {
        b.iter(|| chunks_mut(pool, &mut data, 1, &|_, _| microsecond(1)));
    });
    group.finish();
}

fn pools(c: &mut Criterion) {
    let build = || rayon::ThreadPoolBuilder::new().num_threads(THREADS);
    measure(c, "serial", &Serial);
    {
        let threads = Threads::new(THREADS).expect("threads start");
        measure(c, "homespun", &threads);
    }
    measure(c, "rayon", &Rayon(build().build().expect("threads start")));
    // From here on this thread is one of rayon's.
    let _pool = build().use_current_thread().build().expect("threads start");
    measure(c, "rayon from inside", &RayonInside);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = pools
}
criterion_main!(benches);
