//! Writes a record's text and embedding to erased flash as they are encoded, 128 bytes at a time,
//! so that no memory for a whole record is needed.

use embedded_storage::nor_flash::NorFlash;
use postcard::ser_flavors::Flavor;

use super::Error;
use super::crc::Crc;
use super::layout::padded;
use super::record::{Embedding, Sample, Start};

/// A writer that starts at a multiple of 128.
pub struct Writer<'f, F: NorFlash> {
    flash: &'f mut F,
    /// Where `staged` goes.
    at: u32,
    staged: heapless::Vec<u8, 128>,
    crc: Crc,
    /// Bytes since the last part began.
    written: usize,
    failure: Option<F::Error>,
}

impl<'f, F: NorFlash> Writer<'f, F> {
    /// Writes from `at` on.
    pub fn new(flash: &'f mut F, at: u32) -> Self {
        let staged = heapless::Vec::new();
        Writer { flash, at, staged, crc: Crc::new(), written: 0, failure: None }
    }

    /// Writes the text of `sample` without its first `skipped` messages, and pads it. Gives its
    /// length and CRC.
    pub fn text(
        &mut self,
        sample: &Sample<'_>,
        skipped: usize,
    ) -> Result<(u32, u32), Error<F::Error>> {
        let messages = (sample.messages.count() - skipped) as u16;
        self.encode(&Start { preferred: sample.preferred, messages })?;
        for message in sample.messages.iter().skip(skipped) {
            self.encode(&message)?;
        }
        let part = self.part();
        let fill = padded(part.0 as usize) - part.0 as usize;
        self.push(&[0xFF; 32][..fill]).map_err(Error::Flash)?;
        self.part();
        Ok(part)
    }

    /// Writes the embedding and what is still staged. Gives its components and CRC.
    pub fn embedding(mut self, embedding: &Embedding<'_>) -> Result<(u32, u32), Error<F::Error>> {
        for half in embedding.halves() {
            self.push(&half).map_err(Error::Flash)?;
        }
        let (bytes, crc) = self.part();
        if !self.staged.is_empty() {
            self.push(&[0xFF; 128][self.staged.len()..]).map_err(Error::Flash)?;
        }
        Ok((bytes / 2, crc))
    }

    /// Length and CRC since the last part, and begins the next.
    fn part(&mut self) -> (u32, u32) {
        let part = (self.written as u32, self.crc.value());
        (self.written, self.crc) = (0, Crc::new());
        part
    }

    fn encode(&mut self, value: &impl serde::Serialize) -> Result<(), Error<F::Error>> {
        let encoded = postcard::serialize_with_flavor(value, Into(&mut *self));
        // Only the flash can make it fail.
        encoded.map_err(|_| self.failure.take().map_or(Error::Encoding, Error::Flash))
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), F::Error> {
        self.crc.add(bytes);
        self.written += bytes.len();
        while !bytes.is_empty() {
            let room = self.staged.capacity() - self.staged.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            // There is room for `now`.
            let _ = self.staged.extend_from_slice(now);
            bytes = later;
            if self.staged.is_full() {
                self.flash.write(self.at, &self.staged)?;
                self.at += self.staged.len() as u32;
                self.staged.clear();
            }
        }
        Ok(())
    }
}

/// The writer as postcard sees it.
struct Into<'w, 'f, F: NorFlash>(&'w mut Writer<'f, F>);

impl<F: NorFlash> Flavor for Into<'_, '_, F> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.push(data).map_err(|error| {
            self.0.failure = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
