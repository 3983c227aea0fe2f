//! Encryption at rest: what a device keeps of its person is of no use without the key.
//!
//! ```text
//! cipher      XChaCha20-Poly1305 (RFC 8439 with the 24-byte nonce of draft-irtf-cfrg-xchacha)
//! nonce       24 random bytes for each sealing, kept beside what they sealed; never counted, as a
//!             cut or a restored image would then use one twice
//! associated  where the piece belongs and in which format, so that none is taken for another
//! key         32 bytes from outside: `ring` on a computer, the caller's own elsewhere
//! name        tag of the empty text under the zero nonce: tells keys apart, tells nothing of them
//! ```
//! It stands against a copied image and a removed card. It does not against who has the running
//! device, nor against a whole older image put back.

pub mod flow;
#[cfg(feature = "std")]
pub mod ring;
#[cfg(feature = "std")]
pub mod stream;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// Bytes of a tag, which a sealed piece is longer by.
pub const TAG_BYTES: usize = 16;
/// The most bytes of one piece: far below the cipher's 256 GiB.
pub const MOST_BYTES: usize = 1 << 30;

/// A key. It is wiped when it goes, and never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; KEY_BYTES]);

/// What a key is called in what it sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyName(pub [u8; 8]);

/// Fills bytes with random ones: of the system, or of a microcontroller's generator.
pub type Random = fn(&mut [u8]) -> Result<(), NoRandom>;

/// What seals all that a flash holds.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Seals what is written, and opens what it sealed.
    pub key: Key,
    /// Opens what it sealed before there was another key.
    pub previous: Option<Key>,
    /// Makes the nonces.
    pub random: Random,
}

impl Seal {
    /// The key of this name, if it is one of the two.
    pub fn named(&self, name: KeyName) -> Option<&Key> {
        let keys = [Some(&self.key), self.previous.as_ref()];
        keys.into_iter().flatten().find(|key| key.name() == name)
    }
}

/// There are no random bytes to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandom;

/// The system's random bytes.
///
/// # Errors
/// If it has none.
#[cfg(feature = "std")]
pub fn system_random(bytes: &mut [u8]) -> Result<(), NoRandom> {
    getrandom::fill(bytes).map_err(|_| NoRandom)
}

/// Sealed bytes that do not open: another key, another place, or not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unopened;

impl Key {
    /// The key of these bytes, which are to be random.
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be kept where only its person comes.
    pub const fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// What it is called.
    pub fn name(&self) -> KeyName {
        let tag = self.seal(&[0; NONCE_BYTES], &[b"homespun key"], &mut []);
        let mut name = [0; 8];
        name.copy_from_slice(&tag[..8]);
        KeyName(name)
    }

    /// Encrypts `piece` in place and gives its tag. `nonce` is random and for this one piece;
    /// `place`, put together, at most [`PLACE_BYTES`].
    ///
    /// # Panics
    /// If the piece is longer than [`MOST_BYTES`] or the place too long.
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        place: &[&[u8]],
        piece: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        assert!(piece.len() <= MOST_BYTES, "a piece is at most {MOST_BYTES} bytes");
        let (place, length) = joined(place);
        let sealed = self.cipher().encrypt_inout_detached(
            &XNonce::from(*nonce),
            &place[..length],
            piece.into(),
        );
        // The cipher refuses by length alone, and the length was asked for above.
        sealed.map_or([0; TAG_BYTES], Into::into)
    }

    /// Decrypts `piece` in place.
    ///
    /// # Errors
    /// If it was not sealed with this key, nonce and place, or is not what was sealed; `piece` then
    /// holds nothing of use.
    ///
    /// # Panics
    /// If the place is too long.
    pub fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        place: &[&[u8]],
        piece: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Unopened> {
        let (place, length) = joined(place);
        self.cipher()
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                &place[..length],
                piece.into(),
                &Tag::from(*tag),
            )
            .map_err(|_| Unopened)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Key({})", self.name())
    }
}

impl KeyName {
    /// The name that is written as 16 hexadecimal digits; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut name = [0; 8];
        if text.len() != 16 || !text.is_ascii() {
            return None;
        }
        for (byte, at) in name.iter_mut().zip((0..16).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self(name))
    }
}

