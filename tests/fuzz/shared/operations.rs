//! What a buffer is asked to do while its flash fails, against what was acknowledged.
//!
//! ```text
//! input   geometry | bins, spare slots | sealed, behind a cache | operations, one byte and more each
//! right   what was acknowledged is there byte for byte; of what was refused or cut, the old or the
//!         new; nothing is refused without a cause; mounting writes nothing
//! damage  once an input, a bit flips for good or a block no longer reads: one bin may then be empty,
//!         refused, or hold what was put there before; no other
//! ```

use core::fmt::Debug;

use homespun_runtime::flash::faulty::{Fault, FaultyFlash};
use homespun_runtime::samples::{
    self, BinInfo, Error, Put, RECORD_BYTES, Sample, Samples, flash_bytes,
};

use super::Bytes;
use super::dialogue::{ANSWER, Dialogue};
use super::faults::Faults;
use super::keys::{key, seal};
use super::layout::geometry;

/// Whether the oracle is told what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Truth,
    /// It is told that the third put has put something else.
    Lie,
}

/// What an input did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Did {
    pub acknowledged: u64,
    pub refused: u64,
    pub cuts: u64,
    pub mounts: u64,
}

/// Does what `bytes` say.
///
/// # Errors
/// If a dialogue is not there or not right, or something was refused without a cause: what it is.
pub fn run(bytes: &[u8], told: Told) -> Result<Did, String> {
    let mut bytes = Bytes::new(bytes);
    geometry!(bytes.byte(), R, W, E => Run::<R, W, E>::new(&mut bytes, told)?.all(&mut bytes))
}

type Buffer<const R: usize, const W: usize, const E: usize> =
    Samples<FaultyFlash<R, W, E>, Vec<BinInfo>>;
type Held = Option<Dialogue>;

struct Run<const R: usize, const W: usize, const E: usize> {
    told: Told,
    /// By bin: what was acknowledged.
    held: Vec<Held>,
    /// What was refused and may be there all the same at the next mount.
    may: Vec<Vec<Held>>,
    /// All that was ever put.
    ever: Vec<Vec<Dialogue>>,
    /// The keys, and the ones before, that may open everything.
    keys: Vec<(u8, Option<u8>)>,
    sealed: bool,
    cache: bool,
    spare: usize,
    /// What is wrong with the flash, and the bin that damage cost.
    faults: Faults,
    lost: Option<usize>,
    puts: u64,
    scratch: Vec<u8>,
    did: Did,
}

/// The flash and the buffer on it.
type Flash<const R: usize, const W: usize, const E: usize> = FaultyFlash<R, W, E>;

impl<const R: usize, const W: usize, const E: usize> Run<R, W, E> {
    fn new(bytes: &mut Bytes<'_>, told: Told) -> Result<Self, String> {
        let (size, kind) = (bytes.byte(), bytes.byte());
        let bins = 1 + size % 4;
        Ok(Run {
            told,
            held: vec![None; bins],
            may: vec![Vec::new(); bins],
            ever: vec![Vec::new(); bins],
            keys: vec![(1, None)],
            sealed: kind & 1 == 1,
            cache: kind & 2 == 2,
            spare: 1 + size / 4 % 3,
            faults: Faults::default(),
            lost: None,
            puts: 0,
            scratch: vec![0; RECORD_BYTES],
            did: Did::default(),
        })
    }

    fn all(mut self, bytes: &mut Bytes<'_>) -> Result<Did, String> {
        let capacity = flash_bytes::<Flash<R, W, E>>(self.held.len(), self.spare);
        let mut flash = Flash::<R, W, E>::new(capacity);
        samples::format(&mut flash, self.held.len(), self.sealed).map_err(text)?;
        flash.set_cache(self.cache);
        let mut samples = self.mount(flash)?;
        for step in 0..64 {
            if bytes.is_empty() {
                break;
            }
            let at = |wrong: String| format!("step {step}: {wrong}");
            samples = self.step(samples, bytes).map_err(at)?;
        }
        samples = self.remount(samples)?;
        self.blind(samples.into_parts().0)?;
        Ok(self.did)
    }

