//! Cuts the power after every step of what a buffer does, and says what is wrong afterwards.
//!
//! ```text
//! for each cut, clean and torn:  image of before | operations until the power goes | power | mount
//! wrong   mounting fails or writes; a dialogue that was acknowledged is not there, or not whole; one
//!         is there that was neither acknowledged nor in flight; a nonce that was not random; what
//!         comes next is refused or is not there
//! ```

use super::*;
use crate::flash::faulty::Fault;

/// What a buffer is asked to do.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Dialogue, to bin.
    Put(usize, usize),
    /// The person's answer to what is in a bin.
    Annotate(usize),
    Remove(usize),
    /// Everything is sealed with another key.
    Rekey,
}

use Op::{Annotate, Put, Rekey, Remove};

const ANSWER: &str = "This is what I would have liked.";

/// What should be in a bin: a dialogue's number, and whether it was annotated.
type Held = Option<(usize, bool)>;

/// What was acknowledged.
#[derive(Clone, Debug)]
pub struct Oracle {
    pub held: Vec<Held>,
    key: u8,
    sealed: bool,
}

impl Oracle {
    fn after(&self, op: Op) -> Self {
        let mut after = self.clone();
        match op {
            Put(dialogue, bin) => after.held[bin] = Some((dialogue, false)),
            Annotate(bin) => after.held[bin] = self.held[bin].map(|(dialogue, _)| (dialogue, true)),
            Remove(bin) => after.held[bin] = None,
            Rekey => after.key += 1,
        }
        after
    }
}

/// Where the power is cut.
pub struct Scenario {
    pub name: &'static str,
    pub bins: usize,
    pub spare: usize,
    pub sealed: bool,
    /// Whether the flash is behind a cache.
    pub cache: bool,
    /// Done before, with power.
    pub setup: Vec<Op>,
    /// Whether, after that, the next put moves a cold record.
    pub cold: bool,
    pub ops: Vec<Op>,
    /// Turns of a dialogue and repetitions of a turn's words.
    pub length: (usize, usize),
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    pub cuts: u64,
    pub second_cuts: u64,
    /// Steps without a cut.
    pub steps: u64,
    pub wrong: Vec<String>,
}

type Buffer<const R: usize, const W: usize, const E: usize> =
    Samples<FaultyFlash<R, W, E>, Vec<BinInfo>>;

/// Runs a scenario on flash of one geometry.
pub struct Search<'s, const R: usize, const W: usize, const E: usize> {
    scenario: &'s Scenario,
    dialogues: Vec<Dialogue>,
    scratch: Vec<u8>,
    index: Vec<BinInfo>,
    pub found: Found,
}

impl<'s, const R: usize, const W: usize, const E: usize> Search<'s, R, W, E> {
    pub fn new(scenario: &'s Scenario) -> Self {
        let (turns, length) = scenario.length;
        let dialogues = (0..32).map(|id| Dialogue::new(id, turns, length)).collect();
        let index = vec![BinInfo::FREE; scenario.bins + scenario.spare + 1];
        let scratch = vec![0; RECORD_BYTES];
        Search { scenario, dialogues, scratch, index, found: Found::default() }
    }

    /// Cuts at every `stride`-th step, clean and torn; and, of every `second`-th of those, at steps of
    /// the recovery.
    pub fn run(mut self, stride: u64, second: Option<u64>) -> Found {
        let (flash, oracle) = self.prepared();
        for torn in [false, true] {
            for cut in (0..).step_by(stride as usize) {
                let mut flash = flash.clone();
                flash.set_cut(cut, torn, 2 * cut + u64::from(torn));
                let (mut flash, acked, in_flight) = self.until_cut(flash, &oracle);
                if !flash.is_off() {
                    break;
                }
                self.found.cuts += 1;
                flash.power_on();
                let state = format!("cut {cut} torn {torn} at {in_flight:?}");
                if second.is_some_and(|second| cut % second == 0) {
                    self.cut_again(&flash, &acked, in_flight, torn, &state);
                }
                self.recover(flash, &acked, in_flight, &state);
                if self.found.wrong.len() > 100 {
                    return self.found;
                }
            }
        }
        self.found
    }

