//! Flash wears: slots evenly, and blocks out.

use super::*;
use crate::flash::faulty::Broken;
use crate::samples::plant::{self, Bug};

/// What a long life did.
#[derive(Debug)]
struct Life {
    cuts: u64,
    /// Erases of a slot for each put.
    erases: f64,
    /// Most to least worn slot, as counted by the flash.
    ratio: f64,
    /// And as the buffer says.
    said: f64,
    /// Dialogues that were not as they should be.
    wrong: u64,
}

/// Puts to bins as `load` says, the power going now and then.
fn live(puts: u64, bins: usize, spare: usize, load: Load, cut: u64) -> Life {
    let mut flash = Faulty::new(flash_bytes::<Faulty>(bins, spare));
    super::format(&mut flash, bins, false).unwrap();
    let mut samples = Sealed::mount(flash, vec![BinInfo::FREE; bins + spare]).unwrap();
    let dialogues: Vec<Dialogue> = (0..16).map(|id| Dialogue::new(id, 1, 1)).collect();
    let mut held = vec![None; bins];
    for (bin, held) in held.iter_mut().enumerate() {
        dialogues[bin % 16].put(&mut samples, bin).unwrap();
        *held = Some(bin % 16);
    }
    samples.flash().erases.fill(0);
    let (mut state, mut cuts, mut wrong) = (1_u64, 0, 0);
    let mut scratch = vec![0; RECORD_BYTES];
    for put in 0..puts {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (bin, dialogue) = (load(state >> 20, bins), (state >> 40) as usize % 16);
        let may_go = cut > 0 && put % cut == 0;
        if may_go {
            samples.flash().set_cut(state >> 50 & 1023, state & 1 << 30 != 0, state);
        }
        let done = dialogues[dialogue].put(&mut samples, bin).is_ok();
        if done {
            held[bin] = Some(dialogue);
        }
        if may_go {
            cuts += u64::from(samples.flash().is_off());
            let (mut flash, index) = samples.into_parts();
            flash.power_on();
            samples = Sealed::mount(flash, index).unwrap();
            let found = samples.read(bin, &mut scratch).unwrap().id as usize;
            wrong += u64::from(Some(found) != held[bin] && (done || found != dialogue));
            held[bin] = Some(found);
        }
    }
    for (bin, held) in held.iter().enumerate() {
        let found = samples.read(bin, &mut scratch).unwrap();
        wrong += u64::from(!dialogues[held.unwrap()].is(&found));
    }
    let Wear { least, most, .. } = samples.wear();
    let said = f64::from(most) / f64::from(least.max(1));
    let blocks = layout::slot_bytes::<Faulty>() / BLOCK;
    let slots = samples.flash().erases[1..].chunks(blocks).map(|slot| slot[0]);
    let (least, most) = (slots.clone().min().unwrap(), slots.clone().max().unwrap());
    let erases = slots.sum::<u64>() as f64 / puts as f64;
    let ratio = most as f64 / least.max(1) as f64;
    Life { cuts, erases, ratio, said, wrong }
}

/// The bin that a random number means.
type Load = fn(u64, usize) -> usize;

const LOADS: [(&str, Load); 3] = [
    ("uniform", |random, bins| random as usize % bins),
    ("10% hot", |random, bins| {
        let hot = bins.div_ceil(10);
        if random % 10 < 9 { (random >> 8) as usize % hot } else { (random >> 8) as usize % bins }
    }),
    ("one bin", |_, bins| bins / 2),
];

fn lives(puts: u64, bins: usize, spare: usize) {
    for (name, load) in LOADS {
        let began = std::time::Instant::now();
        let life = live(puts, bins, spare, load, 97);
        println!(
            "{name}, {bins} bins, {spare} spare, {:.1} s: {life:?}",
            began.elapsed().as_secs_f64()
        );
        assert_eq!(life.wrong, 0, "{name}: {life:?}");
        assert!(life.ratio <= 1.25, "{name}: {life:?}");
        assert!((life.said - life.ratio).abs() < 0.1, "{name}: {life:?}");
        assert!(life.erases <= 1.1, "{name}: {life:?}");
        assert!(life.cuts > puts / 400, "{name}: {life:?}");
    }
}

#[test]
fn slots_wear_evenly_whatever_bins_are_written() {
    lives(60_000, 24, 3);
    lives(20_000, 8, 1);
}

#[test]
#[ignore = "a few minutes: a million puts of each kind"]
fn a_million_puts_wear_evenly_and_do_not_slow_down() {
    lives(1_000_000, 128, 16);
}

#[test]
fn what_wears_unevenly_is_found() {
    let one_bin = LOADS[2].1;
    let life = plant::with(Bug::NoLevelling, || live(20_000, 24, 3, one_bin, 0));
    assert!(life.ratio > 100.0, "{life:?}");
    let life = plant::with(Bug::EraseCountReset, || live(20_000, 24, 3, one_bin, 0));
    assert!(life.ratio > 100.0, "{life:?}");
}

