//! The buffer against a plain model, cut power, damaged images and tight records.

use super::*;
use crate::flash::{RamError, RamFlash};
use embedded_storage::nor_flash::{ErrorType, ReadNorFlash};
use homespun_core::select::{Domain, Scores, Setting, Verdict, policy};

const BLOCK: usize = 4096;
const SLOT: usize = 6 * BLOCK;
type Ram = RamFlash<Vec<u8>, 1, 4, BLOCK>;

fn ram(bins: usize, spare: usize) -> Ram {
    let mut flash = Ram::new(vec![0; flash_bytes(bins, spare, BLOCK)]);
    format(&mut flash, bins).unwrap();
    flash
}

fn open(flash: Ram) -> Samples<Ram, Vec<BinInfo>> {
    Samples::mount(flash, vec![BinInfo::FREE; 8]).unwrap()
}

/// A dialogue of its own for every `id`.
struct Dialogue {
    texts: Vec<(String, String)>,
    preferred: Option<String>,
    embedding: Vec<f32>,
    id: u64,
}

impl Dialogue {
    fn new(id: u64, turns: usize, length: usize) -> Self {
        let role = |turn| if turn % 2 == 0 { "user" } else { "assistant" };
        let content = |turn| format!("{id}.{turn} \u{4f60} ").repeat(length);
        Dialogue {
            texts: (0..turns).map(|t| (role(t).to_owned(), content(t))).collect(),
            preferred: id.is_multiple_of(2).then(|| format!("Rather {id}.")),
            embedding: (0..70).map(|d| (id as f32 + d as f32) / 8.0).collect(),
            id,
        }
    }

