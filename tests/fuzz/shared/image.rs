//! Any image under a buffer: none makes it panic, and mounting one writes nothing.
//!
//! ```text
//! input   geometry | base | what is mended afterwards | patches
//! base    erased; a plain or sealed buffer that was cut in the middle; one of version 1
//! patch   place, slot | offset | length, whether it is added | bytes
//! then    mounted plain, sealed, blind and as version 1; all bins are read, checked, put, removed,
//!         sealed anew.  What is acknowledged is there, also after the next mount
//! ```

use core::cell::RefCell;
use std::collections::HashMap;

use homespun_runtime::flash::faulty::{Fault, FaultyFlash};
use homespun_runtime::samples::{
    self, BinInfo, Error, RECORD_BYTES, Samples, crc, flash_bytes, v1,
};

use super::Bytes;
use super::dialogue::Dialogue;
use super::keys::{key, seal};
use super::layout::{Places, geometry, with_crc};

const BINS: usize = 3;
const SPARE: usize = 2;

/// What lies in a flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Base {
    Erased,
    Plain,
    Sealed,
    V1,
}

/// What an input did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Did {
    pub mounted: u64,
    pub read: u64,
    pub refused: u64,
}

/// Lays the image of `bytes` under a buffer and uses it.
///
/// # Errors
/// If mounting writes, or what was acknowledged is not there.
pub fn run(bytes: &[u8]) -> Result<Did, String> {
    let mut bytes = Bytes::new(bytes);
    geometry!(bytes.byte(), R, W, E => {
        let image = made::<R, W, E>(&mut bytes);
        Use::<R, W, E> { image: &image, did: Did::default() }.all()
    })
}

/// The image of `bytes` on flash of one geometry.
pub fn made<const R: usize, const W: usize, const E: usize>(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let base = [Base::Erased, Base::Plain, Base::Sealed, Base::V1][bytes.byte() % 4];
    let mend = bytes.byte();
    let mut image = of::<R, W, E>(base);
    let capacity = image.len();
    let places = match base {
        Base::V1 => Places::v1::<FaultyFlash<R, W, E>>(capacity),
        _ => Places::of::<FaultyFlash<R, W, E>>(capacity),
    };
    for _ in 0..32 {
        if bytes.is_empty() {
            break;
        }
        patch(&mut image, &places, bytes);
    }
    places.mend(&mut image, mend);
    image
}

fn patch(image: &mut [u8], places: &Places, bytes: &mut Bytes<'_>) {
    let (place, offset, how) = (bytes.byte(), bytes.byte(), bytes.byte());
    let start = places.start(place / 8);
    let from = match place % 8 {
        0 => offset % 128,
        1 => start + offset % 32,
        2 | 3 => start + places.header + offset % places.header_bytes,
        4 => start + places.payload + offset,
        5 => start + places.payload + offset * 8,
        6 => (offset | bytes.word() << 8) % image.len(),
        _ => {
            // One slot's bytes in another: two records of one generation.
            let (from, length) = (places.start(offset), places.slot.min(2048));
            if from + length <= image.len() && start + length <= image.len() {
                image.copy_within(from..from + length, start);
            }
            return;
        }
    };
    let patch = bytes.take(1 + how % 64);
    for (at, byte) in (from..).zip(patch) {
        let Some(there) = image.get_mut(at) else { return };
        *there = if how & 64 == 0 { *byte } else { there.wrapping_add(*byte) };
    }
}

/// Bases by kind and geometry.
type Made = HashMap<(Base, [usize; 3]), Vec<u8>>;

std::thread_local! {
    static MADE: RefCell<Made> = RefCell::default();
}

/// A base, made once.
fn of<const R: usize, const W: usize, const E: usize>(base: Base) -> Vec<u8> {
    MADE.with_borrow_mut(|made| {
        made.entry((base, [R, W, E])).or_insert_with(|| make::<R, W, E>(base)).clone()
    })
}

