//! What a buffer does when nothing goes wrong, and what it refuses.

use super::*;
use crate::samples::layout::PAYLOAD_BYTES;
use homespun_core::select::{Setting, Verdict, policy};

#[test]
fn what_is_put_is_read_and_mounted_again() {
    let mut samples = open(ram(3, 1));
    let mut scratch = [0; RECORD_BYTES];
    assert_eq!(samples.read(0, &mut scratch).unwrap_err(), Error::Empty { bin: 0 });
    assert_eq!(samples.read(3, &mut scratch).unwrap_err(), Error::NoSuchBin { bin: 3, bins: 3 });
    let mut held = [None, None, None];
    for step in 0..40_u64 {
        let bin = (step * step % 3) as usize;
        if step % 7 == 6 {
            samples.remove(bin).unwrap();
            held[bin] = None;
        } else {
            let dialogue = Dialogue::new(step, 1 + step as usize % 5, 3);
            assert_eq!(dialogue.put(&mut samples, bin).unwrap().lost_turns, 0);
            held[bin] = Some(dialogue);
        }
        if step % 3 == 0 {
            samples = open(samples.into_parts().0);
        }
        for (bin, held) in held.iter().enumerate() {
            assert_eq!(samples.info(bin).is_some(), held.is_some());
            let Some(held) = held else { continue };
            assert!(held.is(&samples.read(bin, &mut scratch).unwrap()), "step {step} bin {bin}");
            let mut embedding = [0.0; 70];
            samples.embedding(bin, &mut embedding).unwrap();
            assert_eq!(embedding[..], held.embedding);
        }
        assert_eq!(samples.entries().count(), held.iter().flatten().count());
    }
}

#[test]
fn an_annotation_is_added_by_reading_and_putting_back() {
    let mut samples = open(ram(2, 1));
    let dialogue = Dialogue::new(5, 4, 2);
    dialogue.put(&mut samples, 1).unwrap();
    let mut scratch = [0; RECORD_BYTES];
    let mut sample = samples.read(1, &mut scratch).unwrap();
    sample.preferred = Some("Like this.");
    sample.flags = sample.flags.without(Flags::SKIPPED).with(Flags::UNANSWERED);
    samples.put(1, &sample).unwrap();
    let mut again = [0; RECORD_BYTES];
    let found = samples.read(1, &mut again).unwrap();
    assert_eq!(found.preferred, Some("Like this."));
    assert_eq!(found.flags, Flags::ANNOTATED.with(Flags::UNANSWERED));
    assert!(found.messages.iter().eq(dialogue.messages()));
    assert!(found.embedding.iter().eq(dialogue.embedding.iter().copied()));
}

#[test]
fn a_long_dialogue_loses_its_oldest_turns_and_says_so() {
    let mut samples = open(ram(1, 1));
    let dialogue = Dialogue::new(1, 60, 100);
    let put = dialogue.put(&mut samples, 0).unwrap();
    assert!(put.lost_turns > 0 && put.bytes <= PAYLOAD_BYTES, "{put:?}");
    // One message more would not have fitted.
    let (_, lost) = &dialogue.texts[put.lost_turns - 1];
    assert!(put.bytes + lost.len() > PAYLOAD_BYTES - 32);
    let mut scratch = [0; RECORD_BYTES];
    let found = samples.read(0, &mut scratch).unwrap();
    assert_eq!(found.lost_turns as usize, put.lost_turns);
    assert!(found.messages.iter().eq(dialogue.messages().into_iter().skip(put.lost_turns)));
    // Losses add up over puts.
    let long = "x".repeat(9000);
    let again = Sample { preferred: Some(&long), ..found };
    let more = samples.put(0, &again).unwrap().lost_turns;
    let total = samples.info(0).unwrap().header().lost_turns;
    assert!(more > 0 && total as usize == put.lost_turns + more);
}