    /// The image and what is in it before the power can go.
    fn prepared(&mut self) -> (FaultyFlash<R, W, E>, Oracle) {
        let Scenario { bins, spare, sealed, cold, .. } = *self.scenario;
        let mut flash =
            FaultyFlash::<R, W, E>::new(flash_bytes::<FaultyFlash<R, W, E>>(bins, spare));
        super::format(&mut flash, bins, sealed).unwrap();
        let mut oracle = Oracle { held: vec![None; bins], key: 1, sealed };
        let mut samples = self.mount(flash, &oracle, false).unwrap();
        for &op in &self.scenario.setup {
            self.apply(&mut samples, op).unwrap();
            oracle = oracle.after(op);
        }
        while cold && samples.apart() < wear::SPREAD {
            self.apply(&mut samples, Put(9, 0)).unwrap();
            oracle = oracle.after(Put(9, 0));
        }
        let (mut flash, _) = samples.into_parts();
        flash.set_cache(self.scenario.cache);
        flash.erases.fill(0);
        flash.steps = 0;
        let (mut whole, ..) = self.until_cut(flash.clone(), &oracle);
        self.found.steps = whole.steps;
        if sealed {
            whole.power_on();
            // Words of every dialogue, which are in no sealed image.
            let plain = |bytes: &[u8]| {
                bytes.windows(6).any(|six| six == " \u{4f60} ".as_bytes() || six == b"I woul")
            };
            if plain(whole.bytes()) {
                self.found.wrong.push("text lies in a sealed image".into());
            }
        }
        (flash, oracle)
    }

    fn mount(
        &mut self,
        flash: FaultyFlash<R, W, E>,
        oracle: &Oracle,
        rekeying: bool,
    ) -> Result<Buffer<R, W, E>, Error<Fault>> {
        let index = core::mem::take(&mut self.index);
        let index = if index.is_empty() { vec![BinInfo::FREE; 16] } else { index };
        let mounted = match (oracle.sealed, rekeying) {
            (false, _) => Samples::mount(flash, index),
            (true, false) => Samples::mount_sealed(flash, index, seal(oracle.key, None)),
            (true, true) => {
                Samples::mount_sealed(flash, index, seal(oracle.key + 1, Some(oracle.key)))
            }
        };
        Ok(mounted?.with_barrier(FaultyFlash::sync))
    }

    fn unmount(&mut self, samples: Buffer<R, W, E>) -> FaultyFlash<R, W, E> {
        let (flash, index) = samples.into_parts();
        self.index = index;
        flash
    }

    fn apply(&mut self, samples: &mut Buffer<R, W, E>, op: Op) -> Result<(), Error<Fault>> {
        match op {
            Put(dialogue, bin) => self.dialogues[dialogue].put(samples, bin).map(drop),
            Annotate(bin) => {
                let old = samples.read(bin, &mut self.scratch)?;
                samples.put(bin, &Sample { preferred: Some(ANSWER), ..old }).map(drop)
            }
            Remove(bin) => samples.remove(bin),
            Rekey => {
                let Access::Sealed(keys) = &samples.access else { return Ok(()) };
                let next = Key::new([keys.current.1.bytes()[0] + 1; 32]);
                samples.rekey(next, &mut self.scratch).map(drop)
            }
        }
    }

    /// Does the scenario's operations until the power goes.
    fn until_cut(
        &mut self,
        flash: FaultyFlash<R, W, E>,
        oracle: &Oracle,
    ) -> (FaultyFlash<R, W, E>, Oracle, Option<Op>) {
        let mut acked = oracle.clone();
        let mut samples = self.mount(flash, oracle, false).expect("the image was whole");
        let mut in_flight = None;
        for op in self.scenario.ops.clone() {
            if let Err(error) = self.apply(&mut samples, op) {
                if !samples.flash().is_off() {
                    self.found.wrong.push(format!("{op:?} without a cut: {error}"));
                }
                in_flight = Some(op);
                break;
            }
            acked = acked.after(op);
        }
        (self.unmount(samples), acked, in_flight)
    }

    /// Mounts after a cut, checks, and goes on.
    fn recover(
        &mut self,
        flash: FaultyFlash<R, W, E>,
        acked: &Oracle,
        in_flight: Option<Op>,
        state: &str,
    ) {
        let result = self.recovered(flash, acked, in_flight);
        if let Err(wrong) = result {
            self.found.wrong.push(format!("{}: {state}: {wrong}", self.scenario.name));
        }
    }

    fn recovered(
        &mut self,
        flash: FaultyFlash<R, W, E>,
        acked: &Oracle,
        in_flight: Option<Op>,
    ) -> Result<(), String> {
        let rekeying = matches!(in_flight, Some(Rekey));
        let (flash, mut now) = self.checked(flash, acked, in_flight)?;
        let mut samples = self.mount(flash, &now, rekeying).map_err(|error| error.to_string())?;
        if rekeying {
            now.key += 1;
            let again = samples.rekey(Key::new([now.key; 32]), &mut self.scratch);
            again.map_err(|error| format!("rekey again: {error}"))?;
        }
        let last = self.scenario.bins - 1;
        for op in [Put(20, last), Put(21, 0), Remove(last), Put(22, last)] {
            self.apply(&mut samples, op).map_err(|error| format!("then {op:?}: {error}"))?;
            now = now.after(op);
        }
        if now.sealed {
            // Whatever was cut, a new key leaves nothing that only the old one opens.
            now.key += 1;
            let rekeyed = samples.rekey(Key::new([now.key; 32]), &mut self.scratch);
            rekeyed.map_err(|error| format!("then rekey: {error}"))?;
        }
        let flash = self.unmount(samples);
        self.checked(flash, &now, None).map(drop)
    }