fn make<const R: usize, const W: usize, const E: usize>(base: Base) -> Vec<u8> {
    let mut flash = FaultyFlash::<R, W, E>::new(flash_bytes::<FaultyFlash<R, W, E>>(BINS, SPARE));
    match base {
        Base::Erased => {}
        Base::V1 => version_1::<E>(flash.bytes_mut()),
        Base::Plain | Base::Sealed => {
            let sealed = base == Base::Sealed;
            samples::format(&mut flash, BINS, sealed).expect("it is large enough");
            let index = vec![BinInfo::FREE; BINS + SPARE];
            let mut samples = mount::<R, W, E>(flash, sealed, index).expect("an empty buffer");
            for bin in 0..BINS {
                dialogue(bin).put(&mut samples, bin).expect("room");
            }
            // The first bin's old record is left: the power goes before it is erased.
            samples.flash().broken.extend(
                (0..64).map(|block| (block, homespun_runtime::flash::faulty::Broken::Erase)),
            );
            dialogue(5).put(&mut samples, 0).expect("room");
            flash = samples.into_parts().0;
        }
    }
    flash.bytes().to_vec()
}

fn dialogue(id: usize) -> Dialogue {
    Dialogue {
        id: id as u64,
        turns: 1 + id % 3,
        words: 3,
        components: 9,
        answered: id.is_multiple_of(2),
    }
}

fn mount<const R: usize, const W: usize, const E: usize>(
    flash: FaultyFlash<R, W, E>,
    sealed: bool,
    index: Vec<BinInfo>,
) -> Result<Samples<FaultyFlash<R, W, E>, Vec<BinInfo>>, Error<Fault>> {
    if sealed {
        Samples::mount_sealed(flash, index, seal(1, None))
    } else {
        Samples::mount(flash, index)
    }
}

/// Three records of version 1.
fn version_1<const E: usize>(image: &mut [u8]) {
    let slot = RECORD_BYTES.next_multiple_of(E);
    let fields = |image: &mut [u8], from: usize, fields: &[(usize, &[u8])]| {
        image[from..from + 128].fill(0);
        for (at, bytes) in fields {
            image[from + at..][..bytes.len()].copy_from_slice(bytes);
        }
        with_crc(image, from, 128);
    };
    let slot_bytes = (slot as u32).to_le_bytes();
    fields(image, 0, &[(0, b"HOMESPUN"), (8, &[1]), (10, &[3]), (12, &slot_bytes)]);
    for bin in 0..3_u8 {
        let start = E + usize::from(bin) * slot;
        // A preferred reply, one message of the user.
        let text = b"\x01\x03yes\x01\x04user\x05hello";
        let embedding = [0, 60, 0, 64];
        image[start + 128..][..text.len()].copy_from_slice(text);
        image[start + 160..][..4].copy_from_slice(&embedding);
        let (of_text, of_embedding) = (crc::of(text), crc::of(&embedding));
        fields(
            image,
            start,
            &[
                (0, b"HSMP"),
                (4, &[1]),
                (6, &[bin]),
                (8, &[bin + 1]),
                (60, &[text.len() as u8]),
                (64, &of_text.to_le_bytes()),
                (68, &[2]),
                (72, &of_embedding.to_le_bytes()),
            ],
        );
    }
}

struct Use<'i, const R: usize, const W: usize, const E: usize> {
    image: &'i [u8],
    did: Did,
}

type Buffer<const R: usize, const W: usize, const E: usize> =
    Samples<FaultyFlash<R, W, E>, Vec<BinInfo>>;

