//! The record header: it is written after what it vouches for, and makes a slot its bin's.
//!
//! ```text
//!   0  4  "HSMR"                            details, sealed where records are
//!   4  2  version                           120  8  arrival
//!   6  2  bin                               128  8  id
//!   8  8  generation                        136  8  asked at
//!  16  4  erases of the slot                144  4  entropy
//!  20  2  1 sealed, 2 tombstone             148  4  domain score
//!  22  2  zero                              152  4  dissimilarity
//!  24  4  bytes of text                     156  4  tokens
//!  28  4  CRC of the text as it lies there  160  2  domain, 0xFFFF general
//!  32  4  components of the embedding       162  2  flags
//!  36  4  CRC of the embedding likewise     164  4  lost turns
//!  40  8  name of the key                   168  4  how often it was moved
//!  48 24  nonce                             188  4  CRC of 0..188, zero before
//!  72 48  tags of details, text, embedding
//! ```
//! Of two records of a bin the one with the higher generation counts; of two copies of one record the
//! one that was moved more often: the other may be half erased.
//! Sealed parts: XChaCha20-Poly1305 under the record's nonce with its last byte changed by the part's
//! number; associated are magic, version, bin, generation and kind.

use homespun_core::select::{Domain, Scores};

use super::layout::{
    Flags, LAST_GENERATION, PAYLOAD_BYTES, VERSION, array_at, f32_at, has_crc, u16_at, u32_at,
    u64_at, with_crc,
};
use super::record::Sample;
use crate::seal::flow::Flow;
use crate::seal::{Key, KeyName, NONCE_BYTES, TAG_BYTES, Unopened};

/// Bytes of a record header.
pub const HEADER_BYTES: usize = 192;
/// The key's name where records are plain.
pub const NO_KEY: KeyName = KeyName([0; 8]);
const MAGIC: &[u8; 4] = b"HSMR";
const SEALED: u16 = 1;
const TOMBSTONE: u16 = 2;
const PLACE: usize = 18;
const MOVES: usize = 168;
const DETAILS: core::ops::Range<usize> = 120..168;

/// What is sealed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Details = 0,
    Text = 1,
    Embedding = 2,
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
    /// What the key is called that sealed it; zero where it is plain.
    pub key: KeyName,
    pub(super) tombstone: bool,
    /// How often it was copied from slot to slot.
    pub(super) moves: u32,
}

impl Header {
    pub(super) const NONE: Header = Header {
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
        key: NO_KEY,
        tombstone: false,
        moves: 0,
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
            flags: sample.flags,
            lost_turns: sample.lost_turns,
            ..Header::NONE
        }
    }

    pub(super) fn tombstone(bin: u16, generation: u64) -> Header {
        Header { bin, generation, tombstone: true, ..Header::NONE }
    }

    /// Whether the bin was emptied.
    pub fn is_tombstone(&self) -> bool {
        self.tombstone
    }

    /// Bytes of text and embedding.
    pub fn payload_bytes(&self) -> usize {
        self.text_bytes as usize + 2 * self.components as usize
    }

    /// What is associated with each sealed part: magic, version, bin, generation and kind.
    pub(super) fn place(&self, sealed: bool) -> [u8; PLACE] {
        let mut place = [0; PLACE];
        place[..4].copy_from_slice(MAGIC);
        place[4..6].copy_from_slice(&VERSION.to_le_bytes());
        place[6..8].copy_from_slice(&self.bin.to_le_bytes());
        place[8..16].copy_from_slice(&self.generation.to_le_bytes());
        let kind = (SEALED * u16::from(sealed)) | (TOMBSTONE * u16::from(self.tombstone));
        place[16..].copy_from_slice(&kind.to_le_bytes());
        place
    }

    /// The whole header, for a slot that was erased so often.
    pub(super) fn bytes(&self, erases: u32, seal: Option<&Sealing>) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let place = self.place(seal.is_some());
        bytes[..16].copy_from_slice(&place[..16]);
        bytes[16..20].copy_from_slice(&erases.to_le_bytes());
        bytes[20..22].copy_from_slice(&place[16..]);
        bytes[24..28].copy_from_slice(&self.text_bytes.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.text_crc.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.components.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.embedding_crc.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.key.0);
        let details = &mut bytes[DETAILS];
        details[..8].copy_from_slice(&self.arrival.to_le_bytes());
        details[8..16].copy_from_slice(&self.id.to_le_bytes());
        details[16..24].copy_from_slice(&self.asked_at.to_le_bytes());
        details[24..28].copy_from_slice(&self.scores.entropy.to_le_bytes());
        details[28..32].copy_from_slice(&self.scores.domain_score.to_le_bytes());
        details[32..36].copy_from_slice(&self.scores.dissimilarity.to_le_bytes());
        details[36..40].copy_from_slice(&self.scores.tokens.to_le_bytes());
        details[40..42].copy_from_slice(&self.scores.domain.0.to_le_bytes());
        details[42..44].copy_from_slice(&self.flags.0.to_le_bytes());
        details[44..48].copy_from_slice(&self.lost_turns.to_le_bytes());
        if let Some(seal) = seal {
            bytes[48..72].copy_from_slice(&seal.nonce);
            bytes[88..104].copy_from_slice(&seal.text_tag);
            bytes[104..120].copy_from_slice(&seal.embedding_tag);
            let mut flow = Sealed::new(place, seal.nonce).flow(&seal.key, Part::Details);
            flow.seal(&mut bytes[DETAILS]);
            bytes[72..88].copy_from_slice(&flow.tag());
        }
        with_crc(bytes)
    }

    /// What is open of the header in `bytes`; `None` if they hold no valid one.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES], checked: bool) -> Option<Header> {
        let header = Header {
            bin: u16_at(bytes, 6),
            generation: u64_at(bytes, 8),
            text_bytes: u32_at(bytes, 24),
            text_crc: u32_at(bytes, 28),
            components: u32_at(bytes, 32),
            embedding_crc: u32_at(bytes, 36),
            key: KeyName(array_at(bytes, 40)),
            tombstone: u16_at(bytes, 20) & TOMBSTONE != 0,
            moves: u32_at(bytes, MOVES),
            ..Header::NONE
        };
        let fits = |n: u32| n as usize <= PAYLOAD_BYTES;
        let valid = bytes.starts_with(MAGIC)
            && u16_at(bytes, 4) == VERSION
            && (!checked || has_crc(bytes))
            && (1..LAST_GENERATION).contains(&header.generation)
            && fits(header.text_bytes)
            && fits(header.components)
            && header.payload_bytes() <= PAYLOAD_BYTES
            && (header.key != NO_KEY) == (u16_at(bytes, 20) & SEALED != 0);
        valid.then_some(header)
    }

    /// Fills in the details from `bytes`, opened with `key` if they are sealed.
    pub(super) fn open(
        &mut self,
        bytes: &[u8; HEADER_BYTES],
        key: Option<&Key>,
    ) -> Result<(), Unopened> {
        let mut details: [u8; DETAILS.end - DETAILS.start] = array_at(bytes, DETAILS.start);
        if let Some(key) = key {
            let sealed = Sealed::of(bytes);
            let mut flow = sealed.flow(key, Part::Details);
            flow.open(&mut details);
            flow.verify(&sealed.tag(Part::Details))?;
        }
        self.arrival = u64_at(&details, 0);
        self.id = u64_at(&details, 8);
        self.asked_at = u64_at(&details, 16);
        self.scores = finite(Scores {
            entropy: f32_at(&details, 24),
            domain_score: f32_at(&details, 28),
            dissimilarity: f32_at(&details, 32),
            tokens: u32_at(&details, 36),
            domain: Domain(u16_at(&details, 40)),
        });
        self.flags = Flags(u16_at(&details, 42));
        self.lost_turns = u32_at(&details, 44);
        Ok(())
    }
}

