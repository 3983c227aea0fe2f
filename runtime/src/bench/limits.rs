//! This machine's own limits, measured with the threads and the table in use.
//!
//! ```text
//! read    the model's mapped bytes, summed, in pieces that threads take in turn
//! float   \ the fastest loop of multiplications and additions that never leaves the registers
//! int8    /
//! ```
//! The best of several repetitions: a limit is what was reached once.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use homespun_kernels::peak::{self, Loop};
use homespun_kernels::{Isa, Pool};

/// Repetitions of each.
const REPEAT: usize = 7;
/// Bytes that a thread reads at a time.
const PIECE: usize = 1 << 20;
/// Least bytes of one repetition: a small model is read several times.
const LEAST_READ: usize = 64 << 20;
/// Turns of a thread in one repetition of a loop, each of about [`TURN`] seconds.
const TURNS: usize = 8;
const TURN: f64 = 1e-3;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes a second, read from the map.
    pub read: f64,
    /// Operations a second in f32, and the loop that reached them.
    pub float: (f64, &'static str),
    /// Operations a second on 8-bit integers.
    pub int8: Option<(f64, &'static str)>,
}

impl Limits {
    /// The higher of each limit: what slowed one of two measurements down need not have slowed both.
    pub(super) fn or(self, other: Self) -> Self {
        let higher = |a: (f64, &'static str), b: (f64, &'static str)| if a.0 < b.0 { b } else { a };
        Self {
            read: self.read.max(other.read),
            float: higher(self.float, other.float),
            int8: self.int8.zip(other.int8).map(|(a, b)| higher(a, b)),
        }
    }

    /// Measures with every thread of `pool`, over the bytes of `tensors`.
    pub fn measure<'b>(pool: &dyn Pool, isa: Isa, tensors: impl Iterator<Item = &'b [u8]>) -> Self {
        let fastest = |loops: &mut dyn Iterator<Item = Loop>| {
            loops.map(|one| (rate(pool, one), one.name())).max_by(|(a, _), (b, _)| a.total_cmp(b))
        };
        Self {
            read: read(pool, tensors),
            float: fastest(&mut peak::float(isa)).unwrap_or((0.0, "none")),
            int8: fastest(&mut peak::int8(isa)),
        }
    }
}

/// The shortest of several repetitions, in seconds.
fn best(mut job: impl FnMut()) -> f64 {
    let times = (0..REPEAT).map(|_| {
        let start = Instant::now();
        job();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn rate(pool: &dyn Pool, one: Loop) -> f64 {
    let mut iterations = 1 << 10;
    let time = |iterations| {
        let start = Instant::now();
        black_box(one.run(iterations));
        start.elapsed().as_secs_f64()
    };
    while time(iterations) < TURN {
        iterations *= 2;
    }
    let turns = TURNS * pool.threads();
    let seconds = best(|| pool.run(turns, &|_| _ = black_box(one.run(iterations))));
    (one.operations() * iterations * turns as u64) as f64 / seconds
}

fn read<'b>(pool: &dyn Pool, tensors: impl Iterator<Item = &'b [u8]>) -> f64 {
    let pieces: Vec<&[u8]> = tensors.flat_map(|bytes| bytes.chunks(PIECE)).collect();
    let all: usize = pieces.iter().map(|piece| piece.len()).sum();
    let times = LEAST_READ.div_ceil(all.max(1));
    let sum = AtomicU64::new(0);
    let seconds = best(|| {
        for _ in 0..times {
            pool.run(pieces.len(), &|i| {
                sum.fetch_add(peak::read(pieces[i]), Ordering::Relaxed);
            });
        }
    });
    black_box(sum);
    (all * times) as f64 / seconds
}
