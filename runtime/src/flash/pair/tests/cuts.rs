//! The power goes at every byte, and the search finds the bugs that are planted.
//!
//! ```text
//! for each cut, clean and torn:  image of before | writes until the power goes | power | mount
//! wrong   mounting fails or writes; what counts is neither what was committed last nor what was in
//!         flight, whole; its generation is below one that was seen; the other half gives what was
//!         never written; a nonce was not random; the next write is refused, is not there, or has a
//!         generation that was used
//! ```

use super::*;
use crate::plant;

/// Where the power is cut.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    sealed: bool,
    cache: bool,
    /// Writes before the power can go.
    before: usize,
    /// Bytes of content.
    length: usize,
    blocks: usize,
}

/// What a search found.
#[derive(Debug, Default)]
struct Found {
    cuts: u64,
    second_cuts: u64,
    wrong: Vec<String>,
}

/// What was committed: the last one's number and generation.
type Committed = Option<(usize, u64)>;

struct Search<const R: usize, const W: usize, const E: usize> {
    scenario: Scenario,
    found: Found,
}

impl<const R: usize, const W: usize, const E: usize> Search<R, W, E> {
    /// Cuts at every `stride`-th step, and of every `second`-th of those at steps of the recovery.
    fn run(scenario: Scenario, stride: u64, second: u64) -> Found {
        let mut search = Self { scenario, found: Found::default() };
        let Scenario { sealed, blocks, before, length, .. } = scenario;
        let mut pair = mount(flash::<R, W, E>(blocks), blocks, sealed).unwrap();
        let mut committed = None;
        for id in 0..before {
            let header = write(&mut pair, id, length).unwrap();
            committed = Some((id, header.generation));
        }
        let mut image = pair.into_flash();
        image.set_cache(scenario.cache);
        for torn in [false, true] {
            for cut in (0..).step_by(stride as usize) {
                let mut flash = image.clone();
                flash.set_cut(cut, torn, 2 * cut + u64::from(torn));
                let (flash, now, in_flight) = search.until_cut(flash, committed, before, 2);
                let Some(flash) = flash else { break };
                search.found.cuts += 1;
                let state = format!("{scenario:?}, cut {cut} torn {torn} in {in_flight:?}");
                if cut % (stride * second) == 0 {
                    search.cut_again(&flash, now, in_flight, torn, &state);
                }
                search.recover(flash, now, in_flight, &state);
            }
        }
        search.found
    }

    /// Writes `count` contents until the power goes; no flash where it did not.
    fn until_cut(
        &mut self,
        flash: Faulty<R, W, E>,
        mut committed: Committed,
        first: usize,
        count: usize,
    ) -> (Option<Faulty<R, W, E>>, Committed, Option<usize>) {
        let Scenario { sealed, blocks, length, .. } = self.scenario;
        let mut pair = mount(flash, blocks, sealed).expect("the image was whole");
        for id in first..first + count {
            match write(&mut pair, id, length) {
                Ok(header) => committed = Some((id, header.generation)),
                Err(_) => {
                    let mut flash = pair.into_flash();
                    assert!(flash.is_off(), "a write is refused without a cut");
                    flash.power_on();
                    return (Some(flash), committed, Some(id));
                }
            }
        }
        (None, committed, None)
    }

    fn recover(
        &mut self,
        flash: Faulty<R, W, E>,
        committed: Committed,
        in_flight: Option<usize>,
        state: &str,
    ) {
        if let Err(wrong) = self.recovered(flash, committed, in_flight) {
            self.found.wrong.push(format!("{state}: {wrong}"));
        }
    }

    fn recovered(
        &self,
        flash: Faulty<R, W, E>,
        committed: Committed,
        in_flight: Option<usize>,
    ) -> Result<(), String> {
        let (mut pair, now) = self.checked(flash, committed, in_flight)?;
        let header = write(&mut pair, 9, self.scenario.length);
        let header = header.map_err(|error| format!("the next write: {error}"))?;
        let new = Some((9, header.generation));
        if now.is_some_and(|(_, generation)| generation >= header.generation) {
            return Err("the next write has a generation that was used".into());
        }
        self.checked(pair.into_flash(), new, None).map(drop)
    }

    /// Cuts the next write too.
    fn cut_again(
        &mut self,
        flash: &Faulty<R, W, E>,
        committed: Committed,
        in_flight: Option<usize>,
        torn: bool,
        state: &str,
    ) {
        let Ok((_, now)) = self.checked(flash.clone(), committed, in_flight) else { return };
        for cut in (0..).step_by(17) {
            let mut flash = flash.clone();
            flash.set_cut(cut, torn, 3 * cut + 1);
            let (flash, now, second) = self.until_cut(flash, now, 7, 1);
            let Some(flash) = flash else { return };
            self.found.second_cuts += 1;
            self.recover(flash, now, second, &format!("{state}, then {cut}"));
        }
    }