/// The erases that a valid record header remembers of its slot.
pub(super) fn erases(bytes: &[u8; HEADER_BYTES]) -> u32 {
    u32_at(bytes, 16)
}

/// `bytes` of the same record in another slot, which was erased so often.
pub(super) fn moved(mut bytes: [u8; HEADER_BYTES], erases: u32) -> [u8; HEADER_BYTES] {
    bytes[16..20].copy_from_slice(&erases.to_le_bytes());
    let moves = u32_at(&bytes, MOVES).saturating_add(1);
    bytes[MOVES..MOVES + 4].copy_from_slice(&moves.to_le_bytes());
    with_crc(bytes)
}

/// What seals one record.
#[derive(Clone, Debug)]
pub(super) struct Sealing {
    pub key: Key,
    pub nonce: [u8; NONCE_BYTES],
    pub text_tag: [u8; TAG_BYTES],
    pub embedding_tag: [u8; TAG_BYTES],
}

/// What a sealed record is opened with, besides the key.
pub(super) struct Sealed {
    place: [u8; PLACE],
    nonce: [u8; NONCE_BYTES],
    tags: [[u8; TAG_BYTES]; 3],
}

impl Sealed {
    /// From a header's bytes.
    pub fn of(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut place = [0; PLACE];
        place[..16].copy_from_slice(&bytes[..16]);
        place[16..].copy_from_slice(&bytes[20..22]);
        let tags = core::array::from_fn(|i| array_at(bytes, 72 + TAG_BYTES * i));
        Sealed { tags, ..Sealed::new(place, array_at(bytes, 48)) }
    }

    /// Of a record that is being written.
    pub fn new(place: [u8; PLACE], nonce: [u8; NONCE_BYTES]) -> Self {
        Sealed { place, nonce, tags: [[0; TAG_BYTES]; 3] }
    }

    /// The cipher of one part.
    pub fn flow(&self, key: &Key, part: Part) -> Flow {
        let (nonce, place) = self.at(part);
        Flow::new(key, &nonce, &[&place])
    }

    /// The nonce and the place of one part.
    pub fn at(&self, part: Part) -> ([u8; NONCE_BYTES], [u8; PLACE + 1]) {
        let mut nonce = self.nonce;
        nonce[NONCE_BYTES - 1] ^= part as u8;
        let mut place = [part as u8; PLACE + 1];
        place[..PLACE].copy_from_slice(&self.place);
        (nonce, place)
    }

    /// The tag of one part.
    pub fn tag(&self, part: Part) -> [u8; TAG_BYTES] {
        self.tags[part as usize]
    }
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
