//! Many cells: which of them this process runs, how many at once, and for how long.
//!
//! ```text
//! cells ─ shard i/n ─ not done yet ─> queue: seed after seed, so that what a budget leaves undone
//!                                     leaves whole comparisons
//! queue ─> job 1..J, threads/J each ─> cells/KEY.jsonl ─> results.jsonl
//! ```
//! A stream's features and the untuned base's replies are computed once a process.

use core::time::Duration;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use homespun_kernels::Kernels;

use super::Error;
use super::cell::{self, Arm, Cell};
use super::data::World;
use super::estimate::{Estimate, epochs, said};
use super::results::{Folder, Row};
use super::run::{Bench, Ended};
use super::setup;
use super::spec::Spec;
use crate::engine::{Base, Engine};
use crate::memory;
use crate::personalize::score::{Features, Scorer};
use crate::pool::Threads;
use crate::tune::Budget;
use crate::tune::pace::{Cause, Stop};

/// More threads a job change the pieces that training is computed in, and so its last bits.
const MOST_THREADS: usize = 8;

/// How a sweep is run; none of it changes a result.
pub struct Options {
    /// Cells at once.
    pub jobs: usize,
    /// Threads of all of them.
    pub threads: usize,
    /// Which of how many shards.
    pub shard: (u64, u64),
    /// Cells begin only where they are thought to end within it.
    pub budget: Option<Duration>,
    /// What computes.
    pub kernels: &'static Kernels,
    /// The command, for the report.
    pub command: String,
    /// Where cells run, if not in the folder of results.
    pub scratch: Option<PathBuf>,
    /// Tells what would run, and runs nothing.
    pub dry: bool,
}

/// What became of a sweep.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Cells that this process did.
    pub ran: usize,
    /// Cells of this shard that were done before.
    pub before: usize,
    /// Cells of the whole experiment that are not done.
    pub missing: usize,
    /// Cells that the budget left.
    pub left: Vec<Cell>,
    /// Cells that other processes are at.
    pub elsewhere: usize,
}

/// Runs what of `spec` falls to this process.
///
/// # Errors
/// If the data is not as it must be, before any work; if results cannot be written, some cells
/// failed, or it was told to stop.
pub fn run(
    spec: &Spec,
    base: &Base,
    out: &Path,
    options: &Options,
    stop: &Stop,
) -> Result<Outcome, Error> {
    let world = World::load(spec, base, options.kernels.isa().name())?;
    let cells = cell::all(spec, &world);
    let folder = Folder::create(out, options.scratch.as_deref())?;
    setup::write(spec, base, &world, &folder, &options.command)?;
    let (mine, _): (Vec<&Cell>, Vec<&Cell>) =
        cells.iter().partition(|cell| cell::is_of_shard(&cell.key, options.shard));
    let mut queue: Vec<Cell> =
        mine.iter().filter(|cell| !folder.is_done(&cell.key)).map(|&cell| cell.clone()).collect();
    let place = |seed: u64| spec.seeds.iter().position(|&one| one == seed);
    queue.sort_by_key(|cell| place(cell.seed));
    // The untuned base is one cell for all seeds where its replies are greedy.
    let mut keys = std::collections::HashSet::new();
    queue.retain(|cell| keys.insert(cell.key.clone()));
    let before = mine.iter().filter(|cell| folder.is_done(&cell.key)).count();
    folder.gather(&cells)?;
    let layers = base.layers()?;
    let threads = (options.threads / options.jobs).clamp(1, MOST_THREADS);
    let estimate = {
        let pool = pool(threads)?;
        let engine = engine(base, &layers, options.kernels, &pool)?;
        if queue.is_empty() {
            Estimate::none(&world)
        } else {
            Estimate::probe(spec, &world, engine)?
        }
    };
    let total: f64 = queue.iter().map(|cell| estimate.seconds(spec, &world, cell)).sum();
    let jobs = options.jobs.min(queue.len()).max(1);
    tell(spec, &world, &estimate, [cells.len(), before, queue.len()], total / jobs as f64, jobs);
    if let Some(free) = memory::free_bytes() {
        let each = estimate.bytes();
        if each.saturating_mul(jobs as u64) > free {
            return Err(Error::Memory { jobs, each, free });
        }
    }
    if options.dry {
        for cell in &queue {
            let seconds = estimate.seconds(spec, &world, cell);
            eprintln!("  {}: about {}", describe(&world, cell), said(seconds));
        }
        return Ok(Outcome { before, missing: missing(&folder, &cells), ..Outcome::default() });
    }
    let sweep = Sweep {
        spec,
        world: &world,
        folder: &folder,
        cells: &cells,
        stop,
        jobs,
        start: Instant::now(),
        budget: options.budget,
        features: (0..world.streams.len()).map(|_| Mutex::default()).collect(),
        bases: Mutex::default(),
        progress: Mutex::new(Progress {
            all: queue.len(),
            queue: queue.into(),
            estimate,
            ran: 0,
            running: Vec::new(),
            failed: Vec::new(),
            left: Vec::new(),
            elsewhere: 0,
            fatal: None,
        }),
    };
    let _heed = stop.heed();
    std::thread::scope(|scope| -> Result<(), Error> {
        let workers: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| {
                    let pool = pool(threads)?;
                    sweep.work(engine(base, &layers, options.kernels, &pool)?)
                })
            })
            .collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        ended.into_iter().try_for_each(|ended| match ended {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let progress = sweep.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = progress.fatal {
        return Err(error);
    }
    if let Some(cause) = stop.cause() {
        return Err(Error::Stopped(cause));
    }
    if let Some(first) = progress.failed.first() {
        let (failed, cells) = (progress.failed.len(), progress.all);
        return Err(Error::Failed { failed, cells, first: first.clone() });
    }
    Ok(Outcome {
        ran: progress.ran,
        before,
        missing: missing(&folder, &cells),
        left: progress.left,
        elsewhere: progress.elsewhere,
    })
}

fn pool(threads: usize) -> Result<Threads, Error> {
    Threads::new(threads).map_err(Error::io("threads".as_ref()))
}

/// An engine that trains by the fastest plan whatever memory is free, for the plan decides the last bit.
fn engine<'m>(
    base: &'m Base,
    layers: &'m [homespun_core::weights::Layer<'m>],
    kernels: &'static Kernels,
    pool: &'m Threads,
) -> Result<Engine<'m>, Error> {
    let budget = Budget { memory: Some(u64::MAX), half_inputs: false };
    Ok(Engine::new(base, layers, kernels, pool)?.with_budget(budget))
}