impl<const R: usize, const W: usize, const E: usize> Use<'_, R, W, E> {
    fn flash(&self) -> FaultyFlash<R, W, E> {
        let mut flash = FaultyFlash::new(self.image.len());
        flash.bytes_mut().copy_from_slice(self.image);
        flash
    }

    fn all(mut self) -> Result<Did, String> {
        let index = || vec![BinInfo::FREE; BINS + SPARE];
        for sealed in [false, true] {
            if let Some(samples) = self.mounted(mount(self.flash(), sealed, index()))? {
                self.work(samples, sealed)?;
            }
        }
        if let Some(mut samples) = self.mounted(Samples::mount_blind(self.flash(), index()))? {
            self.look(&mut samples);
            let sealed = samples.is_sealed();
            let done = dialogue(7).put(&mut samples, 0);
            if sealed && !matches!(done, Err(Error::Sealed)) {
                return Err(format!("without a key: {done:?}"));
            }
        }
        let short: Result<Buffer<R, W, E>, _> = Samples::mount_blind(self.flash(), Vec::new());
        if short.is_ok() {
            return Err("no index is long enough".into());
        }
        self.version_1()
    }

    /// A buffer that was mounted, if mounting wrote nothing.
    fn mounted(
        &mut self,
        mounted: Result<Buffer<R, W, E>, Error<Fault>>,
    ) -> Result<Option<Buffer<R, W, E>>, String> {
        let Ok(mut samples) = mounted else {
            self.did.refused += 1;
            return Ok(None);
        };
        self.did.mounted += 1;
        let untouched = samples.flash().steps == 0;
        if untouched { Ok(Some(samples)) } else { Err("mounting writes".into()) }
    }

    /// Reads all there is.
    fn look(&mut self, samples: &mut Buffer<R, W, E>) {
        let mut scratch = vec![0; RECORD_BYTES];
        for bin in 0..samples.bins().min(8) + 1 {
            let Some(info) = samples.info(bin) else { continue };
            let (header, _) = (*info.header(), info.entry());
            let _ = samples.verify(bin);
            let _ = samples.read(bin, &mut scratch[..header.payload_bytes() / 2]);
            if let Ok(found) = samples.read(bin, &mut scratch) {
                self.did.read += 1;
                let length: usize =
                    found.messages.iter().map(|m| m.role.len() + m.content.len()).sum();
                assert!(
                    length <= header.text_bytes as usize
                        && found.embedding.iter().count() <= RECORD_BYTES
                );
            }
            let mut out = vec![0.0; header.components as usize];
            let _ = samples.embedding(bin, &mut out);
            let _ = samples.embedding(bin, &mut out[..header.components as usize / 2]);
        }
        let _ = (samples.entries().count(), samples.damaged(), samples.wear());
    }

    /// Reads, puts, removes, and seals anew.
    fn work(&mut self, mut samples: Buffer<R, W, E>, sealed: bool) -> Result<(), String> {
        self.look(&mut samples);
        let mut scratch = vec![0; RECORD_BYTES];
        let bins = samples.bins();
        // What was there is put again as it was read.
        for bin in 0..bins {
            let mut copy = vec![0; RECORD_BYTES];
            if let Ok(found) = samples.read(bin, &mut copy) {
                let _ = samples.put(bin, &found);
            }
        }
        let (last, put) = (bins - 1, dialogue(7));
        let put_last = put.put(&mut samples, last).is_ok();
        let removed = bins > 1 && samples.remove(0).is_ok();
        // Where that fails, the buffer is on its way from one key to the other.
        let keys = match samples.rekey(key(2), &mut scratch) {
            Ok(_) => seal(2, None),
            Err(_) => seal(2, Some(1)),
        };
        let _ = samples.wipe();
        let check = |samples: &mut Buffer<R, W, E>, scratch: &mut [u8]| {
            let there = samples.read(last, scratch).is_ok_and(|found| put.is(&found));
            (there || !put_last) && (samples.info(0).is_none() || !removed)
        };
        if !check(&mut samples, &mut scratch) {
            return Err("what was acknowledged is not there".into());
        }
        let (flash, index) = samples.into_parts();
        let mounted = if sealed {
            Samples::mount_sealed(flash, index, keys)
        } else {
            Samples::mount(flash, index)
        };
        let again = |error| format!("mounting again: {error}");
        let mut samples: Buffer<R, W, E> = mounted.map_err(again)?;
        if !check(&mut samples, &mut scratch) {
            return Err("what was acknowledged is not there after the next mount".into());
        }
        Ok(())
    }

    fn version_1(mut self) -> Result<Did, String> {
        let mut flash = self.flash();
        let mut scratch = vec![0; RECORD_BYTES + 64];
        if let Ok(buffer) = v1::Buffer::mount(&mut flash) {
            self.did.mounted += 1;
            let used = buffer.used();
            for bin in used.into_iter().chain([buffer.bins()]) {
                let _ = buffer.read(&mut flash, bin, &mut scratch[..64]);
                if let Ok(found) = buffer.read(&mut flash, bin, &mut scratch) {
                    self.did.read += 1;
                    let _ = (found.messages.count(), found.embedding.iter().count());
                }
            }
        }
        if flash.steps == 0 { Ok(self.did) } else { Err("reading writes".into()) }
    }
}
