//! Reads the buffers of version 1, to be written anew as this version has them.
//!
//! ```text
//! superblock, 1 erase block               header, 128 bytes, at the start of a slot
//!   0  8  "HOMESPUN"                        0  4  "HSMP"           56  2  domain, 0xFFFF general
//!   8  2  version, 1                        4  2  version          58  2  flags, 0x8000 tombstone
//!  10  2  bins                              6  2  bin              60  4  bytes of text
//!  12  4  bytes of a slot                   8  8  generation       64  4  CRC of the text
//! 124  4  CRC of 0..124                    16  8  arrival          68  4  components
//!                                          24  8  id               72  4  CRC of the embedding
//! slots of whole erase blocks, at least    32  8  asked at         76  4  lost turns
//! 22 KiB; text at 128, then 0xFF up to a   40  4  entropy         124  4  CRC of 0..124
//! multiple of 32, then the embedding       44  4  domain score
//!                                          48  4  dissimilarity
//!                                          52  4  tokens
//! ```

use embedded_storage::nor_flash::NorFlash;
use homespun_core::select::{Domain, Scores};

use super::header::Header;
use super::layout::{Flags, RECORD_BYTES, f32_at, has_crc, u16_at, u32_at, u64_at};
use super::record::{self, Sample};
use super::{Error, crc};

const BLOCK: usize = 128;
const PAD: usize = 32;
const TOMBSTONE: u16 = 0x8000;

/// The bins of a buffer of version 1 and where their records are.
#[derive(Debug)]
pub struct Buffer {
    /// By bin: the start of its slot, and its header.
    held: Vec<Option<(u32, Header)>>,
}

impl Buffer {
    /// Reads the headers in `flash`.
    ///
    /// # Errors
    /// If it holds no buffer of version 1 with slots of this flash, or fails.
    pub fn mount<F: NorFlash>(flash: &mut F) -> Result<Self, Error<F::Error>> {
        if !PAD.is_multiple_of(F::READ_SIZE) || flash.capacity() < F::ERASE_SIZE.max(BLOCK) {
            return Err(Error::Geometry);
        }
        let mut bytes = [0; BLOCK];
        flash.read(0, &mut bytes).map_err(Error::Flash)?;
        if !bytes.starts_with(b"HOMESPUN") || !has_crc(&bytes) {
            return Err(Error::Unformatted);
        }
        let (version, bins, slot) = (u16_at(&bytes, 8), u16_at(&bytes, 10), u32_at(&bytes, 12));
        if version != 1 {
            return Err(Error::Version { found: version });
        }
        let expected = RECORD_BYTES.next_multiple_of(F::ERASE_SIZE) as u32;
        if slot != expected {
            let unit = F::READ_SIZE as u32;
            return Err(Error::SlotBytes { found: slot, expected, unit, expected_unit: unit });
        }
        let mut held: Vec<Option<(u32, Header)>> = vec![None; usize::from(bins)];
        let capacity = flash.capacity().min(u32::MAX as usize) as u32;
        let mut start = F::ERASE_SIZE as u32;
        while start + slot <= capacity {
            flash.read(start, &mut bytes).map_err(Error::Flash)?;
            if let Some(header) = header(&bytes)
                && let Some(held) = held.get_mut(usize::from(header.bin))
                && held.is_none_or(|(_, theirs)| theirs.generation < header.generation)
            {
                *held = Some((start, header));
            }
            start += slot;
        }
        Ok(Self { held })
    }

    /// How many bins there are.
    pub fn bins(&self) -> usize {
        self.held.len()
    }

    /// The bins in use, oldest put first.
    pub fn used(&self) -> Vec<usize> {
        let held = self.held.iter().enumerate().filter_map(|(bin, held)| Some((bin, (*held)?.1)));
        let mut used: Vec<_> = held.filter(|(_, header)| !header.tombstone).collect();
        used.sort_by_key(|(_, header)| header.generation);
        used.into_iter().map(|(bin, _)| bin).collect()
    }

    /// Reads the dialogue of `bin` into `scratch` of [`RECORD_BYTES`].
    ///
    /// # Errors
    /// If the bin is free, its record corrupt or the flash fails.
    pub fn read<'s, F: NorFlash>(
        &self,
        flash: &mut F,
        bin: usize,
        scratch: &'s mut [u8],
    ) -> Result<Sample<'s>, Error<F::Error>> {
        let held = self.held.get(bin).copied().flatten();
        let (start, header) =
            held.filter(|(_, header)| !header.tombstone).ok_or(Error::Empty { bin })?;
        let text = header.text_bytes as usize;
        let at = text.next_multiple_of(PAD);
        let length = at + 2 * header.components as usize;
        let (needed, available) = (length.next_multiple_of(PAD), scratch.len());
        let bytes = scratch.get_mut(..needed).ok_or(Error::Scratch { needed, available })?;
        flash.read(start + BLOCK as u32, bytes).map_err(Error::Flash)?;
        let (text, embedding) = (&bytes[..text], &bytes[at..length]);
        if (crc::of(text), crc::of(embedding)) != (header.text_crc, header.embedding_crc) {
            return Err(Error::Corrupt { bin });
        }
        record::decode(&header, text, embedding).ok_or(Error::Corrupt { bin })
    }
}

/// The header in `bytes`; `None` if they hold no valid one.
fn header(bytes: &[u8; BLOCK]) -> Option<Header> {
    let flags = u16_at(bytes, 58);
    let finite = |at| Some(f32_at(bytes, at)).filter(|score| score.is_finite()).unwrap_or(0.0);
    let header = Header {
        bin: u16_at(bytes, 6),
        generation: u64_at(bytes, 8),
        arrival: u64_at(bytes, 16),
        id: u64_at(bytes, 24),
        asked_at: u64_at(bytes, 32),
        scores: Scores {
            entropy: finite(40),
            domain_score: finite(44),
            dissimilarity: finite(48),
            tokens: u32_at(bytes, 52),
            domain: Domain(u16_at(bytes, 56)),
        },
        flags: Flags(flags & !TOMBSTONE),
        tombstone: flags & TOMBSTONE != 0,
        text_bytes: u32_at(bytes, 60),
        text_crc: u32_at(bytes, 64),
        components: u32_at(bytes, 68),
        embedding_crc: u32_at(bytes, 72),
        lost_turns: u32_at(bytes, 76),
        ..Header::NONE
    };
    let fits = |n: u32| n as usize <= RECORD_BYTES;
    let valid = bytes.starts_with(b"HSMP")
        && u16_at(bytes, 4) == 1
        && has_crc(bytes)
        && fits(header.text_bytes)
        && fits(header.components)
        && BLOCK
            + (header.text_bytes as usize).next_multiple_of(PAD)
            + 2 * header.components as usize
            <= RECORD_BYTES;
    valid.then_some(header)
}