    /// Cuts the recovery too.
    fn cut_again(
        &mut self,
        flash: &FaultyFlash<R, W, E>,
        acked: &Oracle,
        in_flight: Option<Op>,
        torn: bool,
        state: &str,
    ) {
        if matches!(in_flight, Some(Rekey)) {
            return;
        }
        let now = match self.checked(flash.clone(), acked, in_flight) {
            Ok((_, now)) => now,
            Err(_) => return,
        };
        for cut in (0..).step_by(37) {
            let mut flash = flash.clone();
            flash.set_cut(cut, torn, 3 * cut + 1);
            let Ok(mut samples) = self.mount(flash, &now, false) else { return };
            let (mut acked, mut second) = (now.clone(), None);
            for op in [Put(23, 0), Remove(self.scenario.bins - 1), Put(24, 0)] {
                if self.apply(&mut samples, op).is_err() {
                    second = Some(op);
                    break;
                }
                acked = acked.after(op);
            }
            let mut flash = self.unmount(samples);
            if !flash.is_off() {
                return;
            }
            self.found.second_cuts += 1;
            flash.power_on();
            self.recover(flash, &acked, second, &format!("{state}, then {cut} at {second:?}"));
        }
    }

    /// Mounts and compares with what was acknowledged; gives what is there.
    fn checked(
        &mut self,
        flash: FaultyFlash<R, W, E>,
        acked: &Oracle,
        in_flight: Option<Op>,
    ) -> Result<(FaultyFlash<R, W, E>, Oracle), String> {
        let (steps, rekeying) = (flash.steps, matches!(in_flight, Some(Rekey)));
        let mut samples =
            self.mount(flash, acked, rekeying).map_err(|error| format!("mount: {error}"))?;
        if samples.flash().steps != steps {
            return Err("mounting writes".into());
        }
        let after = in_flight.map(|op| acked.after(op));
        let mut now = acked.clone();
        for bin in 0..self.scenario.bins {
            let held = [Some(acked.held[bin]), after.as_ref().map(|after| after.held[bin])];
            let held = held.into_iter().flatten().find(|held| self.is(&mut samples, bin, *held));
            now.held[bin] = held.ok_or_else(|| {
                let there = samples.read(bin, &mut self.scratch).map(|sample| sample.id);
                format!("bin {bin} has {there:?}, not {:?}", acked.held[bin])
            })?;
        }
        if acked.sealed {
            self.nonces(&mut samples)?;
        }
        Ok((self.unmount(samples), now))
    }

    /// Whether a bin holds this and nothing else.
    fn is(&mut self, samples: &mut Buffer<R, W, E>, bin: usize, held: Held) -> bool {
        let Some((dialogue, annotated)) = held else { return samples.info(bin).is_none() };
        let dialogue = &self.dialogues[dialogue];
        let mut embedding = [0.0; 70];
        let same =
            samples.embedding(bin, &mut embedding).is_ok() && embedding[..] == dialogue.embedding;
        same && samples.read(bin, &mut self.scratch).is_ok_and(|found| {
            let preferred = if annotated { Some(ANSWER) } else { dialogue.preferred.as_deref() };
            found.preferred == preferred
                && dialogue.is(&Sample { preferred: dialogue.preferred.as_deref(), ..found })
        })
    }

    /// Whether all nonces were random.
    fn nonces(&mut self, samples: &mut Buffer<R, W, E>) -> Result<(), String> {
        for slot in 0..samples.slots {
            let mut bytes = [0; header::HEADER_BYTES];
            samples.record_header(slot, &mut bytes).map_err(|error| error.to_string())?;
            let nonce = layout::array_at(&bytes, 48);
            let given = RANDOM.with_borrow(|(_, given)| given.contains(&nonce));
            if Header::parse(&bytes, true).is_some() && !given {
                return Err(format!("the nonce in slot {slot} was not random"));
            }
        }
        Ok(())
    }
}

use header::Header;

impl<F: NorFlash> Samples<F, Vec<BinInfo>> {
    /// How far the least worn free slot is above the least worn held one.
    pub fn apart(&self) -> u32 {
        let least = |held: bool| {
            let slots = self.index[..self.slots as usize].iter();
            let slots = slots.filter(|entry| (entry.state == SlotState::Held) == held);
            slots.map(|entry| entry.erases).min().unwrap_or(0)
        };
        least(false).saturating_sub(least(true))
    }
}
