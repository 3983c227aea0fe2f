//! Writes a record's text and embedding as they are encoded, a stage at a time, so that no memory for
//! a whole record is needed.

use embedded_storage::nor_flash::NorFlash;
use postcard::ser_flavors::Flavor;

use super::Error;
use super::crc::Crc;
use super::header::{Header, Part, Sealed, Sealing};
use super::plant::{Bug, planted};
use super::record::{Sample, Start};
use crate::flash::io;
use crate::seal::flow::Flow;

/// Writes the payload of `sample`, without its first `skipped` messages, from `at` on; fills the
/// lengths and CRCs of `header` in, and the tags of `sealing`.
pub(super) fn payload<F: NorFlash>(
    writer: io::Writer<'_, F>,
    sample: &Sample<'_>,
    skipped: usize,
    header: &mut Header,
    sealing: Option<&mut Sealing>,
) -> Result<(), Error<F::Error>> {
    let flow = |header: &Header, sealing: &Sealing, part| {
        Sealed::new(header.place(true), sealing.nonce).flow(&sealing.key, part)
    };
    let mut parts = Parts { writer, flow: None, crc: Crc::new(), written: 0, failure: None };
    if !planted(Bug::TextPlain) {
        parts.flow = sealing.as_deref().map(|sealing| flow(header, sealing, Part::Text));
    }
    let messages = (sample.messages.count() - skipped) as u16;
    parts.encode(&Start { preferred: sample.preferred, messages })?;
    for message in sample.messages.iter().skip(skipped) {
        parts.encode(&message)?;
    }
    let text = parts.end();
    parts.flow = sealing.as_deref().map(|sealing| flow(header, sealing, Part::Embedding));
    for half in sample.embedding.halves() {
        parts.push(&half).map_err(Error::Flash)?;
    }
    let embedding = parts.end();
    parts.writer.finish().map_err(Error::Flash)?;
    (header.text_bytes, header.text_crc) = (text.bytes, text.crc);
    (header.components, header.embedding_crc) = (embedding.bytes / 2, embedding.crc);
    if let Some(sealing) = sealing {
        sealing.text_tag = text.flow.map_or([0; 16], Flow::tag);
        sealing.embedding_tag = embedding.flow.map_or([0; 16], Flow::tag);
    }
    Ok(())
}

/// A part that was written.
struct End {
    bytes: u32,
    crc: u32,
    flow: Option<Flow>,
}

struct Parts<'f, F: NorFlash> {
    writer: io::Writer<'f, F>,
    /// What seals the part.
    flow: Option<Flow>,
    crc: Crc,
    /// Bytes of the part so far.
    written: u32,
    failure: Option<F::Error>,
}

impl<F: NorFlash> Parts<'_, F> {
    /// Ends a part and begins the next.
    fn end(&mut self) -> End {
        let end = End { bytes: self.written, crc: self.crc.value(), flow: self.flow.take() };
        (self.written, self.crc) = (0, Crc::new());
        end
    }

    fn encode(&mut self, value: &impl serde::Serialize) -> Result<(), Error<F::Error>> {
        let encoded = postcard::serialize_with_flavor(value, Into(&mut *self));
        // Only the flash can make it fail.
        encoded.map_err(|_| self.failure.take().map_or(Error::Encoding, Error::Flash))
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), F::Error> {
        self.written += bytes.len() as u32;
        let Some(flow) = &mut self.flow else {
            self.crc.add(bytes);
            return self.writer.push(bytes);
        };
        let mut piece = [0; 64];
        for bytes in bytes.chunks(piece.len()) {
            let piece = &mut piece[..bytes.len()];
            piece.copy_from_slice(bytes);
            flow.seal(piece);
            self.crc.add(piece);
            self.writer.push(piece)?;
        }
        Ok(())
    }
}

/// The writer as postcard sees it.
struct Into<'w, 'f, F: NorFlash>(&'w mut Parts<'f, F>);

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
