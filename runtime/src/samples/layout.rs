//! The bytes of the buffer: superblock, slot header, sizes. Little-endian throughout; each part begins
//! at a multiple of the flash's unit and is written once between two erases.
//!
//! ```text
//! superblock, 128 bytes                   slot header, 32 bytes
//!   0  8  "HOMESPUN"                        0  4  "HSLT"
//!   8  2  version, 2                        4  2  version
//!  10  2  bins                              6  2  bins
//!  12  4  bytes of a slot                   8  4  bytes of a slot
//!  16  4  bytes of a unit                  12  4  erases of this slot
//!  20  2  1 where records are sealed       16  2  1 where records are sealed
//!  22 102 zero                             18 10  zero
//! 124  4  CRC of 0..124                    28  4  CRC of 0..28
//!
//! slot   [ slot header ][ record header (see `header`) ][ text, embedding ][ 0xFF .. ]
//! ```
//! A superblock that is damaged is made out from the slot headers, which repeat it.

use embedded_storage::nor_flash::NorFlash;
use homespun_core::select::Entry;

use super::header::{HEADER_BYTES, Header};
use super::{Error, crc};
use crate::flash::io;

/// A bin of the paper, 22 KiB: the most bytes that a record takes, and what reading one needs.
pub const RECORD_BYTES: usize = 22 * 1024;
/// The most bytes of text and embedding.
pub const PAYLOAD_BYTES: usize = RECORD_BYTES - 128;
/// Bytes of a slot header.
pub const SLOT_HEADER_BYTES: usize = 32;
/// Bytes of the superblock.
pub const SUPERBLOCK_BYTES: usize = 128;
/// The most bins that a header can name.
pub const MOST_BINS: usize = u16::MAX as usize;
/// A slot's number that none has.
pub const NO_SLOT: u32 = u32::MAX;
/// Generations stay below.
pub const LAST_GENERATION: u64 = 1 << 63;

/// The version of everything that is written.
pub const VERSION: u16 = 2;
const SUPERBLOCK_MAGIC: &[u8; 8] = b"HOMESPUN";
const SLOT_MAGIC: &[u8; 4] = b"HSLT";

/// Where the record header lies in a slot.
pub const fn header_at<F: NorFlash>() -> usize {
    io::padded::<F>(SLOT_HEADER_BYTES)
}

/// Where the text lies in a slot.
pub const fn payload_at<F: NorFlash>() -> usize {
    header_at::<F>() + io::padded::<F>(HEADER_BYTES)
}

/// Bytes of a slot: whole erase blocks.
pub const fn slot_bytes<F: NorFlash>() -> usize {
    (payload_at::<F>() + io::padded::<F>(PAYLOAD_BYTES)).next_multiple_of(F::ERASE_SIZE)
}

/// Where the first slot begins: behind the superblock's own blocks.
pub const fn first_slot<F: NorFlash>() -> usize {
    io::padded::<F>(SUPERBLOCK_BYTES).next_multiple_of(F::ERASE_SIZE)
}

/// Bytes of flash for `bins` bins and `spare` more slots, of which there must be one.
pub const fn flash_bytes<F: NorFlash>(bins: usize, spare: usize) -> usize {
    let slots = bins.saturating_add(spare).saturating_mul(slot_bytes::<F>());
    first_slot::<F>().saturating_add(slots)
}

/// The slots that a flash of `capacity` bytes has room for: the entries that an index needs.
pub const fn slots<F: NorFlash>(capacity: usize) -> usize {
    let capacity = if capacity > u32::MAX as usize { u32::MAX as usize } else { capacity };
    capacity.saturating_sub(first_slot::<F>()) / slot_bytes::<F>()
}

/// What the index holds: entry `i` has where the record of bin `i` is and its header, and what is
/// known of slot `i`. There are more slots than bins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinInfo {
    /// Of the bin.
    pub(super) slot: u32,
    pub(super) header: Header,
    /// Of the slot: how often it was erased, and what can be done with it.
    pub(super) erases: u32,
    pub(super) state: SlotState,
}

/// What can be done with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    /// Erased, as its slot header says, with no record header in it.
    Ready,
    /// To be erased before it is written: torn, or of a record that is there no more.
    Used,
    /// A bin's.
    Held,
    /// A bin's that cannot be copied, so that it stays.
    Pinned,
    /// It could not be erased, written or read since the mount.
    Bad,
}