impl core::fmt::Display for KeyName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl core::fmt::Display for Unopened {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("it does not open with this key: another key sealed it, or it is damaged")
    }
}

impl core::error::Error for Unopened {}

impl core::fmt::Display for NoRandom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("there are no random bytes to be had")
    }
}

impl core::error::Error for NoRandom {}

/// The most bytes that say where a piece belongs.
pub const PLACE_BYTES: usize = 192;

/// The parts one after another, each behind its length, so that no two places are the same bytes.
fn joined(parts: &[&[u8]]) -> ([u8; PLACE_BYTES], usize) {
    let mut place = [0; PLACE_BYTES];
    let mut at = 0;
    for part in parts {
        assert!(part.len() < 256 && at + 1 + part.len() <= PLACE_BYTES, "a place is too long");
        place[at] = part.len() as u8;
        place[at + 1..][..part.len()].copy_from_slice(part);
        at += 1 + part.len();
    }
    (place, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new([byte; KEY_BYTES])
    }

    fn open(
        key: &Key,
        nonce: &[u8; NONCE_BYTES],
        place: &[&[u8]],
        piece: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<Vec<u8>, Unopened> {
        let mut piece = piece.to_vec();
        key.open(nonce, place, &mut piece, tag).map(|()| piece)
    }

    #[test]
    fn what_was_sealed_opens_with_the_same_key_nonce_and_place_alone() {
        let (nonce, place): (_, [&[u8]; 2]) = ([7; NONCE_BYTES], [b"record", b"3"]);
        let mut piece = *b"I would like mint tea";
        let tag = key(1).seal(&nonce, &place, &mut piece);
        assert!(!piece.windows(4).any(|four| four == b"mint"));
        let whole = open(&key(1), &nonce, &place, &piece, &tag);
        assert_eq!(whole.as_deref(), Ok(&b"I would like mint tea"[..]));
        assert_eq!(open(&key(2), &nonce, &place, &piece, &tag), Err(Unopened));
        assert_eq!(open(&key(1), &[8; NONCE_BYTES], &place, &piece, &tag), Err(Unopened));
        for other in [&[&b"record"[..], b"4"][..], &[b"record3"], &[b"recor", b"d3"]] {
            assert_eq!(open(&key(1), &nonce, other, &piece, &tag), Err(Unopened));
        }
        for bit in 0..8 * (piece.len() + tag.len()) {
            let (mut piece, mut tag) = (piece, tag);
            match bit / 8 {
                at if at < piece.len() => piece[at] ^= 1 << (bit % 8),
                at => tag[at - piece.len()] ^= 1 << (bit % 8),
            }
            assert_eq!(open(&key(1), &nonce, &place, &piece, &tag), Err(Unopened), "bit {bit}");
        }
    }

    #[test]
    fn the_cipher_is_the_one_that_others_have() {
        // The example of draft-irtf-cfrg-xchacha-03, A.3.1; its associated data as it is.
        let bytes = |from: u8| core::array::from_fn(|i| from + i as u8);
        let cipher = Key::new(bytes(0x80)).cipher();
        let mut nonce = [0; NONCE_BYTES];
        nonce.iter_mut().zip(0x40..).for_each(|(byte, value)| *byte = value);
        let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let mut text = *b"Ladies and Gentlemen of the class of '99: If I could offer you only one \
                          tip for the future, sunscreen would be it.";
        let tag = cipher.encrypt_inout_detached(&XNonce::from(nonce), &aad, (&mut text[..]).into());
        let tag: [u8; TAG_BYTES] = tag.unwrap().into();
        assert_eq!(text[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        assert_eq!(tag[..8], [0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79]);
    }

    #[test]
    fn a_key_has_a_name_and_is_not_printed() {
        assert_eq!(key(3).name(), key(3).name());
        assert_ne!(key(3).name(), key(4).name());
        let printed = format!("{:?}", key(3));
        assert_eq!(printed, format!("Key({})", key(3).name()));
        assert!(!printed.contains("0303"));
        assert_eq!(KeyName::parse(&key(3).name().to_string()), Some(key(3).name()));
        assert_eq!(KeyName::parse("").or(KeyName::parse("0123456789abcdeg")), None);
    }
}
