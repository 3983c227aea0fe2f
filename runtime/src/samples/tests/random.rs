//! A buffer does what a plain map does, whatever it is asked in whatever order.

use super::harness::Op;
use super::*;

/// Does `count` random things, with the power going at random, and compares all bins after each.
fn run(seed: u64, count: usize, sealed: bool) -> usize {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (bins, spare) = (1 + next(5), 1 + next(3));
    let mut flash = Faulty::new(flash_bytes::<Faulty>(bins, spare));
    super::format(&mut flash, bins, sealed).unwrap();
    let mut key = 1;
    let mount = |flash, key: u8| {
        let index = vec![BinInfo::FREE; 16];
        let samples = if sealed {
            Sealed::mount_sealed(flash, index, seal(key, Some(key.wrapping_sub(1))))
        } else {
            Sealed::mount(flash, index)
        };
        samples.unwrap()
    };
    let mut samples = mount(flash, key);
    let mut held: Vec<Option<Dialogue>> = (0..bins).map(|_| None).collect();
    let (mut scratch, mut cuts) = (vec![0; RECORD_BYTES], 0);
    for step in 0..count {
        let bin = next(bins);
        let op = match next(12) {
            0..7 => Op::Put(step, bin),
            7..9 => Op::Annotate(bin),
            9 => Op::Remove(bin),
            10 => Op::Rekey,
            _ => {
                samples = mount(samples.into_parts().0, key);
                continue;
            }
        };
        if next(4) == 0 {
            samples.flash().set_cut(next(1600) as u64, next(2) == 0, step as u64);
        }
        let mut after = None;
        let done = match op {
            Op::Put(step, bin) => {
                let dialogue = Dialogue::new(step as u64, 1 + next(6), next(12));
                let done = dialogue.put(&mut samples, bin).is_ok();
                after = Some((bin, Some(dialogue)));
                done
            }
            Op::Annotate(bin) => match (samples.read(bin, &mut scratch), &held[bin]) {
                (Ok(old), Some(dialogue)) => {
                    let preferred = format!("{step} would have been better");
                    let sample = Sample { preferred: Some(&preferred), ..old };
                    let done = samples.put(bin, &sample).is_ok();
                    let preferred = Some(preferred);
                    after = Some((bin, Some(Dialogue { preferred, ..dialogue.clone() })));
                    done
                }
                _ => true,
            },
            Op::Remove(bin) => {
                after = Some((bin, None));
                samples.remove(bin).is_ok()
            }
            Op::Rekey if sealed => {
                key += 1;
                samples.rekey(Key::new([key; 32]), &mut scratch).is_ok()
            }
            Op::Rekey => true,
        };
        if samples.flash().is_off() {
            // It is acknowledged if only the erase of the old record was cut.
            cuts += 1;
        } else {
            assert!(done, "seed {seed} step {step}: {op:?} is refused");
        }
        let was_off = samples.flash().is_off();
        let (mut flash, _) = samples.into_parts();
        flash.power_on();
        samples = mount(flash, key);
        if was_off && matches!(op, Op::Rekey) {
            samples.rekey(Key::new([key; 32]), &mut scratch).unwrap();
        }
        if let Some((bin, after)) = after {
            let is = |samples: &mut Sealed, one: &Option<Dialogue>, scratch: &mut [u8]| match one {
                None => samples.info(bin).is_none(),
                Some(one) => samples.read(bin, scratch).is_ok_and(|found| one.is(&found)),
            };
            if is(&mut samples, &after, &mut scratch) {
                held[bin] = after;
            } else {
                assert!(!done, "seed {seed} step {step}: {op:?} is not there");
            }
        }
        for (bin, one) in held.iter().enumerate() {
            match one {
                None => assert!(samples.info(bin).is_none(), "seed {seed} step {step} bin {bin}"),
                Some(one) => {
                    let found = samples.read(bin, &mut scratch).unwrap();
                    assert!(one.is(&found), "seed {seed} step {step} bin {bin}");
                }
            }
        }
    }
    cuts
}

#[test]
fn a_buffer_is_a_map_whatever_it_is_asked() {
    let mut cuts = 0;
    for seed in 0..200 {
        cuts += run(seed, 120, seed % 2 == 1);
    }
    assert!(cuts > 1500, "{cuts}");
}