    /// Mounts and compares with what was committed; gives what counts.
    fn checked(
        &self,
        flash: Faulty<R, W, E>,
        committed: Committed,
        in_flight: Option<usize>,
    ) -> Result<(On<R, W, E>, Committed), String> {
        let Scenario { sealed, blocks, length, .. } = self.scenario;
        let steps = flash.steps;
        let mut pair = mount(flash, blocks, sealed).map_err(|error| format!("mount: {error}"))?;
        if pair.flash().steps != steps {
            return Err("mounting writes".into());
        }
        let info = pair.info().copied();
        let now = info.map(|header| (u64::from_le_bytes(header.kind) as usize, header.generation));
        let old = now == committed;
        let new = now.is_some_and(|(id, generation)| {
            Some(id) == in_flight && committed.is_none_or(|(_, before)| generation > before)
        });
        if !old && !new {
            return Err(format!("{now:?} counts, not {committed:?}"));
        }
        if let Some((id, _)) = now {
            let found = read(&mut pair).map_err(|error| format!("{id} counts: {error}"))?;
            if found != content(id, length) {
                return Err(format!("{id} counts, and is not what was written"));
            }
        }
        let sealed_with = info.and_then(|header| header.sealed);
        let given = |nonce: &[u8; 24]| RANDOM.with_borrow(|(_, given)| given.contains(nonce));
        if sealed_with.is_some_and(|sealed| !given(&sealed.nonce)) {
            return Err("the nonce was not random".into());
        }
        let mut pair = self.other_is_old(pair, now)?;
        if info.is_some() && pair.verify().is_err() {
            return Err("what counts is not whole".into());
        }
        Ok((pair, now))
    }

    /// What a fall-back gives is what was written once, or refused.
    fn other_is_old(&self, pair: On<R, W, E>, now: Committed) -> Result<On<R, W, E>, String> {
        let Scenario { sealed, blocks, length, .. } = self.scenario;
        let again = |pair: On<R, W, E>| mount(pair.into_flash(), blocks, sealed);
        let mut pair = pair;
        if let Ok(header) = pair.fall_back().copied() {
            let id = u64::from_le_bytes(header.kind) as usize;
            if now.is_none_or(|(_, generation)| generation <= header.generation) {
                return Err("the older one is not older".into());
            }
            if read(&mut pair).is_ok_and(|found| found != content(id, length)) {
                return Err("a fall-back gives what was never written".into());
            }
        }
        again(pair).map_err(|error| error.to_string())
    }
}

/// All scenarios on one geometry, added up.
fn all<const R: usize, const W: usize, const E: usize>(blocks: usize, length: usize) -> Found {
    let mut sum = Found::default();
    for (sealed, before) in [false, true].into_iter().flat_map(|s| (0..4).map(move |b| (s, b))) {
        let scenario = Scenario { sealed, cache: false, before, length, blocks };
        let found = Search::<R, W, E>::run(scenario, 1, 128);
        sum.cuts += found.cuts;
        sum.second_cuts += found.second_cuts;
        sum.wrong.extend(found.wrong);
    }
    sum
}

#[test]
fn a_cut_at_any_byte_keeps_the_old_or_the_new_content() {
    let runs = [
        all::<1, 4, 4096>(1, 300),
        all::<1, 1, 256>(3, 600),
        all::<32, 32, 512>(2, 500),
        all::<8, 12, 768>(2, 1),
        all::<16, 256, 2048>(1, 700),
        all::<4, 8, 128>(4, 416),
    ];
    let wrong: Vec<&String> = runs.iter().flat_map(|run| &run.wrong).collect();
    let cuts: u64 = runs.iter().map(|run| run.cuts).sum();
    let second: u64 = runs.iter().map(|run| run.second_cuts).sum();
    println!("{cuts} cuts, {second} cuts of the recovery: {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cuts > 50_000 && second > 10_000, "{cuts} {second}");
}

/// Behind a cache every sector that was not synced is there or not.
fn behind_a_cache(stride: u64) -> Found {
    let mut sum = Found::default();
    for (sealed, before) in [(false, 0), (false, 1), (false, 2), (true, 2)] {
        let scenario = Scenario { sealed, cache: true, before, length: 3000, blocks: 1 };
        let found = Search::<1, 4, 4096>::run(scenario, stride, 1 << 20);
        sum.cuts += found.cuts;
        sum.wrong.extend(found.wrong);
    }
    sum
}

#[test]
fn a_cache_in_any_order_keeps_the_old_or_the_new_content() {
    let found = behind_a_cache(3);
    println!("{} cuts", found.cuts);
    assert!(found.wrong.is_empty(), "{:#?}", found.wrong);
    assert!(found.cuts > 10_000, "{}", found.cuts);
}

#[test]
fn planted_bugs_are_found() {
    let planted = |bug, sealed| {
        let scenario = Scenario { sealed, cache: false, before: 2, length: 300, blocks: 1 };
        let found = plant::with(bug, || Search::<1, 4, 4096>::run(scenario, 1, 1 << 20));
        let (wrong, first) = (found.wrong.len(), found.wrong.first());
        println!("{bug:?}: {wrong} wrong of {} cuts, as {first:?}", found.cuts);
        wrong
    };
    assert!(planted(Bug::HeaderFirst, false) > 100);
    assert!(planted(Bug::OldErasedEarly, false) > 100);
    assert!(planted(Bug::OldestWins, false) > 100);
    assert!(planted(Bug::MountWrites, false) > 100);
    assert!(planted(Bug::NonceFromGeneration, true) > 100);
    let found = plant::with(Bug::NoBarrier, || behind_a_cache(29));
    println!("NoBarrier: {} wrong of {} cuts", found.wrong.len(), found.cuts);
    assert!(found.wrong.len() > 20);
}