    fn messages(&self) -> Vec<Message<'_>> {
        self.texts.iter().map(|(role, content)| Message { role, content }).collect()
    }

    fn sample<'a>(&'a self, messages: &'a [Message<'a>]) -> Sample<'a> {
        Sample {
            id: self.id,
            arrival: self.id + 100,
            scores: Scores {
                entropy: self.id as f32,
                domain_score: 0.25,
                domain: Domain(3),
                dissimilarity: 0.5,
                tokens: 77,
            },
            flags: Flags::ANNOTATED.with(Flags::SKIPPED),
            asked_at: 9,
            lost_turns: 0,
            messages: Messages::Given(messages),
            preferred: self.preferred.as_deref(),
            embedding: Embedding::Floats(&self.embedding),
        }
    }

    fn put<F: NorFlash>(
        &self,
        samples: &mut Samples<F, Vec<BinInfo>>,
        bin: usize,
    ) -> Result<Put, Error<F::Error>> {
        samples.put(bin, &self.sample(&self.messages()))
    }

    /// Whether `found` is this dialogue, whole.
    fn is(&self, found: &Sample<'_>) -> bool {
        let messages = self.messages();
        let ours = self.sample(&messages);
        found.messages.iter().eq(messages.iter().copied())
            && (found.id, found.arrival, found.scores) == (ours.id, ours.arrival, ours.scores)
            && (found.flags, found.asked_at, found.lost_turns) == (ours.flags, 9, 0)
            && found.preferred == ours.preferred
            && found.embedding.iter().eq(self.embedding.iter().copied())
    }
}

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
    assert!(put.lost_turns > 0 && put.bytes <= RECORD_BYTES, "{put:?}");
    // One message more would not have fitted.
    let (_, lost) = &dialogue.texts[put.lost_turns - 1];
    assert!(put.bytes + lost.len() > RECORD_BYTES - 32);
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
    for length in RECORD_BYTES - 200..RECORD_BYTES {
        let content = "y".repeat(length);
        let messages = [Message { role: "user", content: &content }];
        let sample = Sample { messages: Messages::Given(&messages), ..Sample::default() };
        match samples.put(0, &sample) {
            Ok(put) => {
                assert!(put.bytes <= RECORD_BYTES);
                longest = longest.max(put.bytes);
                let found = samples.read(0, &mut scratch).unwrap();
                assert_eq!(found.messages.iter().next().unwrap().content.len(), length);
            }
            Err(Error::TooLong { needed, available }) => {
                assert!(needed > available && available == RECORD_BYTES);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(longest, RECORD_BYTES);
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

/// Flash behind a cache that writes headers at once and all else later: what a disk may do, and
/// what a buffer that wrote the header first would do.
struct HeaderFirst {
    ram: Ram,
    held: Vec<(u32, Vec<u8>)>,
}

impl HeaderFirst {
    fn flush(&mut self) -> Result<(), RamError> {
        for (offset, bytes) in core::mem::take(&mut self.held) {
            self.ram.write(offset, &bytes)?;
        }
        Ok(())
    }
}

impl ErrorType for HeaderFirst {
    type Error = RamError;
}

impl ReadNorFlash for HeaderFirst {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamError> {
        self.ram.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.ram.capacity()
    }
}

impl NorFlash for HeaderFirst {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), RamError> {
        self.flush()?;
        self.ram.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamError> {
        if (offset as usize - BLOCK).is_multiple_of(SLOT) {
            self.ram.write(offset, bytes)?;
            self.flush()
        } else {
            self.held.push((offset, bytes.to_vec()));
            Ok(())
        }
    }
}

/// Cuts the power at every byte that an operation on bin 0 writes, and at some that it erases;
/// counts the cuts and those after which bin 0 holds neither what it held nor what it should.
fn cut_everywhere(
    old: Option<&Dialogue>,
    new: Option<&Dialogue>,
    barrier: fn(&mut HeaderFirst) -> Result<(), RamError>,
) -> (u32, u32) {
    let other = Dialogue::new(50, 2, 1);
    let mut samples = open(ram(2, 1));
    other.put(&mut samples, 1).unwrap();
    if let Some(old) = old {
        old.put(&mut samples, 0).unwrap();
    }
    let image = samples.into_parts().0.into_bytes();
    let (mut cuts, mut bad, mut cut) = (0, 0, 0);
    loop {
        let flash = HeaderFirst { ram: Ram::new(image.clone()), held: Vec::new() };
        let mut samples =
            Samples::mount(flash, vec![BinInfo::FREE; 2]).unwrap().with_barrier(barrier);
        samples.flash().ram.set_power(Some(cut));
        let done = match new {
            Some(new) => new.put(&mut samples, 0).map(|_| ()),
            None => samples.remove(0),
        };
        let mut samples = open(Ram::new(samples.into_parts().0.ram.into_bytes()));
        let mut scratch = [0; RECORD_BYTES];
        assert!(other.is(&samples.read(1, &mut scratch).unwrap()), "bin 1 is never touched");
        let mut holds = |dialogue: Option<&Dialogue>| match dialogue {
            None => samples.info(0).is_none(),
            Some(dialogue) => samples.read(0, &mut scratch).is_ok_and(|found| dialogue.is(&found)),
        };
        let good = holds(new) || (done.is_err() && holds(old));
        // Whatever was left behind, the next put works.
        let next = Dialogue::new(60, 3, 2);
        next.put(&mut samples, 0).unwrap();
        assert!(next.is(&samples.read(0, &mut scratch).unwrap()));
        cuts += 1;
        bad += u32::from(!good);
        if done.is_ok() {
            return (cuts, bad);
        }
        // The first slot of bytes is erased and needs fewer cuts, and so do later ones.
        cut += if (SLOT - 1000..SLOT + 4000).contains(&cut) { 1 } else { 997 };
    }
}

#[test]
fn power_cut_keeps_the_old_or_the_new_sample() {
    let (old, new) = (Dialogue::new(1, 3, 4), Dialogue::new(2, 5, 5));
    for (old, new) in [(Some(&old), Some(&new)), (None, Some(&new)), (Some(&old), None)] {
        let (cuts, bad) = cut_everywhere(old, new, HeaderFirst::flush);
        assert!(cuts > 1000, "{cuts}");
        assert_eq!(bad, 0, "of {cuts}");
    }
}

#[test]
fn power_cuts_catch_a_header_that_is_written_before_its_payload() {
    let (old, new) = (Dialogue::new(1, 3, 4), Dialogue::new(2, 5, 5));
    let (cuts, bad) = cut_everywhere(Some(&old), Some(&new), |_| Ok(()));
    assert!(bad > 300, "{bad} of {cuts}");
}

#[test]
fn uniform_puts_wear_slots_evenly() {
    let mut samples = open(ram(6, 2));
    let mut erases = [0_u32; 8];
    for step in 0..400_usize {
        let bin = step * 5 % 6;
        Dialogue::new(1, 1, 1).put(&mut samples, bin).unwrap();
        erases[samples.index[bin].slot as usize] += 1;
    }
    let (least, most) = (erases.iter().min().unwrap(), erases.iter().max().unwrap());
    assert!(most - least <= 1, "{erases:?}");
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
fn damage_is_an_error_and_never_a_panic() {
    let mut samples = open(ram(2, 1));
    let dialogue = Dialogue::new(4, 6, 8);
    dialogue.put(&mut samples, 0).unwrap();
    let image = samples.into_parts().0.into_bytes();
    let mut scratch = [0; RECORD_BYTES];
    let (mut corrupt, mut empty) = (0, 0);
    for at in (0..SUPERBLOCK_BYTES).chain(BLOCK..BLOCK + 1200) {
        let mut image = image.clone();
        image[at] ^= 0x11;
        let mounted = Samples::mount(Ram::new(image), vec![BinInfo::FREE; 2]);
        if at < SUPERBLOCK_BYTES {
            assert_eq!(mounted.unwrap_err(), Error::Unformatted);
            continue;
        }
        match mounted.unwrap().read(0, &mut scratch) {
            Ok(found) => assert!(dialogue.is(&found)),
            Err(Error::Corrupt { bin: 0 }) => corrupt += 1,
            Err(Error::Empty { bin: 0 }) => empty += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(empty, HEADER_BYTES);
    assert!(corrupt > 500, "{corrupt}");
}

#[test]
fn headers_that_lie_under_a_right_crc_are_no_panic() {
    let mut samples = open(ram(2, 1));
    Dialogue::new(4, 6, 8).put(&mut samples, 0).unwrap();
    let image = samples.into_parts().0.into_bytes();
    let mut scratch = [0; RECORD_BYTES];
    for start in [0, BLOCK] {
        for at in 0..124 {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut image = image.clone();
                image[start + at] = value;
                let crc = crc::of(&image[start..start + 124]);
                image[start + 124..start + 128].copy_from_slice(&crc.to_le_bytes());
                let index = vec![BinInfo::FREE; 4];
                let Ok(mut samples) = Samples::mount(Ram::new(image), index) else { continue };
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

#[test]
fn flash_that_does_not_suit_is_refused() {
    let mut small = Ram::new(vec![0; flash_bytes(2, 0, BLOCK)]);
    assert!(matches!(format(&mut small, 2), Err(Error::Capacity { bins: 2, .. })));
    assert!(matches!(format(&mut small, 0), Err(Error::Capacity { bins: 0, .. })));
    assert!(matches!(format(&mut small, 70_000), Err(Error::Capacity { .. })));
    let mut coarse = RamFlash::<_, 64, 4, BLOCK>::new(vec![0; 1 << 20]);
    assert_eq!(format(&mut coarse, 2), Err(Error::Geometry));
    let unformatted = Ram::new(vec![0xFF; 1 << 20]);
    let mounted = Samples::mount(unformatted, vec![BinInfo::FREE; 4]);
    assert_eq!(mounted.unwrap_err(), Error::Unformatted);
    let mounted = Samples::mount(ram(3, 1), vec![BinInfo::FREE; 2]);
    assert_eq!(mounted.unwrap_err(), Error::Index { needed: 3, available: 2 });
    let other = RamFlash::<_, 1, 4, 16384>::new(ram(3, 4).into_bytes());
    let mounted = Samples::mount(other, vec![BinInfo::FREE; 3]);
    assert_eq!(mounted.unwrap_err(), Error::SlotBytes { found: 24576, expected: 32768 });
}

#[test]
fn other_units_of_flash_work_alike() {
    fn check<const READ: usize, const WRITE: usize, const ERASE: usize>() {
        let bytes = vec![0; flash_bytes(2, 1, ERASE)];
        let mut flash = RamFlash::<Vec<u8>, READ, WRITE, ERASE>::new(bytes);
        format(&mut flash, 2).unwrap();
        let mut samples = Samples::mount(flash, vec![BinInfo::FREE; 2]).unwrap();
        let mut scratch = [0; RECORD_BYTES];
        for id in 0..5 {
            let dialogue = Dialogue::new(id, 3, 20);
            dialogue.put(&mut samples, id as usize % 2).unwrap();
            let found = samples.read(id as usize % 2, &mut scratch).unwrap();
            assert!(dialogue.is(&found));
        }
    }
    check::<1, 1, 128>();
    check::<4, 8, 2048>();
    check::<32, 128, 131_072>();
    check::<16, 32, 262_144>();
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

/// The image that is kept in hexadecimal at `path`: rows of an address and 32 bytes, what is erased left
/// out.
fn golden(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let length = lines.next().and_then(|line| line.strip_prefix("length ")?.parse().ok());
    let mut image = vec![0xFF; length.unwrap()];
    for line in lines.filter(|line| !line.is_empty()) {
        let (address, row) = line.split_once(' ').unwrap();
        let address = usize::from_str_radix(address, 16).unwrap();
        for (i, two) in row.as_bytes().chunks(2).enumerate() {
            let digits = core::str::from_utf8(two).unwrap();
            image[address + i] = u8::from_str_radix(digits, 16).unwrap();
        }
    }
    image
}

#[test]
fn an_image_that_version_1_wrote_opens() {
    let image = golden(include_str!("../../../tests/golden/samples/v1.hex"));
    let mut samples = open(Ram::new(image));
    let mut record = vec![0; RECORD_BYTES];
    let used: Vec<usize> = samples.entries().map(|(bin, _)| bin).collect();
    assert_eq!(used, [0, 1, 3], "the dialogue in bin 2 was removed");
    for (bin, arrival, flags, preferred, turns, times) in [
        (0, 6, Flags::ANNOTATED.with(Flags::UNANSWERED), Some("\u{65e9}\u{5b89}"), 5, 1),
        (1, 4, Flags::ANNOTATED, Some("Rather mint, s'il vous plaît."), 4, 2),
        (3, 5, Flags::SKIPPED, None, 2, 12),
    ] {
        let sample = samples.read(bin, &mut record).unwrap();
        assert_eq!((sample.arrival, sample.flags, sample.preferred), (arrival, flags, preferred));
        let said = |turn| format!("dialogue {arrival}, turn {turn}: thé ou café? \u{4f60}; ");
        let contents: Vec<&str> = sample.messages.iter().map(|message| message.content).collect();
        assert_eq!(contents, (0..turns).map(|turn| said(turn).repeat(times)).collect::<Vec<_>>());
    }
}
