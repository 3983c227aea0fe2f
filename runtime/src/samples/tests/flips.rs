//! Bits flip: what is read is right or refused, and one burst costs one dialogue at most.

use super::*;
use crate::samples::plant::{self, Bug};

/// What bursts did.
#[derive(Debug, Default)]
struct Flips {
    bursts: u64,
    bits: u64,
    /// Dialogues that were refused or gone.
    lost: u64,
    /// Dialogues that were not what was put.
    wrong: u64,
    /// Bursts that cost more than one dialogue.
    spread: u64,
}

/// Bits of a burst: one, two to eight, a word, a page.
const KINDS: [&str; 4] = ["bit", "few", "word", "page"];

fn flip(bursts: u64, sealed: bool, seed: u64) -> Flips {
    let mut flash = Faulty::new(flash_bytes::<Faulty>(4, 1));
    super::format(&mut flash, 4, sealed).unwrap();
    let mount = |flash: Faulty, index: Vec<BinInfo>| {
        if sealed {
            Sealed::mount_sealed(flash, index, seal(1, None))
        } else {
            Sealed::mount(flash, index)
        }
    };
    let mut samples = mount(flash, vec![BinInfo::FREE; 5]).unwrap();
    let dialogues: Vec<Dialogue> = (0..4).map(|id| Dialogue::new(id, 2, 3)).collect();
    for (bin, dialogue) in dialogues.iter().enumerate() {
        dialogue.put(&mut samples, bin).unwrap();
    }
    // Where bytes are: headers and payloads, not what is erased behind them.
    let image = samples.flash().bytes().to_vec();
    let used: Vec<usize> = (0..image.len() / 256)
        .filter(|page| image[page * 256..][..256].iter().any(|byte| *byte != 0xFF))
        .collect();
    let mut state = seed;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut found, mut scratch) = (Flips::default(), vec![0; RECORD_BYTES]);
    for burst in 0..bursts {
        let page = used[next(used.len())] * 256;
        let (from, length) = match KINDS[burst as usize % 4] {
            "bit" | "few" => (page, 256),
            "word" => (page + 4 * next(64), 4),
            _ => (page, 256),
        };
        let bits = match KINDS[burst as usize % 4] {
            "bit" => 1,
            "few" => 2 + next(7),
            "word" => 1 + next(32),
            _ => 1 + next(2048),
        };
        for _ in 0..bits {
            let (at, bit) = (from + next(length), next(8));
            samples.flash().bytes_mut()[at] ^= 1 << bit;
        }
        found.bits += bits as u64;
        let (flash, index) = samples.into_parts();
        samples = match mount(flash.clone(), index) {
            Ok(samples) => samples,
            Err(error) => panic!("one burst makes the whole buffer unreadable: {error}"),
        };
        let mut lost = 0;
        for (bin, dialogue) in dialogues.iter().enumerate() {
            match samples.read(bin, &mut scratch) {
                Ok(sample) if dialogue.is(&sample) => {}
                Ok(_) => found.wrong += 1,
                Err(Error::Empty { .. }) => {
                    lost += 1;
                    // It is told that something was lost.
                    found.wrong += u64::from(samples.damaged() == 0);
                }
                Err(Error::Corrupt { .. }) => lost += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        found.lost += lost;
        found.spread += u64::from(lost > 1);
        found.bursts += 1;
        samples.flash().bytes_mut()[from..][..length].copy_from_slice(&image[from..][..length]);
    }
    found
}

#[test]
fn flipped_bits_give_no_wrong_data_and_cost_one_dialogue_at_most() {
    for (sealed, bursts) in [(false, 800_000), (true, 200_000)] {
        let found = flip(bursts, sealed, 7);
        println!("sealed {sealed}: {found:?}");
        assert_eq!((found.wrong, found.spread), (0, 0), "{found:?}");
        assert!(found.lost > bursts / 4, "bits were flipped where they matter: {found:?}");
    }
}

#[test]
fn unchecked_records_are_found_wrong() {
    let found = plant::with(Bug::Unchecked, || flip(2000, false, 7));
    assert!(found.wrong > 100, "{found:?}");
}
