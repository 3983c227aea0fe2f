//! When a run writes a checkpoint and when it stops: every so often, at a signal, at a deadline.
//!
//! ```text
//! a first SIGINT, SIGTERM or SIGHUP   the run ends its micro-batch, writes a checkpoint and stops
//! a second one                        ends the process at once; the last checkpoint is good
//! outside of training                 each does what it does to any process
//! ignored when the process began      stays ignored (nohup, a shell's background job)
//! ```

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::rest::{Limits, Rest};
use super::store::{Error, Judged, Resumed, Store};
use super::{Event, Trainer};

/// How often a checkpoint is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After so many steps.
    Steps(u64),
    /// After so long, be it in the middle of a step.
    Time(Duration),
}

impl Default for Every {
    fn default() -> Self {
        Every::Time(Duration::from_secs(60))
    }
}

/// Why a run was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A signal of this number.
    Signal(u8),
    /// Its time was up.
    Deadline,
    /// The program itself told it.
    Told,
}

impl core::fmt::Display for Cause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let name = match self {
            Cause::Deadline => return f.write_str("its time was up"),
            Cause::Told => return f.write_str("it was told to"),
            Cause::Signal(number) => match i32::from(*number) {
                SIGINT => "SIGINT",
                SIGTERM => "SIGTERM",
                _ => "SIGHUP",
            },
        };
        f.write_str(name)
    }
}

/// Tells a run to stop.
#[derive(Clone, Debug)]
pub struct Stop {
    deadline: Option<Instant>,
    signal: Arc<AtomicUsize>,
    told: Arc<AtomicBool>,
    /// Whether a signal ends the process: unless a run heeds it, and after a first one.
    at_once: Arc<AtomicBool>,
    /// How many heed it.
    heeding: Arc<Mutex<usize>>,
}

impl Stop {
    /// Never tells it.
    pub fn never() -> Self {
        Self {
            deadline: None,
            signal: Arc::default(),
            told: Arc::default(),
            at_once: Arc::new(true.into()),
            heeding: Arc::default(),
        }
    }

    /// Tells it at the first of the signals, and once `time` has passed.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn at_signals(time: Option<Duration>) -> io::Result<Self> {
        let deadline = time.and_then(|time| Instant::now().checked_add(time));
        let stop = Self { deadline, ..Self::never() };
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&one| !is_ignored(one)) {
            // In this order: the first signal sets what the second one sees.
            flag::register_conditional_default(signal, Arc::clone(&stop.at_once))?;
            flag::register(signal, Arc::clone(&stop.at_once))?;
            flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
        }
        Ok(stop)
    }

    /// Why to stop now, if at all.
    pub fn cause(&self) -> Option<Cause> {
        match self.signal.load(Ordering::Relaxed) {
            0 if self.told.load(Ordering::Relaxed) => Some(Cause::Told),
            0 => self.deadline.filter(|&end| Instant::now() >= end).map(|_| Cause::Deadline),
            signal => Some(Cause::Signal(signal as u8)),
        }
    }

    /// One that the same signals and deadline tell, and that can be told without the other.
    pub fn another(&self) -> Self {
        Self { told: Arc::default(), ..self.clone() }
    }

    /// Tells it to stop, or takes that back.
    pub fn tell(&self, stop: bool) {
        self.told.store(stop, Ordering::Relaxed);
    }

    /// While this is held, a signal only tells to stop; several may hold one.
    pub(crate) fn heed(&self) -> Heed {
        let mut heeding = self.heeding.lock().unwrap_or_else(PoisonError::into_inner);
        if *heeding == 0 {
            self.at_once.store(false, Ordering::Relaxed);
        }
        *heeding += 1;
        Heed { at_once: Arc::clone(&self.at_once), heeding: Arc::clone(&self.heeding) }
    }
}

/// See [`Stop::heed`].
#[derive(Debug)]
pub(crate) struct Heed {
    at_once: Arc<AtomicBool>,
    heeding: Arc<Mutex<usize>>,
}

impl Drop for Heed {
    fn drop(&mut self) {
        let mut heeding = self.heeding.lock().unwrap_or_else(PoisonError::into_inner);
        *heeding -= 1;
        if *heeding == 0 {
            self.at_once.store(true, Ordering::Relaxed);
        }
    }
}

/// From now on the end of the terminal is not the end of this process, and no reason to stop.
///
/// # Errors
/// If the system refuses.
pub fn ignore_hangup() -> io::Result<()> {
    if !is_ignored(SIGHUP) {
        // Something heeds it, and so the system does not.
        flag::register(SIGHUP, Arc::default())?;
        HANGUP_IGNORED.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// See [`ignore_hangup`].
static HANGUP_IGNORED: AtomicBool = AtomicBool::new(false);

/// Whether the process that began this one had it ignore the signal.
fn is_ignored(signal: i32) -> bool {
    if signal == SIGHUP && HANGUP_IGNORED.load(Ordering::Relaxed) {
        return true;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0) >> (signal - 1) & 1 == 1
}

/// How a run is paced, and what it goes on from.
#[derive(Clone, Copy, Debug)]
pub struct Pace<'s> {
    /// How often a checkpoint is written.
    pub every: Every,
    /// Whether a checkpoint of other kernels is taken.
    pub any_isa: bool,
    /// How much of the machine it may take.
    pub limits: Limits,
    /// What tells it to stop.
    pub stop: &'s Stop,
}

/// Keeps a run's checkpoints.
#[derive(Debug)]
pub struct Keeper<'s> {
    store: Store,
    pace: Pace<'s>,
    steps: u64,
    last: Instant,
    rest: Rest,
    _heed: Heed,
}

impl<'s> Keeper<'s> {
    /// Keeps them in `store`; from now on signals are heeded.
    pub fn new(store: Store, pace: Pace<'s>) -> Self {
        let (rest, _heed) = (Rest::new(pace.limits), pace.stop.heed());
        Self { store, pace, steps: 0, last: Instant::now(), rest, _heed }
    }

    /// Has `trainer` go on from the newest checkpoint, as [`Store::resume`].
    ///
    /// # Errors
    /// As [`Store::resume`].
    pub fn resume(&mut self, trainer: &mut Trainer) -> Result<Option<Resumed>, Error> {
        self.store.resume(trainer, self.pace.any_isa)
    }

    /// Whether a checkpoint is due after `event`, which each event is to be told to.
    pub fn is_due(&mut self, event: &Event) -> bool {
        let step = matches!(event, Event::Step(_));
        self.steps += u64::from(step);
        self.cause().is_some()
            || match self.pace.every {
                Every::Steps(n) => step && self.steps >= n,
                Every::Time(time) => self.last.elapsed() >= time,
            }
    }

    /// Writes a checkpoint; the cause, if the run is to stop now.
    ///
    /// # Errors
    /// If it cannot be written; the one before is then still there.
    pub fn save(&mut self, trainer: &Trainer, judged: Judged<'_>) -> Result<Option<Cause>, Error> {
        // Asked before: who is told to stop after has another checkpoint then.
        let cause = self.cause();
        self.store.save(trainer, judged)?;
        (self.steps, self.last) = (0, Instant::now());
        Ok(cause)
    }

    /// Rests as the limits demand; to be called after each event.
    pub fn rest(&mut self) {
        let stop = self.pace.stop;
        self.rest.take(|| stop.cause().is_some());
    }

    /// Removes what it kept.
    ///
    /// # Errors
    /// If the folder cannot be removed.
    pub fn discard(&mut self) -> Result<(), Error> {
        self.store.discard()
    }

    fn cause(&self) -> Option<Cause> {
        self.pace.stop.cause()
    }
}
