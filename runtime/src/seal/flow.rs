//! Sealing what comes in pieces: the same bytes and tag as [`Key::seal`] gives for the whole, without
//! memory for the whole.
//!
//! ```text
//! keystream   block 0: the key of the tag (32 bytes); block 1 on: added to the text
//! tag         Poly1305 of  place, padded to 16 | sealed text, padded to 16 | both lengths, u64 each
//! ```
//! That is XChaCha20-Poly1305 put together from its two parts; what opens a piece that lies in memory
//! is the cipher of the library, so each is tested by the other.

use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use zeroize::Zeroize;

use super::{Key, NONCE_BYTES, TAG_BYTES, Unopened, joined};

const BLOCK: usize = 16;

/// A text that is sealed, or opened, piece by piece.
pub struct Flow {
    cipher: XChaCha20,
    mac: Poly1305,
    /// Sealed bytes that fill no block yet.
    rest: [u8; BLOCK],
    filled: usize,
    place: u64,
    length: u64,
}

impl Flow {
    /// Begins a text: `nonce` is random and for this one text.
    ///
    /// # Panics
    /// If the place is longer than [`super::PLACE_BYTES`].
    pub fn new(key: &Key, nonce: &[u8; NONCE_BYTES], place: &[&[u8]]) -> Self {
        let mut cipher = XChaCha20::new(key.bytes().into(), nonce.into());
        let mut tag_key = poly1305::Key::default();
        cipher.apply_keystream(&mut tag_key);
        let mut mac = Poly1305::new(&tag_key);
        tag_key.as_mut_slice().zeroize();
        cipher.seek(64_u64);
        let (place, length) = joined(place);
        mac.update_padded(&place[..length]);
        Flow { cipher, mac, rest: [0; BLOCK], filled: 0, place: length as u64, length: 0 }
    }

    /// Encrypts the next piece in place.
    pub fn seal(&mut self, piece: &mut [u8]) {
        self.cipher.apply_keystream(piece);
        self.check(piece);
    }

    /// Decrypts the next piece in place. Nothing of it is to be relied on before [`verify`](Self::verify).
    pub fn open(&mut self, piece: &mut [u8]) {
        self.check(piece);
        self.cipher.apply_keystream(piece);
    }

    /// Takes the next sealed piece in without opening it.
    pub fn check(&mut self, mut piece: &[u8]) {
        self.length += piece.len() as u64;
        if self.filled > 0 {
            let (now, later) = piece.split_at(piece.len().min(BLOCK - self.filled));
            self.rest[self.filled..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            piece = later;
            if self.filled == BLOCK {
                self.mac.update_padded(&self.rest);
                self.filled = 0;
            }
        }
        let (whole, rest) = piece.split_at(piece.len() - piece.len() % BLOCK);
        self.mac.update_padded(whole);
        if !rest.is_empty() {
            self.rest[..rest.len()].copy_from_slice(rest);
            self.filled = rest.len();
        }
    }

    /// The tag of all pieces.
    pub fn tag(self) -> [u8; TAG_BYTES] {
        self.finished().finalize().into()
    }

    /// Whether the pieces were sealed with this tag.
    ///
    /// # Errors
    /// If they were not, or not with this key, nonce and place.
    pub fn verify(self, tag: &[u8; TAG_BYTES]) -> Result<(), Unopened> {
        self.finished().verify(tag.into()).map_err(|_| Unopened)
    }

    fn finished(mut self) -> Poly1305 {
        self.mac.update_padded(&self.rest[..self.filled]);
        let mut lengths = [0; BLOCK];
        lengths[..8].copy_from_slice(&self.place.to_le_bytes());
        lengths[8..].copy_from_slice(&self.length.to_le_bytes());
        self.mac.update_padded(&lengths);
        self.mac
    }
}

/// Decrypts in place a part, from byte `from` on, of a text whose tag was verified before.
pub fn open_at(key: &Key, nonce: &[u8; NONCE_BYTES], from: u64, piece: &mut [u8]) {
    let mut cipher = XChaCha20::new(key.bytes().into(), nonce.into());
    cipher.seek(64 + from);
    cipher.apply_keystream(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_bytes_and_the_tag_of_the_whole() {
        let (key, nonce): (_, [u8; NONCE_BYTES]) = (Key::new([9; 32]), [3; NONCE_BYTES]);
        let place: [&[u8]; 2] = [b"sample", &[1, 2, 3]];
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 128, 1000] {
            let text: Vec<u8> = (0..length).map(|i| (i * 31 % 256) as u8).collect();
            let mut whole = text.clone();
            let tag = key.seal(&nonce, &place, &mut whole);
            for step in [1, 7, 16, 50, 1000] {
                let mut pieces = text.clone();
                let mut flow = Flow::new(&key, &nonce, &place);
                pieces.chunks_mut(step).for_each(|piece| flow.seal(piece));
                assert_eq!((&pieces, flow.tag()), (&whole, tag), "{length} by {step}");
                let mut flow = Flow::new(&key, &nonce, &place);
                pieces.chunks_mut(step).for_each(|piece| flow.open(piece));
                assert_eq!(flow.verify(&tag), Ok(()));
                assert_eq!(pieces, text);
                let mut part = whole[length / 3..].to_vec();
                open_at(&key, &nonce, (length / 3) as u64, &mut part);
                assert_eq!(part, text[length / 3..]);
                let mut flow = Flow::new(&key, &nonce, &place);
                whole.chunks(step).for_each(|piece| flow.check(piece));
                let mut other = tag;
                other[length % TAG_BYTES] ^= 0x10;
                assert_eq!(flow.verify(&other), Err(Unopened));
            }
        }
    }
}