/// Ten rounds of puts with one slot of four broken: nothing that was acknowledged is lost.
fn survives(slot: usize, how: Broken, spare: usize) -> (u32, u32) {
    let mut flash = Faulty::new(flash_bytes::<Faulty>(3, spare));
    super::format(&mut flash, 3, false).unwrap();
    let mut samples = Sealed::mount(flash, vec![BinInfo::FREE; 3 + spare]).unwrap();
    let blocks = layout::slot_bytes::<Faulty>() / BLOCK;
    let mut scratch = vec![0; RECORD_BYTES];
    let (mut done, mut refused) = (0, 0);
    let mut held: Vec<Option<Dialogue>> = vec![None, None, None];
    for step in 0..30 {
        if step == 4 {
            for block in 0..blocks {
                samples.flash().broken.push((1 + slot * blocks + block, how));
            }
        }
        if step == 20 {
            let (flash, index) = samples.into_parts();
            samples = Sealed::mount(flash, index).unwrap();
        }
        let (bin, dialogue) = (step % 3, Dialogue::new(step as u64, 2, 2));
        match dialogue.put(&mut samples, bin) {
            Ok(_) => {
                held[bin] = Some(dialogue);
                done += 1;
            }
            Err(Error::Flash(_) | Error::NoSlot { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        for (bin, dialogue) in held.iter().enumerate() {
            let Some(dialogue) = dialogue else { continue };
            match samples.read(bin, &mut scratch) {
                Ok(found) => assert!(dialogue.is(&found), "{how:?} in slot {slot}, step {step}"),
                // What lies in a block that cannot be read any more is gone with it.
                Err(_) => assert!(matches!(how, Broken::Read | Broken::Bit), "{how:?}"),
            }
        }
    }
    (done, refused)
}

#[test]
fn broken_blocks_lose_nothing_while_a_slot_is_spare() {
    let all = [
        Broken::Erase,
        Broken::EraseSilently,
        Broken::Write,
        Broken::WriteSilently,
        Broken::Bit,
        Broken::Read,
    ];
    for how in all {
        for slot in 0..5 {
            let (done, refused) = survives(slot, how, 2);
            assert_eq!((done, refused), (30, 0), "{how:?} in slot {slot}");
        }
        // With one spare slot and one broken, some puts find none; each says so.
        for slot in 0..4 {
            let (done, refused) = survives(slot, how, 1);
            assert!(done + refused == 30 && done >= 4, "{how:?} in slot {slot}: {done} {refused}");
        }
    }
}

#[test]
fn a_read_that_fails_once_costs_nothing() {
    let dialogue = Dialogue::new(1, 2, 2);
    let mut flash = Faulty::new(flash_bytes::<Faulty>(2, 2));
    super::format(&mut flash, 2, false).unwrap();
    let mut samples = Sealed::mount(flash, vec![BinInfo::FREE; 4]).unwrap();
    dialogue.put(&mut samples, 0).unwrap();
    dialogue.put(&mut samples, 1).unwrap();
    let (flash, mut index) = samples.into_parts();
    let mut scratch = vec![0; RECORD_BYTES];
    for fails in 0..400 {
        let mut flash = flash.clone();
        flash.read_fails = Some(fails);
        let mut samples = Sealed::mount(flash, index).unwrap();
        let other = Dialogue::new(2, 2, 2);
        other.put(&mut samples, 0).unwrap();
        assert!(other.is(&samples.read(0, &mut scratch).unwrap()), "read {fails}");
        assert!(dialogue.is(&samples.read(1, &mut scratch).unwrap()), "read {fails}");
        samples.remove(1).unwrap();
        index = samples.into_parts().1;
    }
}

#[test]
fn a_read_that_fails_once_hides_no_buffer_whose_superblock_is_damaged() {
    let mut flash = Faulty::new(flash_bytes::<Faulty>(1, 1));
    super::format(&mut flash, 1, false).unwrap();
    // Of the slot headers, which repeat the superblock, one is left.
    flash.bytes_mut()[0] ^= 1;
    flash.bytes_mut()[BLOCK] ^= 1;
    for fails in 0..8 {
        let mut flash = flash.clone();
        flash.read_fails = Some(fails);
        assert!(Sealed::mount(flash, vec![BinInfo::FREE; 2]).is_ok(), "read {fails}");
    }
    let second = 1 + layout::slot_bytes::<Faulty>() / BLOCK;
    flash.broken = vec![(second, Broken::Read)];
    let refused = Sealed::mount(flash, vec![BinInfo::FREE; 2]).unwrap_err();
    assert!(matches!(refused, Error::Flash(_)), "what cannot be read may be a buffer");
}

#[test]
fn a_byte_that_is_not_programmed_is_found_by_reading_back() {
    let stuck = |bug: Option<Bug>| {
        let test = || {
            let mut flash = Faulty::new(flash_bytes::<Faulty>(1, 2));
            super::format(&mut flash, 1, false).unwrap();
            // In the middle of the first slot's first block, where the text will be.
            flash.broken = vec![(1, Broken::WriteSilently)];
            let mut samples = Sealed::mount(flash, vec![BinInfo::FREE; 3]).unwrap();
            let dialogue = Dialogue::new(1, 4, 60);
            dialogue.put(&mut samples, 0).unwrap();
            let mut scratch = vec![0; RECORD_BYTES];
            samples.read(0, &mut scratch).is_ok_and(|found| dialogue.is(&found))
        };
        bug.map_or_else(test, |bug| plant::with(bug, test))
    };
    assert!(stuck(None));
    assert!(!stuck(Some(Bug::Unverified)), "what is not read back is lost when it is read");
}
