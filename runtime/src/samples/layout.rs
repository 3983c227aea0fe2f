//! The bytes of the buffer: superblock, header, sizes. Little-endian throughout.
//!
//! ```text
//! superblock                              header
//!   0  8  "HOMESPUN"                        0  4  "HSMP"           56  2  domain, 0xFFFF general
//!   8  2  version                           4  2  version          58  2  flags
//!  10  2  bins                              6  2  bin              60  4  bytes of text
//!  12  4  bytes of a slot                   8  8  generation       64  4  CRC of the text
//!  16 108 zero                             16  8  arrival          68  4  components
//! 124  4  CRC of 0..124                    24  8  id               72  4  CRC of the embedding
//!                                          32  8  asked at         76  4  lost turns
//! text at 128, then 0xFF bytes up to      40  4  entropy          80 44  zero
//! a multiple of 32, then the embedding     44  4  domain score    124  4  CRC of 0..124
//!                                          48  4  dissimilarity
//!                                          52  4  tokens
//! ```

use embedded_storage::nor_flash::NorFlash;
use homespun_core::select::{Domain, Entry, Scores};

use super::record::Sample;
use super::{Error, crc};

/// The most bytes of a record, header, text and embedding: a bin of the paper, 22 KiB.
pub const RECORD_BYTES: usize = 22 * 1024;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 128;
/// Bytes of the superblock.
pub const SUPERBLOCK_BYTES: usize = 128;
/// The most bins that a header can name.
pub const MOST_BINS: usize = u16::MAX as usize;
/// A slot's number that none has.
pub const NO_SLOT: u32 = u32::MAX;
/// Generations stay below.
pub const LAST_GENERATION: u64 = 1 << 63;

const VERSION: u16 = 1;
const SUPERBLOCK_MAGIC: &[u8; 8] = b"HOMESPUN";
const HEADER_MAGIC: &[u8; 4] = b"HSMP";
/// Text is padded to this, and so is every read.
const PAD: usize = 32;

/// Bytes of a slot in flash whose erase blocks have `erase` bytes.
pub const fn slot_bytes(erase: usize) -> usize {
    RECORD_BYTES.div_ceil(erase) * erase
}

/// Bytes of flash for `bins` bins and `spare` more slots, of which there must be one.
pub const fn flash_bytes(bins: usize, spare: usize, erase: usize) -> usize {
    erase + (bins + spare) * slot_bytes(erase)
}

/// `bytes` and what pads them.
pub const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(PAD)
}

/// Whether the flash's units suit the layout.
pub fn check<F: NorFlash>() -> Result<(), Error<F::Error>> {
    let suits = F::READ_SIZE > 0
        && PAD.is_multiple_of(F::READ_SIZE)
        && F::WRITE_SIZE > 0
        && HEADER_BYTES.is_multiple_of(F::WRITE_SIZE)
        && F::ERASE_SIZE >= SUPERBLOCK_BYTES
        && F::ERASE_SIZE.is_multiple_of(HEADER_BYTES);
    if suits { Ok(()) } else { Err(Error::Geometry) }
}