    fn step(
        &mut self,
        mut samples: Buffer<R, W, E>,
        bytes: &mut Bytes<'_>,
    ) -> Result<Buffer<R, W, E>, String> {
        let what = bytes.byte();
        let bin = what / 16 % self.held.len();
        match what % 16 {
            0..5 => {
                self.puts += 1;
                let dialogue = Dialogue::new(self.puts, bytes);
                let done = dialogue.put(&mut samples, bin);
                self.after_put(&mut samples, bin, dialogue, done)?;
            }
            5 | 6 => self.annotate(&mut samples, bin)?,
            7 => self.remove(&mut samples, bin)?,
            8 => return self.rekey(samples, what & 16 != 0),
            9 => self.wipe(&mut samples)?,
            10 => return self.remount(samples),
            fault => self.faults.next(samples.flash(), fault, what & 16 != 0, bytes),
        }
        if samples.flash().is_off() {
            return self.remount(samples);
        }
        Ok(samples)
    }

    fn after_put(
        &mut self,
        samples: &mut Buffer<R, W, E>,
        bin: usize,
        dialogue: Dialogue,
        done: Result<Put, Error<Fault>>,
    ) -> Result<(), String> {
        self.ever[bin].push(dialogue);
        let lie = self.told == Told::Lie && self.puts == 3;
        let dialogue = if lie { Dialogue { id: 9999, ..dialogue } } else { dialogue };
        let excused = self.faults.read_fails || self.faults.broken && self.spare == 1;
        self.after(samples, bin, Some(dialogue), done.map(drop), excused)
    }

    /// Takes down what became of an operation on `bin`.
    fn after(
        &mut self,
        samples: &mut Buffer<R, W, E>,
        bin: usize,
        new: Held,
        done: Result<(), Error<Fault>>,
        excused: bool,
    ) -> Result<(), String> {
        match done {
            Ok(()) => {
                self.did.acknowledged += 1;
                self.held[bin] = new;
                self.may[bin].clear();
            }
            Err(error) => {
                self.did.refused += 1;
                if !excused && !samples.flash().is_off() {
                    return Err(format!("bin {bin}: refused without a cause: {error}"));
                }
                self.may[bin].push(new);
            }
        }
        if samples.flash().is_off() { Ok(()) } else { self.check(samples, bin) }
    }

    fn annotate(&mut self, samples: &mut Buffer<R, W, E>, bin: usize) -> Result<(), String> {
        let Some(dialogue) = self.held[bin] else { return Ok(()) };
        let mut scratch = core::mem::take(&mut self.scratch);
        let old = samples.read(bin, &mut scratch).ok().filter(|old| dialogue.is(old));
        let done = old.map(|old| samples.put(bin, &Sample { preferred: Some(ANSWER), ..old }));
        self.scratch = scratch;
        match done {
            Some(done) => {
                let dialogue = Dialogue { answered: true, ..dialogue };
                self.after_put(samples, bin, dialogue, done)
            }
            None => self.check(samples, bin),
        }
    }

    fn remove(&mut self, samples: &mut Buffer<R, W, E>, bin: usize) -> Result<(), String> {
        let done = samples.remove(bin);
        self.after(
            samples,
            bin,
            None,
            done,
            self.faults.read_fails || self.faults.broken || self.faults.damaged,
        )
    }

    fn wipe(&mut self, samples: &mut Buffer<R, W, E>) -> Result<(), String> {
        let excused = self.faults.read_fails || self.faults.broken || samples.flash().is_off();
        match samples.wipe() {
            Err(error) if !excused && !samples.flash().is_off() => {
                Err(format!("wipe: refused without a cause: {error}"))
            }
            _ => Ok(()),
        }
    }

