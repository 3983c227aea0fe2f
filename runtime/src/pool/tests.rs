//! The pool: each chunk once, whatever comes between; nobody waits for sleepers; sleepers sleep.

use std::sync::Barrier;

use homespun_kernels::chunks_mut;

use super::*;

/// Runs `chunks` chunks and checks that each ran once.
fn once_each(pool: &Threads, chunks: usize) {
    let counts: Vec<_> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
    pool.run(chunks, &|i| {
        counts[i].fetch_add(1, Ordering::Relaxed);
    });
    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{counts:?}");
}

#[test]
fn every_chunk_runs_once_at_any_thread_count() {
    for threads in 0..=5 {
        let pool = Threads::new(threads).unwrap();
        for chunks in [0, 1, 2, 7, 100] {
            (0..50).for_each(|_| once_each(&pool, chunks));
        }
    }
}

#[test]
fn very_short_jobs_back_to_back_lose_no_chunk_and_leak_none_into_the_next() {
    for threads in [2, 3, 8] {
        let pool = Threads::new(threads).unwrap();
        for round in 0..20_000usize {
            // Each job's borrow ends with it: a worker that came late would write to a dead frame.
            let sum = AtomicUsize::new(0);
            pool.run(3, &|i| {
                sum.fetch_add(round * 3 + i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), round * 9 + 3, "{threads} threads");
        }
    }
}

#[test]
fn two_pools_work_at_once_and_two_callers_share_one() {
    let shared = Threads::new(2).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let own = Threads::new(2).unwrap();
                for chunks in 0..300 {
                    once_each(&own, chunks % 9);
                    once_each(&shared, chunks % 7);
                }
            });
        }
    });
}

#[test]
fn a_job_inside_a_job_runs_alone() {
    let pool = Threads::new(3).unwrap();
    let mut sums = vec![0usize; 8];
    chunks_mut(&pool, &mut sums, 1, &|i, sum| {
        let total = AtomicUsize::new(0);
        pool.run(4, &|j| {
            total.fetch_add(i * 10 + j, Ordering::Relaxed);
        });
        sum[0] = total.into_inner();
    });
    assert_eq!(sums, (0..8).map(|i| i * 40 + 6).collect::<Vec<_>>());
}

#[test]
fn a_panicking_chunk_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Threads::new(2).unwrap();
    for planted in [0, 5, 7] {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(8, &|i| assert_ne!(i, planted, "planted"));
        }));
        assert!(outcome.is_err());
        once_each(&pool, 8);
    }
}

/// A panic's payload that panics once more as it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("planted, in a drop");
    }
}

#[test]
fn a_payload_that_panics_as_it_drops_ends_neither_the_caller_nor_a_worker_early() {
    let pool = Threads::new(2).unwrap();
    let caller = std::thread::current().id();
    for by_caller in [true, false] {
        let (both, ended) = (Barrier::new(2), AtomicUsize::new(0));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(2, &|_| {
                both.wait();
                if (std::thread::current().id() == caller) == by_caller {
                    std::panic::panic_any(Bomb);
                }
                std::thread::sleep(20 * SPIN);
                ended.store(1, Ordering::Relaxed);
            });
        }));
        let payload = outcome.expect_err("a chunk panicked");
        assert!(!payload.is::<Bomb>(), "the payload came out of the pool");
        assert_eq!(ended.into_inner(), 1, "the caller went on before the other chunk had ended");
        once_each(&pool, 8);
    }
}

#[test]
fn parked_workers_wake_for_a_late_job() {
    let pool = Threads::new(2).unwrap();
    for _ in 0..5 {
        while pool.shared.parked.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Both chunks wait for each other: only a woken worker can end this.
        let both = Barrier::new(2);
        pool.run(2, &|_| {
            both.wait();
        });
    }
}

#[test]
fn a_caller_sleeps_while_the_last_worker_takes_long() {
    let pool = Threads::new(2).unwrap();
    let caller = std::thread::current().id();
    let both = Barrier::new(2);
    let done = AtomicUsize::new(0);
    pool.run(2, &|_| {
        both.wait();
        if std::thread::current().id() != caller {
            std::thread::sleep(20 * SPIN);
            done.store(1, Ordering::Relaxed);
        }
    });
    assert_eq!(done.into_inner(), 1, "the caller went on before the worker had ended");
    once_each(&pool, 100);
}

/// CPU time of thread `task` (`PID/task/TID`) so far, in ticks of 10 ms.
fn cpu_ticks(task: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{task}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[test]
fn an_idle_pool_burns_no_cpu() {
    let pool = Threads::new(3).unwrap();
    let all = Barrier::new(3);
    let caller = std::thread::current().id();
    let tasks = Mutex::new(Vec::new());
    pool.run(3, &|_| {
        all.wait();
        if std::thread::current().id() != caller
            && let Ok(link) = std::fs::read_link("/proc/thread-self")
        {
            tasks.lock().unwrap().push(link.display().to_string());
        }
    });
    let tasks = tasks.into_inner().unwrap();
    if tasks.is_empty() {
        return println!("skipped: this system has no /proc/thread-self");
    }
    assert_eq!(tasks.len(), 2);
    let ticks = || tasks.iter().map(|task| cpu_ticks(task).unwrap()).sum::<u64>();
    std::thread::sleep(Duration::from_millis(100));
    let before = ticks();
    std::thread::sleep(Duration::from_millis(600));
    let burnt = ticks() - before;
    assert!(burnt < 20, "two idle workers took {burnt} ticks of 120");
}