/// What a person did with a dialogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Nothing yet.
    pub const NONE: Flags = Flags(0);
    /// The person said what the reply should be, or that it is right: a target of training.
    pub const ANNOTATED: Flags = Flags(1);
    /// The person was asked and put it off.
    pub const SKIPPED: Flags = Flags(2);
    /// The person was asked and has not answered.
    pub const UNANSWERED: Flags = Flags(4);
    /// The person said what would have been better than the reply.
    pub const CORRECTED: Flags = Flags(8);
    /// The bin was emptied.
    pub(super) const TOMBSTONE: Flags = Flags(0x8000);

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These but not `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What the index holds of a bin: where its record is, and its header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinInfo {
    pub(super) slot: u32,
    pub(super) header: Header,
}

impl BinInfo {
    /// A free bin, to fill an index with.
    pub const FREE: BinInfo = BinInfo { slot: NO_SLOT, header: Header::NONE };

    /// Whether there is a dialogue in the bin.
    pub fn is_used(&self) -> bool {
        self.slot != NO_SLOT && !self.header.flags.contains(Flags::TOMBSTONE)
    }

    /// What selection sees of it.
    pub fn entry(&self) -> Entry {
        let Header { scores, arrival, flags, .. } = self.header;
        let asked = flags.contains(Flags::ANNOTATED) || flags.contains(Flags::SKIPPED);
        let corrected = flags.contains(Flags::CORRECTED);
        Entry { scores, arrival, asked, corrected }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }
}

impl Default for BinInfo {
    fn default() -> Self {
        BinInfo::FREE
    }
}

/// What lies before a record and vouches for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// The bin it belongs to.
    pub bin: u16,
    /// Counts the puts of the whole buffer.
    pub generation: u64,
    /// How many dialogues had arrived before.
    pub arrival: u64,
    /// The caller's name for the dialogue.
    pub id: u64,
    /// When the person was last asked, in the caller's clock; 0 for never.
    pub asked_at: u64,
    /// The scores at arrival.
    pub scores: Scores,
    /// What the person did.
    pub flags: Flags,
    /// Bytes of the text.
    pub text_bytes: u32,
    /// Their CRC.
    pub text_crc: u32,
    /// Components of the embedding, D.
    pub components: u32,
    /// The CRC of its bytes.
    pub embedding_crc: u32,
    /// Messages that had no room.
    pub lost_turns: u32,
}

impl Header {
    const NONE: Header = Header {
        bin: 0,
        generation: 0,
        arrival: 0,
        id: 0,
        asked_at: 0,
        scores: Scores {
            entropy: 0.0,
            domain_score: 0.0,
            domain: Domain::GENERAL,
            dissimilarity: 0.0,
            tokens: 0,
        },
        flags: Flags::NONE,
        text_bytes: 0,
        text_crc: 0,
        components: 0,
        embedding_crc: 0,
        lost_turns: 0,
    };

    /// Of `sample` before its record is written.
    pub(super) fn of(bin: u16, generation: u64, sample: &Sample<'_>) -> Header {
        Header {
            bin,
            generation,
            arrival: sample.arrival,
            id: sample.id,
            asked_at: sample.asked_at,
            scores: finite(sample.scores),
            flags: sample.flags.without(Flags::TOMBSTONE),
            ..Header::NONE
        }
    }

    pub(super) fn tombstone(bin: u16, generation: u64) -> Header {
        Header { bin, generation, flags: Flags::TOMBSTONE, ..Header::NONE }
    }

    /// Bytes of the record: header, padded text, embedding.
    pub fn record_bytes(&self) -> usize {
        HEADER_BYTES + padded(self.text_bytes as usize) + 2 * self.components as usize
    }

    pub(super) fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(HEADER_MAGIC);
        put(&VERSION.to_le_bytes());
        put(&self.bin.to_le_bytes());
        put(&self.generation.to_le_bytes());
        put(&self.arrival.to_le_bytes());
        put(&self.id.to_le_bytes());
        put(&self.asked_at.to_le_bytes());
        put(&self.scores.entropy.to_le_bytes());
        put(&self.scores.domain_score.to_le_bytes());
        put(&self.scores.dissimilarity.to_le_bytes());
        put(&self.scores.tokens.to_le_bytes());
        put(&self.scores.domain.0.to_le_bytes());
        put(&self.flags.0.to_le_bytes());
        put(&self.text_bytes.to_le_bytes());
        put(&self.text_crc.to_le_bytes());
        put(&self.components.to_le_bytes());
        put(&self.embedding_crc.to_le_bytes());
        put(&self.lost_turns.to_le_bytes());
        sealed(bytes)
    }

    /// The header in `bytes`; `None` if they hold no valid one.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let header = Header {
            bin: u16_at(bytes, 6),
            generation: u64_at(bytes, 8),
            arrival: u64_at(bytes, 16),
            id: u64_at(bytes, 24),
            asked_at: u64_at(bytes, 32),
            scores: finite(Scores {
                entropy: f32_at(bytes, 40),
                domain_score: f32_at(bytes, 44),
                dissimilarity: f32_at(bytes, 48),
                tokens: u32_at(bytes, 52),
                domain: Domain(u16_at(bytes, 56)),
            }),
            flags: Flags(u16_at(bytes, 58)),
            text_bytes: u32_at(bytes, 60),
            text_crc: u32_at(bytes, 64),
            components: u32_at(bytes, 68),
            embedding_crc: u32_at(bytes, 72),
            lost_turns: u32_at(bytes, 76),
        };
        let fits = |n: u32| n as usize <= RECORD_BYTES;
        let valid = bytes.starts_with(HEADER_MAGIC)
            && u16_at(bytes, 4) == VERSION
            && is_sealed(bytes)
            && (1..LAST_GENERATION).contains(&header.generation)
            && fits(header.text_bytes)
            && fits(header.components)
            && header.record_bytes() <= RECORD_BYTES;
        valid.then_some(header)
    }
}

/// The superblock of a buffer.
pub fn superblock(bins: u16, slot: usize) -> [u8; SUPERBLOCK_BYTES] {
    let mut bytes = [0; SUPERBLOCK_BYTES];
    bytes[..8].copy_from_slice(SUPERBLOCK_MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10..12].copy_from_slice(&bins.to_le_bytes());
    bytes[12..16].copy_from_slice(&(slot as u32).to_le_bytes());
    sealed(bytes)
}

/// The bins of the buffer whose superblock is `bytes`.
pub fn read_superblock<E>(bytes: &[u8; SUPERBLOCK_BYTES], slot: usize) -> Result<usize, Error<E>> {
    if !bytes.starts_with(SUPERBLOCK_MAGIC) || !is_sealed(bytes) {
        return Err(Error::Unformatted);
    }
    let (version, bins, found) = (u16_at(bytes, 8), u16_at(bytes, 10), u32_at(bytes, 12));
    if version != VERSION {
        return Err(Error::Version { found: version });
    }
    if found as usize != slot {
        return Err(Error::SlotBytes { found, expected: slot as u32 });
    }
    if bins == 0 { Err(Error::Unformatted) } else { Ok(usize::from(bins)) }
}

/// Puts the CRC at the end.
fn sealed(mut bytes: [u8; 128]) -> [u8; 128] {
    let crc = crc::of(&bytes[..124]);
    bytes[124..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn is_sealed(bytes: &[u8; 128]) -> bool {
    crc::of(&bytes[..124]) == u32_at(bytes, 124)
}

fn array_at<const N: usize>(bytes: &[u8; 128], at: usize) -> [u8; N] {
    core::array::from_fn(|i| bytes[at + i])
}

fn u16_at(bytes: &[u8; 128], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8; 128], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8; 128], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn f32_at(bytes: &[u8; 128], at: usize) -> f32 {
    f32::from_le_bytes(array_at(bytes, at))
}

/// Scores that are finite, whatever the caller or the bytes say.
fn finite(scores: Scores) -> Scores {
    let finite = |score: f32| if score.is_finite() { score } else { 0.0 };
    Scores {
        entropy: finite(scores.entropy),
        domain_score: finite(scores.domain_score),
        dissimilarity: finite(scores.dissimilarity),
        ..scores
    }
}