#[test]
fn records_fill_to_the_last_byte_and_not_beyond() {
    let mut samples = open(ram(1, 1));
    let mut scratch = [0; RECORD_BYTES];
    let mut longest = 0;
    for length in PAYLOAD_BYTES - 200..PAYLOAD_BYTES {
        let content = "y".repeat(length);
        let messages = [Message { role: "user", content: &content }];
        let sample = Sample { messages: Messages::Given(&messages), ..Sample::default() };
        match samples.put(0, &sample) {
            Ok(put) => {
                assert!(put.bytes <= PAYLOAD_BYTES);
                longest = longest.max(put.bytes);
                let found = samples.read(0, &mut scratch).unwrap();
                assert_eq!(found.messages.iter().next().unwrap().content.len(), length);
            }
            Err(Error::TooLong { needed, available }) => {
                assert!(needed > available && available == PAYLOAD_BYTES);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(longest, PAYLOAD_BYTES);
    let wide = vec![1.0; 12_000];
    let sample = Sample { embedding: Embedding::Floats(&wide), ..Sample::default() };
    assert!(matches!(samples.put(0, &sample), Err(Error::TooLong { .. })));
    assert!(samples.info(0).is_some(), "a refused put leaves what was there");
}

#[test]
fn embeddings_are_kept_as_the_nearest_f16() {
    let mut samples = open(ram(1, 1));
    let floats = [1.0 / 3.0, -1e9, f32::NAN, 1e-9, 0.0, 65504.0];
    let sample = Sample { embedding: Embedding::Floats(&floats), ..Sample::default() };
    samples.put(0, &sample).unwrap();
    let mut out = [9.0; 6];
    samples.embedding(0, &mut out).unwrap();
    assert!((out[0] - floats[0]).abs() < 2e-4 && out[2].is_nan());
    assert_eq!((out[1], out[3], out[4], out[5]), (-65504.0, 0.0, 0.0, 65504.0));
    let refused = samples.embedding(0, &mut [0.0; 5]);
    assert_eq!(refused, Err(Error::Embedding { bin: 0, stored: 6, asked: 5 }));
}

#[test]
fn removed_text_is_gone_from_the_flash() {
    let mut samples = open(ram(3, 2));
    let content = "a secret that nobody may find";
    for round in 0..3 {
        let messages = [Message { role: "user", content }];
        let sample =
            Sample { id: round, messages: Messages::Given(&messages), ..Sample::default() };
        samples.put(2, &sample).unwrap();
    }
    samples.remove(2).unwrap();
    assert!(samples.info(2).is_none());
    let (flash, _) = samples.into_parts();
    let mut samples = open(flash.clone());
    let bytes = flash.into_bytes();
    assert!(!bytes.windows(content.len()).any(|w| w == content.as_bytes()));
    assert!(samples.info(2).is_none());
    assert_eq!(samples.read(2, &mut [0; RECORD_BYTES]).unwrap_err(), Error::Empty { bin: 2 });
}

#[test]
fn observing_scores_decides_and_stores() {
    let mut samples = open(ram(3, 1));
    let mut scratch = [0.0; policy::scratch_len(3, 2)];
    let messages = [Message { role: "user", content: "hello" }];
    let mut observe = |entropy: f32, arrival: u64, embedding: [f32; 2]| {
        let scores =
            Scores { entropy, domain_score: entropy, domain: Domain(0), ..Scores::default() };
        let sample =
            Sample { arrival, scores, messages: Messages::Given(&messages), ..Sample::default() };
        let mut setting = Setting { seed: 1, frozen: false, scratch: &mut scratch };
        samples.observe(&policy::QUALITY, &sample, &embedding, &mut setting).unwrap()
    };
    let first = observe(1.0, 0, [1.0, 0.0]);
    assert_eq!((first.verdict, first.scores.dissimilarity), (Verdict::Store(0), 1.0));
    assert_eq!(observe(2.0, 1, [1.0, 0.0]).scores.dissimilarity, 0.0);
    assert_eq!(observe(3.0, 2, [0.0, 1.0]).verdict, Verdict::Store(2));
    // Entries 0 and 1 have 1/2, entry 2 has 1; this one has 5/3 against all.
    let fourth = observe(1.5, 3, [-1.0, 0.0]);
    assert_eq!(fourth.verdict, Verdict::Replace(0));
    assert!((fourth.scores.dissimilarity - 5.0 / 3.0).abs() < 1e-6);
    assert_eq!(observe(0.5, 4, [0.0, -1.0]).verdict, Verdict::Drop);
    let arrivals: Vec<u64> = samples.entries().map(|(_, info)| info.entry().arrival).collect();
    assert_eq!(arrivals, [3, 1, 2]);
    // The cause of a failed decision is the buffer's own error.
    let (sample, mut scratch) = (Sample::default(), [0.0; policy::scratch_len(3, 3)]);
    let mut setting = Setting { seed: 1, frozen: false, scratch: &mut scratch };
    let refused = samples.observe(&policy::K_CENTER, &sample, &[1.0; 3], &mut setting);
    assert_eq!(refused.unwrap_err(), Error::Embedding { bin: 1, stored: 2, asked: 3 });
}

#[test]
fn flash_that_does_not_suit_is_refused() {
    let mut small = Ram::new(vec![0; flash_bytes::<Ram>(2, 0)]);
    assert!(matches!(format(&mut small, 2, false), Err(Error::Capacity { bins: 2, .. })));
    assert!(matches!(format(&mut small, 0, false), Err(Error::Capacity { bins: 0, .. })));
    assert!(matches!(format(&mut small, 70_000, false), Err(Error::Capacity { .. })));
    let mut odd = RamFlash::<_, 1, 3, BLOCK>::new(vec![0; 1 << 20]);
    assert_eq!(format(&mut odd, 2, false), Err(Error::Geometry));
    let unformatted = Ram::new(vec![0xFF; 1 << 20]);
    let mounted = Buffer::mount(unformatted, vec![BinInfo::FREE; 64]);
    assert_eq!(mounted.unwrap_err(), Error::Unformatted);
    let mounted = Buffer::mount(ram(3, 1), vec![BinInfo::FREE; 3]);
    assert_eq!(mounted.unwrap_err(), Error::Index { needed: 4, available: 3 });
    let other = RamFlash::<_, 1, 4, 16384>::new(ram(3, 4).into_bytes());
    let mounted = Samples::<_, _>::mount(other, vec![BinInfo::FREE; 8]);
    assert!(matches!(mounted, Err(Error::SlotBytes { found: 24576, expected: 32768, .. })));
    let other = RamFlash::<_, 1, 64, 4096>::new(ram(3, 4).into_bytes());
    let mounted = Samples::<_, _>::mount(other, vec![BinInfo::FREE; 8]);
    assert!(matches!(mounted, Err(Error::SlotBytes { unit: 4, expected_unit: 64, .. })));
    let pages = RamFlash::<_, 1, 2048, 4096>::new(vec![0xFF; 1 << 18]);
    let mounted = Samples::<_, _>::mount(pages, vec![BinInfo::FREE; 8]);
    assert_eq!(mounted.unwrap_err(), Error::Geometry);
}

#[test]
fn other_units_of_flash_work_alike() {
    fn check<const READ: usize, const WRITE: usize, const ERASE: usize, const STAGE: usize>() {
        type Flash<const R: usize, const W: usize, const E: usize> = FaultyFlash<R, W, E>;
        let bytes = flash_bytes::<Flash<READ, WRITE, ERASE>>(2, 1);
        let mut flash = Flash::<READ, WRITE, ERASE>::new(bytes);
        format(&mut flash, 2, false).unwrap();
        let index = vec![BinInfo::FREE; 8];
        let mut samples = Samples::<_, _, STAGE>::mount(flash, index).unwrap();
        let mut scratch = [0; RECORD_BYTES];
        for id in 0..40 {
            let dialogue = Dialogue::new(id, 3, 20);
            dialogue.put(&mut samples, id as usize / 30).unwrap();
            let found = samples.read(id as usize / 30, &mut scratch).unwrap();
            assert!(dialogue.is(&found));
            let mut embedding = [0.0; 70];
            samples.embedding(id as usize / 30, &mut embedding).unwrap();
            assert_eq!(embedding[..], dialogue.embedding);
        }
        let (flash, index) = samples.into_parts();
        let samples = Samples::<_, _, STAGE>::mount(flash, index).unwrap();
        assert_eq!(samples.entries().count(), 2);
    }
    check::<1, 1, 64, 512>();
    check::<1, 1, 128, 100>();
    check::<4, 8, 2048, 512>();
    check::<32, 128, 131_072, 512>();
    check::<16, 32, 262_144, 512>();
    check::<8, 12, 6144, 512>();
    check::<512, 4, 4096, 512>();
    check::<1, 2048, 131_072, 2048>();
    check::<4096, 4096, 4096, 4096>();
    check::<1, 4, 1_048_576, 512>();
}

#[test]
fn what_is_blind_or_sealed_is_neither_read_nor_written() {
    let mut flash = Faulty::new(flash_bytes::<Faulty>(2, 1));
    format(&mut flash, 2, true).unwrap();
    let index = vec![BinInfo::FREE; 4];
    let mut samples = Sealed::mount_sealed(flash, index, seal(1, None)).unwrap();
    let dialogue = Dialogue::new(7, 3, 4);
    dialogue.put(&mut samples, 1).unwrap();
    let mut scratch = [0; RECORD_BYTES];
    assert!(dialogue.is(&samples.read(1, &mut scratch).unwrap()));
    let (flash, index) = samples.into_parts();
    let plain = Sealed::mount(flash.clone(), index.clone());
    assert_eq!(plain.unwrap_err(), Error::Sealed);
    let other = Sealed::mount_sealed(flash.clone(), index.clone(), seal(2, None));
    assert_eq!(other.unwrap_err(), Error::Key { name: seal(1, None).key.name() });
    let mut blind = Sealed::mount_blind(flash, index).unwrap();
    let header = blind.info(1).unwrap().header();
    assert_eq!((header.arrival, header.components), (0, 70), "sizes are seen, details are not");
    blind.verify(1).unwrap();
    assert!(matches!(blind.read(1, &mut scratch), Err(Error::Key { .. })));
    assert_eq!(dialogue.put(&mut blind, 0).unwrap_err(), Error::Sealed);
    assert_eq!(blind.remove(1).unwrap_err(), Error::Sealed);
    let mounted = Buffer::mount_sealed(ram(1, 1), vec![BinInfo::FREE; 4], seal(1, None));
    assert_eq!(mounted.unwrap_err(), Error::Plain);
}

#[test]
fn a_new_key_seals_everything_anew_and_the_old_one_opens_nothing() {
    let mut flash = Faulty::new(flash_bytes::<Faulty>(3, 1));
    format(&mut flash, 3, true).unwrap();
    let index = vec![BinInfo::FREE; 4];
    let mut samples = Sealed::mount_sealed(flash, index, seal(1, None)).unwrap();
    let held: Vec<Dialogue> = (0..3).map(|id| Dialogue::new(id, 2, 4)).collect();
    for (bin, one) in held.iter().enumerate() {
        one.put(&mut samples, bin).unwrap();
    }
    let mut scratch = [0; RECORD_BYTES];
    assert_eq!(samples.rekey(seal(2, None).key, &mut scratch).unwrap(), 0);
    let (flash, index) = samples.into_parts();
    let name = seal(1, None).key.name().0;
    assert!(!flash.bytes().windows(8).any(|eight| eight == name), "no record of the old key");
    assert!(Sealed::mount_sealed(flash.clone(), index.clone(), seal(1, None)).is_err());
    let mut samples = Sealed::mount_sealed(flash, index, seal(2, None)).unwrap();
    for (bin, one) in held.iter().enumerate() {
        assert!(one.is(&samples.read(bin, &mut scratch).unwrap()));
    }
}

#[test]
fn a_remove_that_was_cut_does_not_keep_a_new_key_from_opening_everything() {
    let mut flash = Faulty::new(flash_bytes::<Faulty>(2, 1));
    super::format(&mut flash, 2, true).unwrap();
    let mount = |flash, key| Sealed::mount_sealed(flash, vec![BinInfo::FREE; 3], seal(key, None));
    let mut samples = mount(flash, 1).unwrap();
    let (gone, stays) = (Dialogue::new(1, 1, 1), Dialogue::new(2, 1, 1));
    gone.put(&mut samples, 0).unwrap();
    stays.put(&mut samples, 1).unwrap();
    let before = samples.into_parts().0;
    let mut scratch = [0; RECORD_BYTES];
    for cut in (0..).step_by(3) {
        let mut flash = before.clone();
        flash.set_cut(cut, false, 1);
        let mut samples = mount(flash, 1).unwrap();
        let _ = samples.remove(0);
        let (mut flash, _) = samples.into_parts();
        if !flash.is_off() {
            break;
        }
        flash.power_on();
        let mut samples = mount(flash, 1).unwrap();
        let there = samples.info(0).is_some();
        assert_eq!(samples.rekey(Key::new([2; 32]), &mut scratch), Ok(0));
        let mut samples = mount(samples.into_parts().0, 2).unwrap();
        assert_eq!(samples.info(0).is_some(), there, "cut {cut}");
        assert!(stays.is(&samples.read(1, &mut scratch).unwrap()), "cut {cut}");
    }
}

#[test]
fn headers_that_lie_under_a_right_crc_are_no_panic() {
    let mut samples = open(ram(2, 1));
    Dialogue::new(4, 6, 8).put(&mut samples, 0).unwrap();
    let image = samples.into_parts().0.into_bytes();
    let mut scratch = [0; RECORD_BYTES];
    let superblock = (0, 128);
    for (start, length) in [superblock, (BLOCK, 32), (BLOCK + 32, header::HEADER_BYTES)] {
        for at in 0..length - 4 {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut image = image.clone();
                image[start + at] = value;
                let crc = crc::of(&image[start..start + length - 4]);
                image[start + length - 4..start + length].copy_from_slice(&crc.to_le_bytes());
                let index = vec![BinInfo::FREE; 4];
                let Ok(mut samples) = Buffer::mount(Ram::new(image), index) else { continue };
                for bin in 0..samples.bins() {
                    if let Some(info) = samples.info(bin) {
                        assert!(info.entry().scores.entropy.is_finite());
                    }
                    let _ = samples.read(bin, &mut scratch);
                    let _ = samples.embedding(bin, &mut [0.0; 70]);
                    let _ = samples.remove(bin);
                }
            }
        }
    }
}