impl BinInfo {
    /// A free bin, to fill an index with.
    pub const FREE: BinInfo =
        BinInfo { slot: NO_SLOT, header: Header::NONE, erases: 0, state: SlotState::Used };

    /// Whether there is a dialogue in the bin.
    pub fn is_used(&self) -> bool {
        self.slot != NO_SLOT && !self.header.is_tombstone()
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

/// What a person did with a dialogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub(super) u16);

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

    /// As they are stored.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// As they were stored.
    pub const fn from_bits(bits: u16) -> Flags {
        Flags(bits)
    }

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

/// What a whole buffer has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Bins.
    pub bins: usize,
    /// Whether its records are sealed.
    pub sealed: bool,
}

impl Common {
    pub(super) fn superblock<F: NorFlash>(self) -> [u8; SUPERBLOCK_BYTES] {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        bytes[..8].copy_from_slice(SUPERBLOCK_MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(self.bins as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&(slot_bytes::<F>() as u32).to_le_bytes());
        bytes[16..20].copy_from_slice(&(io::unit::<F>() as u32).to_le_bytes());
        bytes[20..22].copy_from_slice(&u16::from(self.sealed).to_le_bytes());
        with_crc(bytes)
    }

    /// What the superblock `bytes` say; `None` if they are none.
    ///
    /// # Errors
    /// If it is one of another version or geometry.
    pub(super) fn of_superblock<F: NorFlash>(
        bytes: &[u8; SUPERBLOCK_BYTES],
    ) -> Result<Option<Common>, Error<F::Error>> {
        if !bytes.starts_with(SUPERBLOCK_MAGIC) || !has_crc(bytes) {
            return Ok(None);
        }
        let version = u16_at(bytes, 8);
        if version != VERSION {
            return Err(Error::Version { found: version });
        }
        let (found, unit) = (u32_at(bytes, 12), u32_at(bytes, 16));
        let (expected, expected_unit) = (slot_bytes::<F>() as u32, io::unit::<F>() as u32);
        if (found, unit) != (expected, expected_unit) {
            return Err(Error::SlotBytes { found, expected, unit, expected_unit });
        }
        let bins = usize::from(u16_at(bytes, 10));
        Ok(Some(Common { bins, sealed: u16_at(bytes, 20) & 1 == 1 }).filter(|_| bins > 0))
    }

    pub(super) fn slot_header<F: NorFlash>(self, erases: u32) -> [u8; SLOT_HEADER_BYTES] {
        let mut bytes = [0; SLOT_HEADER_BYTES];
        bytes[..4].copy_from_slice(SLOT_MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&(self.bins as u16).to_le_bytes());
        bytes[8..12].copy_from_slice(&(slot_bytes::<F>() as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&erases.to_le_bytes());
        bytes[16..18].copy_from_slice(&u16::from(self.sealed).to_le_bytes());
        with_crc(bytes)
    }

    /// What the slot header `bytes` say, and the slot's erases; `None` if they are none.
    pub(super) fn of_slot<F: NorFlash>(bytes: &[u8; SLOT_HEADER_BYTES]) -> Option<(Common, u32)> {
        let is_one = bytes.starts_with(SLOT_MAGIC)
            && u16_at(bytes, 4) == VERSION
            && u32_at(bytes, 8) as usize == slot_bytes::<F>()
            && u16_at(bytes, 6) > 0
            && has_crc(bytes);
        let bins = usize::from(u16_at(bytes, 6));
        let common = Common { bins, sealed: u16_at(bytes, 16) & 1 == 1 };
        is_one.then_some((common, u32_at(bytes, 12)))
    }
}

/// Puts the CRC at the end.
pub(crate) fn with_crc<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    let crc = crc::of(&bytes[..N - 4]);
    bytes[N - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(crate) fn has_crc<const N: usize>(bytes: &[u8; N]) -> bool {
    crc::of(&bytes[..N - 4]) == u32_at(bytes, N - 4)
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    core::array::from_fn(|i| bytes[at + i])
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub(super) fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_le_bytes(array_at(bytes, at))
}
