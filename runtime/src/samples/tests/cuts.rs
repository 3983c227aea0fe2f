//! The power goes at every byte; and the search finds the bugs that are planted.

use super::harness::Op::{self, Annotate, Put, Rekey, Remove};
use super::harness::{Found, Scenario, Search};
use crate::samples::plant::{self, Bug};

/// What is done while the power may go.
struct Work {
    name: &'static str,
    setup: &'static [Op],
    ops: &'static [Op],
    cold: bool,
    bins: usize,
    spare: usize,
}

const FULL: &[Op] = &[Put(0, 0), Put(1, 1), Put(2, 2)];

const WORK: &[Work] = &[
    Work { name: "fill", setup: &[], ops: FULL, cold: false, bins: 3, spare: 1 },
    Work {
        name: "replace",
        setup: FULL,
        ops: &[Put(3, 1), Put(4, 1), Put(5, 0)],
        cold: false,
        bins: 3,
        spare: 1,
    },
    Work {
        name: "annotate",
        setup: FULL,
        ops: &[Annotate(2), Put(6, 2), Annotate(0)],
        cold: false,
        bins: 3,
        spare: 2,
    },
    Work {
        name: "remove",
        setup: FULL,
        ops: &[Remove(1), Put(7, 1), Remove(0), Remove(2)],
        cold: false,
        bins: 3,
        spare: 1,
    },
    Work {
        name: "level",
        setup: FULL,
        ops: &[Put(8, 0), Put(3, 0)],
        cold: true,
        bins: 3,
        spare: 1,
    },
    Work {
        name: "one bin",
        setup: &[],
        ops: &[Put(1, 0), Put(2, 0), Remove(0)],
        cold: false,
        bins: 1,
        spare: 1,
    },
];

const REKEY: Work =
    Work { name: "forget", setup: FULL, ops: &[Remove(1), Rekey], cold: false, bins: 3, spare: 1 };

impl Work {
    fn scenario(&self, sealed: bool, cache: bool, length: (usize, usize)) -> Scenario {
        let Work { name, setup, ops, cold, bins, spare } = *self;
        let (setup, ops) = (setup.to_vec(), ops.to_vec());
        Scenario { name, bins, spare, sealed, cache, setup, cold, ops, length }
    }
}

/// Runs all work on one geometry, and adds up.
fn all<const R: usize, const W: usize, const E: usize>(
    length: (usize, usize),
    stride: u64,
    second: Option<u64>,
) -> (usize, Found) {
    let (mut scenarios, mut sum) = (0, Found::default());
    let works = WORK.iter().map(|work| (work, false)).chain(WORK.iter().map(|work| (work, true)));
    for (work, sealed) in works.chain([(&REKEY, true)]) {
        let scenario = work.scenario(sealed, false, length);
        let found = Search::<R, W, E>::new(&scenario).run(stride, second);
        assert!(found.wrong.is_empty(), "{} sealed {sealed}: {:#?}", work.name, found.wrong);
        scenarios += 1;
        sum.cuts += found.cuts;
        sum.second_cuts += found.second_cuts;
    }
    (scenarios, sum)
}

fn everywhere(length: (usize, usize), stride: u64, second: Option<u64>) -> (usize, u64, u64) {
    let runs = [
        all::<1, 4, 4096>(length, stride, second),
        all::<1, 1, 256>(length, stride, second),
        all::<32, 32, 8192>(length, stride, second),
        all::<8, 12, 6144>(length, stride, second),
        all::<16, 256, 65536>(length, stride, second),
    ];
    let sum = |of: fn(&(usize, Found)) -> u64| runs.iter().map(of).sum();
    (runs.iter().map(|run| run.0).sum(), sum(|run| run.1.cuts), sum(|run| run.1.second_cuts))
}

#[test]
fn power_cut_keeps_the_old_or_the_new_sample() {
    let (scenarios, cuts, second) = everywhere((2, 2), 1, Some(192));
    println!("{scenarios} scenarios, {cuts} cuts, {second} cuts of the recovery: 0 wrong");
    assert!(scenarios >= 40 && cuts >= 100_000 && second >= 10_000, "{scenarios} {cuts} {second}");
}

#[test]
#[ignore = "minutes: every byte of longer dialogues"]
fn power_cut_at_every_byte_of_longer_dialogues() {
    let mut all = 0;
    for length in [(2, 12), (4, 20), (5, 40)] {
        let (scenarios, cuts, second) = everywhere(length, 1, Some(320));
        println!("{scenarios} scenarios, {cuts} cuts, {second} cuts of the recovery: 0 wrong");
        all += cuts;
    }
    assert!(all >= 1_000_000, "{all}");
}

/// Behind a cache every sector that was not synced is there or not.
fn behind_a_cache() -> Found {
    let mut sum = Found::default();
    for sealed in [false, true] {
        for work in WORK {
            let scenario = work.scenario(sealed, true, (4, 20));
            let found = Search::<1, 4, 4096>::new(&scenario).run(29, None);
            sum.cuts += found.cuts;
            sum.wrong.extend(found.wrong);
        }
    }
    sum
}

#[test]
fn a_cache_in_any_order_keeps_the_old_or_the_new_sample() {
    let found = behind_a_cache();
    assert!(found.wrong.is_empty(), "{:#?}", found.wrong);
    assert!(found.cuts > 2000, "{}", found.cuts);
}

/// What a search finds with a bug in the buffer.
fn planted(bug: Bug, work: &Work, sealed: bool) -> usize {
    let scenario = work.scenario(sealed, false, (2, 2));
    let found = plant::with(bug, || Search::<1, 4, 4096>::new(&scenario).run(5, None));
    println!(
        "{bug:?}: {} wrong of {} cuts, as {:?}",
        found.wrong.len(),
        found.cuts,
        found.wrong.first()
    );
    found.wrong.len()
}

#[test]
fn planted_bugs_are_found() {
    let [fill, replace, _, remove, ..] = WORK else { panic!("there is work") };
    assert!(planted(Bug::HeaderFirst, replace, false) > 20);
    assert!(planted(Bug::OldErasedEarly, replace, false) > 20);
    assert!(planted(Bug::OldestWins, replace, false) > 0);
    assert!(planted(Bug::MountWrites, replace, false) > 0);
    assert!(planted(Bug::NonceFromGeneration, fill, true) > 20);
    assert!(planted(Bug::TextPlain, fill, true) > 0);
    assert!(planted(Bug::Unchecked, remove, false) > 0);
    let found = plant::with(Bug::NoBarrier, behind_a_cache);
    println!("NoBarrier: {} wrong of {} cuts", found.wrong.len(), found.cuts);
    assert!(found.wrong.len() > 20);
}
