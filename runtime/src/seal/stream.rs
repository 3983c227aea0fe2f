//! Sealed files: written and read a piece at a time, in order (the STREAM construction of Hoang,
//! Reyhanitabar, Rogaway and Vizár 2015, with a 32-bit counter).
//!
//! ```text
//!  0  8  "HSSEALED"         header; associated with every piece, together with the file's name
//!  8  2  version              in the state directory, so that no file is taken for another
//! 10  8  name of the key
//! 18 19  random, for this file
//! 37  3  zero
//! 40     pieces: 65,536 bytes and a tag of 16 each, the last one shorter
//! nonce of piece i   random (19) | i, big-endian (4) | 1 in the last piece, else 0
//! ```
//! Cut short, put together anew, lengthened or changed in any bit it does not open.

use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use super::{Key, KeyName, NONCE_BYTES, TAG_BYTES};

const MAGIC: &[u8; 8] = b"HSSEALED";
const VERSION: u16 = 1;
const HEADER: usize = 40;
const RANDOM: usize = 19;
const PIECE: usize = 1 << 16;

/// Bytes of a sealed file that holds `length`.
pub const fn sealed_bytes(length: u64) -> u64 {
    let pieces = if length == 0 { 1 } else { length.div_ceil(PIECE as u64) };
    HEADER as u64 + length + pieces * TAG_BYTES as u64
}

/// Why a sealed file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as a sealed file does.
    #[error("is no sealed file")]
    NotSealed,
    /// A later program wrote it.
    #[error("was sealed in format {0}; this program reads format {VERSION}")]
    Version(u16),
    /// The key is not there.
    #[error("was sealed with the key {0}, which is not among those there are")]
    NoKey(KeyName),
    /// It is not what was sealed.
    #[error("piece {0} is damaged, or the file is not the one that was sealed under this name")]
    Damaged(u64),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Whether a file that begins with `start` is a sealed one.
pub fn is_sealed(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// The name of the key that sealed what `from` begins with; nothing where that is no sealed file.
///
/// # Errors
/// If it cannot be read.
pub fn key_of(from: &mut impl Read) -> io::Result<Option<KeyName>> {
    let mut start = Vec::with_capacity(HEADER);
    from.take(HEADER as u64).read_to_end(&mut start)?;
    let name = start.get(10..18).filter(|_| is_sealed(&start));
    Ok(name.and_then(|name| Some(KeyName(name.try_into().ok()?))))
}

fn nonce(random: &[u8; RANDOM], piece: u32, last: bool) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..RANDOM].copy_from_slice(random);
    nonce[RANDOM..][..4].copy_from_slice(&piece.to_be_bytes());
    nonce[NONCE_BYTES - 1] = u8::from(last);
    nonce
}

/// Seals what is written to it; [`finish`](Self::finish) writes the last piece, without which the
/// file does not open.
pub struct Sealer<'k, W: Write> {
    out: W,
    key: &'k Key,
    name: String,
    header: [u8; HEADER],
    random: [u8; RANDOM],
    piece: u32,
    text: Zeroizing<Vec<u8>>,
}

impl<'k, W: Write> Sealer<'k, W> {
    /// Begins the file that the state directory calls `name`.
    ///
    /// # Errors
    /// If the system has no random bytes or `out` takes no more.
    pub fn new(key: &'k Key, name: &str, mut out: W) -> io::Result<Self> {
        let mut random = [0; RANDOM];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..10].copy_from_slice(&VERSION.to_le_bytes());
        header[10..18].copy_from_slice(&key.name().0);
        header[18..][..RANDOM].copy_from_slice(&random);
        out.write_all(&header)?;
        let text = Zeroizing::new(Vec::with_capacity(PIECE));
        Ok(Self { out, key, name: name.to_owned(), header, random, piece: 0, text })
    }

    /// Writes the last piece, and gives back what it wrote to.
    ///
    /// # Errors
    /// If `out` takes no more.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.out)
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = nonce(&self.random, self.piece, last);
        let tag = self.key.seal(&nonce, &[&self.header, self.name.as_bytes()], &mut self.text);
        self.out.write_all(&self.text)?;
        self.out.write_all(&tag)?;
        self.text.clear();
        self.piece = self.piece.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(())
    }
}

impl<W: Write> Write for Sealer<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full piece waits until it is known not to be the last.
        if self.text.len() == PIECE && !bytes.is_empty() {
            self.seal(false)?;
        }
        let n = bytes.len().min(PIECE - self.text.len());
        self.text.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Pieces are whole: nothing to hurry.
        Ok(())
    }
}

/// Reads a sealed file.
pub struct Opener<'k, R: Read> {
    from: R,
    key: &'k Key,
    name: String,
    header: [u8; HEADER],
    random: [u8; RANDOM],
    piece: u32,
    /// Bytes of the file that were not read yet.
    left: u64,
    text: Zeroizing<Vec<u8>>,
    at: usize,
}