    fn rekey(
        &mut self,
        mut samples: Buffer<R, W, E>,
        again: bool,
    ) -> Result<Buffer<R, W, E>, String> {
        let (now, previous) = self.keys[0];
        let next = if again { now } else { now + 1 };
        let done = samples.rekey(key(next), &mut self.scratch);
        if !self.sealed {
            let refused = matches!(done, Err(Error::Plain));
            return if refused { Ok(samples) } else { Err(format!("plain: {done:?}")) };
        }
        match done {
            Ok(lost) => {
                self.did.acknowledged += 1;
                if lost > usize::from(self.faults.damaged) {
                    return Err(format!("rekey: {lost} are lost"));
                }
                self.keys = vec![(next, None)];
                Ok(samples)
            }
            Err(error) => {
                self.did.refused += 1;
                let excused = self.faults.read_fails || self.faults.broken || self.faults.damaged;
                if !excused && !samples.flash().is_off() {
                    return Err(format!("rekey: refused without a cause: {error}"));
                }
                // It was at the first key, or had begun with the second.
                if !again {
                    self.keys = vec![(next, Some(now))];
                    self.keys.extend(previous.map(|previous| (now, Some(previous))));
                }
                self.remount(samples)
            }
        }
    }

    fn mount(&mut self, mut flash: Flash<R, W, E>) -> Result<Buffer<R, W, E>, String> {
        flash.power_on();
        let steps = flash.steps;
        self.did.mounts += 1;
        let mut failure = String::new();
        for (key, previous) in self.keys.clone() {
            let index = vec![BinInfo::FREE; self.held.len() + self.spare];
            let mounted = if self.sealed {
                Samples::mount_sealed(flash.clone(), index, seal(key, previous))
            } else {
                Samples::mount(flash.clone(), index)
            };
            match mounted {
                Ok(mut samples) => {
                    if samples.flash().steps != steps {
                        return Err("mounting writes".into());
                    }
                    self.keys = vec![(key, previous)];
                    return Ok(samples.with_barrier(FaultyFlash::sync));
                }
                Err(error) => failure = format!("mount: {error}"),
            }
        }
        Err(failure)
    }

    fn remount(&mut self, samples: Buffer<R, W, E>) -> Result<Buffer<R, W, E>, String> {
        let (flash, _) = samples.into_parts();
        self.did.cuts += u64::from(flash.is_off());
        let mut samples = self.mount(flash)?;
        self.faults.read_fails = samples.flash().read_fails.is_some();
        for bin in 0..self.held.len() {
            self.check(&mut samples, bin)?;
            self.may[bin].clear();
        }
        Ok(samples)
    }

    /// Compares a bin with what should be there.
    fn check(&mut self, samples: &mut Buffer<R, W, E>, bin: usize) -> Result<(), String> {
        if self.is(samples, bin, self.held[bin]) {
            return Ok(());
        }
        for may in self.may[bin].clone() {
            if self.is(samples, bin, may) {
                self.held[bin] = may;
                return Ok(());
            }
        }
        let found = samples.read(bin, &mut self.scratch).map(|found| found.id);
        let refused = matches!(found, Err(Error::Empty { .. } | Error::Corrupt { .. }))
            || matches!(found, Err(Error::Flash(Fault::Broken)));
        let before = self.ever[bin].clone();
        let old = before.into_iter().any(|old| self.is(samples, bin, Some(old)));
        if self.faults.damaged && self.lost.is_none_or(|lost| lost == bin) && (refused || old) {
            self.lost = Some(bin);
            return Ok(());
        }
        Err(format!(
            "bin {bin} has {found:?}, not {:?} nor {:?}; damaged {}, lost {:?}",
            self.held[bin], self.may[bin], self.faults.damaged, self.lost
        ))
    }

    /// Whether a bin holds this and nothing else.
    fn is(&mut self, samples: &mut Buffer<R, W, E>, bin: usize, held: Held) -> bool {
        let Some(dialogue) = held else { return samples.info(bin).is_none() };
        samples.read(bin, &mut self.scratch).is_ok_and(|found| dialogue.is(&found))
    }

    /// Looks at the buffer without its key.
    fn blind(&mut self, mut flash: Flash<R, W, E>) -> Result<(), String> {
        flash.read_fails = None;
        let index = vec![BinInfo::FREE; self.held.len() + self.spare];
        let mut samples: Buffer<R, W, E> = Samples::mount_blind(flash, index).map_err(text)?;
        for bin in 0..self.held.len() {
            let whole = samples.verify(bin).is_ok();
            if whole != self.held[bin].is_some() && !self.faults.damaged {
                return Err(format!("blind: bin {bin} is whole: {whole}"));
            }
        }
        Ok(())
    }
}

fn text(error: impl Debug) -> String {
    format!("{error:?}")
}
