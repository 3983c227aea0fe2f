//! Ids back to text, as they come.
//!
//! ```text
//! byte-level   bytes of tokens -> characters; what is none becomes U+FFFD
//! others       U+2581 -> space; runs of byte tokens -> characters, all U+FFFD if one is none;
//!              a space before the whole text is left out
//! ```

use core::fmt::{self, Write};

use super::{Bpe, SPACE, flag};
use crate::image::header::{Prepend, Split};

/// Bytes that are held back until they are characters.
const HELD: usize = 64;

/// Writes text of ids that are pushed; [`finish`](Self::finish) writes what is held back.
#[derive(Debug)]
pub struct Decoder<'a> {
    bpe: Bpe<'a>,
    held: heapless::Vec<u8, HELD>,
    /// Whether anything was decoded yet.
    begun: bool,
}

impl<'a> Bpe<'a> {
    /// Decodes ids as they come.
    pub const fn decoder(&self) -> Decoder<'a> {
        Decoder { bpe: *self, held: heapless::Vec::new(), begun: false }
    }

    /// Writes the text of `ids`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn decode(&self, ids: &[u32], out: &mut impl Write) -> fmt::Result {
        let mut decoder = self.decoder();
        ids.iter().try_for_each(|&id| decoder.push(id, out))?;
        decoder.finish(out)
    }
}

impl Decoder<'_> {
    /// Takes the next id and writes what is certain.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn push(&mut self, id: u32, out: &mut impl Write) -> fmt::Result {
        if self.bpe.has(id, flag::HIDDEN) {
            return Ok(());
        }
        let bytes = self.bpe.token(id);
        match self.bpe.split {
            Split::Level { .. } => bytes.iter().try_for_each(|&byte| self.byte(byte, out)),
            Split::Metaspace(_) if self.bpe.has(id, flag::BYTE) => {
                self.begun = true;
                if self.held.is_full() {
                    self.run(out)?;
                }
                let _ = self.held.push(bytes.first().copied().unwrap_or_default());
                Ok(())
            }
            Split::Metaspace(prepend) => {
                self.run(out)?;
                let text = core::str::from_utf8(bytes).unwrap_or_default();
                let stripped = prepend != Prepend::Never && !self.begun;
                self.begun = true;
                let text = match text.strip_prefix(SPACE).or(text.strip_prefix(' ')) {
                    Some(rest) if stripped => rest,
                    _ => text,
                };
                for (i, part) in text.split(SPACE).enumerate() {
                    if i > 0 {
                        out.write_char(' ')?;
                    }
                    out.write_str(part)?;
                }
                Ok(())
            }
        }
    }

    /// Writes what is held back, characters that are not finished as U+FFFD.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self, out: &mut impl Write) -> fmt::Result {
        match self.bpe.split {
            Split::Level { .. } => {
                self.flush(out)?;
                if self.held.is_empty() { Ok(()) } else { out.write_char('\u{FFFD}') }
            }
            Split::Metaspace(_) => self.run(out),
        }
    }

    /// A byte of text.
    fn byte(&mut self, byte: u8, out: &mut impl Write) -> fmt::Result {
        let _ = self.held.push(byte);
        // A character has four at most.
        if byte.is_ascii() || self.held.len() >= 4 { self.flush(out) } else { Ok(()) }
    }

    /// Writes the characters among the held bytes, and U+FFFD for what begins none.
    fn flush(&mut self, out: &mut impl Write) -> fmt::Result {
        loop {
            let (valid, bad) = match core::str::from_utf8(&self.held) {
                Ok(text) => (text.len(), None),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            out.write_str(core::str::from_utf8(&self.held[..valid]).unwrap_or_default())?;
            let gone = valid + bad.unwrap_or(0);
            let rest = heapless::Vec::from_slice(&self.held[gone..]).unwrap_or_default();
            self.held = rest;
            match bad {
                Some(_) => out.write_char('\u{FFFD}')?,
                None => return Ok(()),
            }
        }
    }

    /// Writes a run of byte tokens.
    fn run(&mut self, out: &mut impl Write) -> fmt::Result {
        match core::str::from_utf8(&self.held) {
            Ok(text) => out.write_str(text)?,
            Err(_) => (0..self.held.len()).try_for_each(|_| out.write_char('\u{FFFD}'))?,
        }
        self.held.clear();
        Ok(())
    }
}