fn missing(folder: &Folder, cells: &[Cell]) -> usize {
    cells.iter().filter(|cell| !folder.is_done(&cell.key)).count()
}

fn tell(
    spec: &Spec,
    world: &World,
    estimate: &Estimate,
    [cells, before, queued]: [usize; 3],
    seconds: f64,
    jobs: usize,
) {
    eprintln!("{cells} cells, {before} of this shard done before, {queued} to run, {jobs} at once");
    if queued == 0 {
        return;
    }
    for (stream, times) in world.streams.iter().zip(estimate.times()) {
        eprintln!(
            "{}: {} dialogues, {} of its {} part; scoring takes {:.0} ms, a reply {:.0} ms, \
             training on one {:.1} ms, a question {:.0} ms",
            stream.name,
            stream.dialogues.len(),
            stream.held_out.len(),
            stream.part,
            1e3 * times.score,
            1e3 * times.reply,
            1e3 * times.train,
            1e3 * times.question
        );
    }
    eprintln!(
        "about {} in all, if rounds that stop early take {} of at most {} epochs",
        said(seconds),
        epochs(spec, usize::MAX),
        spec.epochs()
    );
}

/// A cell for people.
pub fn describe(world: &World, cell: &Cell) -> String {
    let stream = &world.streams[cell.stream].name;
    let seed = cell.seed;
    match cell.arm {
        Arm::None => format!("{stream} none seed {seed}"),
        Arm::All => format!("{stream} all synth {} seed {seed}", cell.synth),
        arm => {
            format!("{stream} {} bins {} synth {} seed {seed}", arm.name(), cell.bins, cell.synth)
        }
    }
}

/// What the jobs share.
struct Sweep<'a> {
    spec: &'a Spec,
    world: &'a World,
    folder: &'a Folder,
    cells: &'a [Cell],
    stop: &'a Stop,
    jobs: usize,
    start: Instant,
    budget: Option<Duration>,
    /// A stream's, once they are computed.
    features: Vec<Mutex<Option<Arc<Vec<Features>>>>>,
    /// Held while an untuned base is measured, so that it is measured once.
    bases: Mutex<()>,
    progress: Mutex<Progress>,
}

struct Progress {
    all: usize,
    queue: VecDeque<Cell>,
    estimate: Estimate,
    ran: usize,
    /// The time that each running cell is thought to take, and when it began.
    running: Vec<(String, f64, Instant)>,
    failed: Vec<String>,
    left: Vec<Cell>,
    elsewhere: usize,
    fatal: Option<Error>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sweep<'_> {
    /// Runs cells until none is left to begin.
    fn work(&self, engine: Engine) -> Result<(), Error> {
        let (spec, world, folder, stop) = (self.spec, self.world, self.folder, self.stop);
        let bench = Bench { spec, world, folder, engine, stop, jobs: self.jobs };
        while let Some(cell) = self.next() {
            let start = Instant::now();
            let ended = self.cell(&bench, &cell);
            if !self.ended(&cell, start, ended)? {
                break;
            }
        }
        Ok(())
    }

