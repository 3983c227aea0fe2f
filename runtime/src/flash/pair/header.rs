//! The header of a half: it is written after the content, and vouches for it. Little-endian.
//!
//! ```text
//!   0  4  "HSPR"                                 32  4  erases of the half
//!   4  2  version, 1                             36  4  zero
//!   6  2  1 where the content is sealed          40  8  name of the key, zero where plain
//!   8  8  generation, from 1                     48 24  nonce
//!  16  8  kind, the caller's                     72 16  tag
//!  24  4  bytes of content                       88  4  zero
//!  28  4  CRC of the content as it lies there    92  4  CRC of 0..92
//! ```
//! Sealed: XChaCha20-Poly1305 over the whole content; associated are bytes 0 to 23. So content opens in
//! either half, and under no other generation or kind.

use crate::samples::layout::{
    LAST_GENERATION, array_at, has_crc, u16_at, u32_at, u64_at, with_crc,
};
use crate::seal::flow::Flow;
use crate::seal::{Key, KeyName, NONCE_BYTES, TAG_BYTES};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 96;
/// The version that is written.
pub const VERSION: u16 = 1;
const MAGIC: &[u8; 4] = b"HSPR";
const PLACE: usize = 24;

/// What a half says of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Counts the writes of a pair, from 1.
    pub generation: u64,
    /// What the caller calls content of this kind; such as the start of a hash of the base model that
    /// an adapter belongs to.
    pub kind: [u8; 8],
    /// Bytes of content.
    pub length: u32,
    /// Their CRC as they lie in the flash.
    pub crc: u32,
    /// How often the half was erased; where a cut made it unknown, from the other half's.
    pub erases: u32,
    /// What the content was sealed with.
    pub(super) sealed: Option<Sealed>,
}

/// What content was sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub key: KeyName,
    pub nonce: [u8; NONCE_BYTES],
    pub tag: [u8; TAG_BYTES],
}

impl Header {
    /// Whether the content is sealed.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// What the key is called that sealed the content; `None` where it is plain.
    pub fn key(&self) -> Option<KeyName> {
        self.sealed.map(|sealed| sealed.key)
    }

    /// What is associated with sealed content.
    fn place(&self) -> [u8; PLACE] {
        let mut place = [0; PLACE];
        place[..4].copy_from_slice(MAGIC);
        place[4..6].copy_from_slice(&VERSION.to_le_bytes());
        place[6..8].copy_from_slice(&u16::from(self.is_sealed()).to_le_bytes());
        place[8..16].copy_from_slice(&self.generation.to_le_bytes());
        place[16..].copy_from_slice(&self.kind);
        place
    }

    /// What seals or opens the content.
    pub(super) fn flow(&self, key: &Key, sealed: &Sealed) -> Flow {
        Flow::new(key, &sealed.nonce, &[&self.place()])
    }

    pub(super) fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..PLACE].copy_from_slice(&self.place());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.crc.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.erases.to_le_bytes());
        if let Some(sealed) = &self.sealed {
            bytes[40..48].copy_from_slice(&sealed.key.0);
            bytes[48..72].copy_from_slice(&sealed.nonce);
            bytes[72..88].copy_from_slice(&sealed.tag);
        }
        with_crc(bytes)
    }

    /// The header in `bytes`; `None` if they hold no valid one.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let sealed = Sealed {
            key: KeyName(array_at(bytes, 40)),
            nonce: array_at(bytes, 48),
            tag: array_at(bytes, 72),
        };
        let header = Header {
            generation: u64_at(bytes, 8),
            kind: array_at(bytes, 16),
            length: u32_at(bytes, 24),
            crc: u32_at(bytes, 28),
            erases: u32_at(bytes, 32),
            sealed: (u16_at(bytes, 6) == 1).then_some(sealed),
        };
        let valid = bytes.starts_with(MAGIC)
            && u16_at(bytes, 4) == VERSION
            && u16_at(bytes, 6) <= 1
            && has_crc(bytes)
            && (1..LAST_GENERATION).contains(&header.generation);
        valid.then_some(header)
    }
}