impl<'k, R: Read> Opener<'k, R> {
    /// Begins to read the file that the state directory calls `name`, of `length` bytes; `keys`
    /// finds its key.
    ///
    /// # Errors
    /// If it is no sealed file or of a later format, its key is not there, or it cannot be read.
    pub fn new(
        keys: impl FnOnce(KeyName) -> Option<&'k Key>,
        name: &str,
        length: u64,
        mut from: R,
    ) -> Result<Self, Error> {
        let mut header = [0; HEADER];
        if length < (HEADER + TAG_BYTES) as u64 {
            return Err(Error::NotSealed);
        }
        from.read_exact(&mut header)?;
        if !is_sealed(&header) {
            return Err(Error::NotSealed);
        }
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let (mut of, mut random) = ([0; 8], [0; RANDOM]);
        of.copy_from_slice(&header[10..18]);
        random.copy_from_slice(&header[18..][..RANDOM]);
        let key = keys(KeyName(of)).ok_or(Error::NoKey(KeyName(of)))?;
        let left = length - HEADER as u64;
        let text = Zeroizing::new(Vec::new());
        Ok(Self { from, key, name: name.to_owned(), header, random, piece: 0, left, text, at: 0 })
    }

    /// Bytes of what was sealed, if the file is whole.
    pub fn length(&self) -> u64 {
        let pieces = self.left.div_ceil((PIECE + TAG_BYTES) as u64);
        self.left.saturating_sub(pieces * TAG_BYTES as u64)
    }

    /// All of it.
    ///
    /// # Errors
    /// If it is damaged or cannot be read.
    pub fn read_all(mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut whole = Zeroizing::new(Vec::with_capacity(self.left as usize));
        while self.left > 0 {
            self.open()?;
            whole.extend_from_slice(&self.text);
        }
        Ok(whole)
    }

    /// Reads and opens the next piece.
    fn open(&mut self) -> Result<(), Error> {
        let damaged = Error::Damaged(u64::from(self.piece));
        let length = self.left.min((PIECE + TAG_BYTES) as u64);
        let last = length == self.left;
        let Some(text) = (length as usize).checked_sub(TAG_BYTES) else { return Err(damaged) };
        self.text.resize(text, 0);
        let mut tag = [0; TAG_BYTES];
        self.from.read_exact(&mut self.text)?;
        self.from.read_exact(&mut tag)?;
        let nonce = nonce(&self.random, self.piece, last);
        let place = [&self.header[..], self.name.as_bytes()];
        self.key.open(&nonce, &place, &mut self.text, &tag).map_err(|_| damaged)?;
        self.left -= length;
        self.at = 0;
        self.piece = self.piece.wrapping_add(1);
        Ok(())
    }
}

impl<R: Read> Read for Opener<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.text.len() && self.left > 0 {
            self.open()?;
        }
        let n = out.len().min(self.text.len() - self.at);
        out[..n].copy_from_slice(&self.text[self.at..][..n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(key: &Key, name: &str, text: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::new(key, name, Vec::new()).unwrap();
        sealer.write_all(text).unwrap();
        sealer.finish().unwrap()
    }

    fn opened(key: &Key, name: &str, file: &[u8]) -> Result<Vec<u8>, Error> {
        let keys = |of| (of == key.name()).then_some(key);
        Opener::new(keys, name, file.len() as u64, file)?.read_all().map(|text| text.to_vec())
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 7 % 251) as u8).collect()
    }

    #[test]
    fn files_of_every_length_open_again() {
        let key = Key::new([5; 32]);
        for length in [0, 1, 100, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 17] {
            let file = sealed(&key, "a", &text(length));
            assert_eq!(file.len() as u64, sealed_bytes(length as u64));
            assert_eq!(opened(&key, "a", &file).unwrap(), text(length));
            let keys = |_| Some(&key);
            let mut opener = Opener::new(keys, "a", file.len() as u64, &file[..]).unwrap();
            let mut again = Vec::new();
            opener.read_to_end(&mut again).unwrap();
            assert_eq!(again, text(length), "in pieces of a reader's own");
        }
    }

    #[test]
    fn no_text_shows_and_no_two_files_are_alike() {
        let key = Key::new([5; 32]);
        let plain = b"my sister's address is a secret".repeat(9);
        let (one, two) = (sealed(&key, "a", &plain), sealed(&key, "a", &plain));
        assert_ne!(one, two);
        assert!(!one.windows(7).any(|seven| seven == b"address"));
    }

    #[test]
    fn damage_of_any_kind_is_told() {
        let key = Key::new([5; 32]);
        let whole = text(2 * PIECE + 40);
        let file = sealed(&key, "a", &whole);
        let piece = PIECE + TAG_BYTES;
        for at in [10, 20, HEADER, HEADER + 5, HEADER + piece, file.len() - 1] {
            let mut file = file.clone();
            file[at] ^= 4;
            assert!(opened(&key, "a", &file).is_err(), "byte {at}");
        }
        for length in [0, 39, HEADER, HEADER + piece, HEADER + 2 * piece, file.len() - 1] {
            assert!(opened(&key, "a", &file[..length]).is_err(), "cut to {length}");
        }
        let mut swapped = file.clone();
        let (first, second) = swapped[HEADER..HEADER + 2 * piece].split_at_mut(piece);
        first.swap_with_slice(second);
        assert!(matches!(opened(&key, "a", &swapped), Err(Error::Damaged(0))));
        let longer = [&file[..], &[0; 20]].concat();
        assert!(opened(&key, "a", &longer).is_err());
        assert!(matches!(opened(&key, "b", &file), Err(Error::Damaged(0))), "another's name");
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let key = Key::new([5; 32]);
        let mut file = sealed(&key, "a", b"text");
        assert!(matches!(opened(&Key::new([6; 32]), "a", &file), Err(Error::NoKey(_))));
        assert!(matches!(opened(&key, "a", &[b'{'; 90]), Err(Error::NotSealed)));
        file[8] = 2;
        assert!(matches!(opened(&key, "a", &file), Err(Error::Version(2))));
    }
}