    /// The next cell that is thought to end within the budget.
    fn next(&self) -> Option<Cell> {
        let mut progress = lock(&self.progress);
        if self.stop.cause().is_some() || progress.fatal.is_some() {
            return None;
        }
        while let Some(cell) = progress.queue.pop_front() {
            let seconds = progress.estimate.seconds(self.spec, self.world, &cell);
            let after = self.start.elapsed().as_secs_f64() + seconds;
            if self.budget.is_some_and(|budget| after > budget.as_secs_f64()) {
                progress.left.push(cell);
                continue;
            }
            progress.running.push((cell.key.clone(), seconds, Instant::now()));
            return Some(cell);
        }
        None
    }

    fn cell(&self, bench: &Bench, cell: &Cell) -> Result<Ended, Error> {
        let base = {
            let _one = lock(&self.bases);
            bench.base(&cell::base_of(self.spec, self.world, cell))?
        };
        if cell.arm == Arm::None {
            return Ok(Ended::Done(base));
        }
        let features = self.features(bench, cell.stream)?;
        bench.run(cell, &features, &base)
    }

    /// The features of a stream.
    fn features(&self, bench: &Bench, stream: usize) -> Result<Arc<Vec<Features>>, Error> {
        let mut known = lock(&self.features[stream]);
        if let Some(features) = &*known {
            return Ok(Arc::clone(features));
        }
        let stream = &self.world.streams[stream];
        let lexicons = stream.lexicons.lexicons();
        let mut scorer = Scorer::new(bench.engine, lexicons, self.spec.scoring);
        let mut features = Vec::with_capacity(stream.dialogues.len());
        for dialogue in &stream.dialogues {
            if let Some(cause) = self.stop.cause() {
                return Err(Error::Stopped(cause));
            }
            features.push(scorer.features(dialogue)?);
        }
        Ok(Arc::clone(known.insert(Arc::new(features))))
    }

    /// Takes note of what became of a cell, and tells; false ends the job.
    fn ended(
        &self,
        cell: &Cell,
        start: Instant,
        ended: Result<Ended, Error>,
    ) -> Result<bool, Error> {
        let took = start.elapsed().as_secs_f64();
        let name = describe(self.world, cell);
        if matches!(&ended, Ok(Ended::Done(_))) {
            self.folder.gather(self.cells)?;
        }
        let mut progress = lock(&self.progress);
        let at = progress.running.iter().position(|(key, ..)| *key == cell.key);
        if let Some(at) = at {
            progress.running.swap_remove(at);
        }
        let result = match ended {
            Ok(Ended::Done(rows)) => {
                progress.ran += 1;
                progress.estimate.learn(self.spec, self.world, cell, took);
                said_of(&rows)
            }
            Ok(Ended::Elsewhere) => {
                progress.elsewhere += 1;
                "another process is at it".to_owned()
            }
            Err(Error::Stopped(_)) => return Ok(false),
            // Where results cannot be written, no other cell's can.
            Err(error @ (Error::Write(_) | Error::Io { .. })) => {
                progress.fatal = Some(error);
                return Ok(false);
            }
            Err(error) => {
                let text = format!("{name}: {error}");
                eprintln!("{text}");
                progress.failed.push(text);
                return Ok(true);
            }
        };
        let left: f64 = progress
            .queue
            .iter()
            .map(|cell| progress.estimate.seconds(self.spec, self.world, cell))
            .chain(
                progress
                    .running
                    .iter()
                    .map(|(_, thought, since)| (thought - since.elapsed().as_secs_f64()).max(0.0)),
            )
            .sum();
        eprintln!(
            "[{}/{}] {name}: {result}, {}; about {} left",
            progress.ran + progress.failed.len() + progress.elsewhere,
            progress.all,
            said(took),
            said(left / self.jobs as f64)
        );
        Ok(true)
    }
}

/// The last figures of a cell.
fn said_of(rows: &[Row]) -> String {
    let figures = rows.iter().map(|row| format!("{:.4}", row.rouge1)).collect::<Vec<_>>();
    let annotations = rows.first().map_or(0, |row| row.annotations);
    format!("ROUGE-1 {}, {annotations} annotations", figures.join(" and "))
}

/// Why a sweep ended early, where it was told to stop.
pub fn stopped(error: &Error) -> Option<Cause> {
    match error {
        Error::Stopped(cause) => Some(*cause),
        _ => None,
    }
}
