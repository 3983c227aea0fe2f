//! Writes content as it comes, and the header that makes it count at the end.

use embedded_storage::nor_flash::NorFlash;

use super::header::{HEADER_BYTES, Sealed};
use super::{Error, Header, Pair};
use crate::flash::io::{self, Paused, twice};
use crate::plant::{Bug, planted};
use crate::samples::crc::Crc;
use crate::seal::flow::Flow;
use crate::seal::{NONCE_BYTES, TAG_BYTES};

/// Content that is being written. It counts when it is [committed](Self::commit); dropped before, it
/// is as a write that was cut.
pub struct Write<'p, F: NorFlash, const STAGE: usize = 512> {
    pair: &'p mut Pair<F, STAGE>,
    half: usize,
    header: Header,
    flow: Option<Flow>,
    crc: Crc,
    /// Where the writer is; `None` once the flash has failed.
    at: Option<Paused>,
}

impl<F: NorFlash, const STAGE: usize> Pair<F, STAGE> {
    /// Erases the half that does not count, to write content of the caller's `kind` there.
    ///
    /// What counts is not looked at: to be sure that it is whole while there is still an older one,
    /// [`verify`](Self::verify) it first.
    ///
    /// # Errors
    /// If the flash fails, there are no random bytes for a nonce, or what is there is sealed and there
    /// is no key: what counts still does.
    pub fn begin(&mut self, kind: [u8; 8]) -> Result<Write<'_, F, STAGE>, Error<F::Error>> {
        if self.seal.is_none() && self.headers.iter().flatten().any(Header::is_sealed) {
            return Err(Error::Sealed);
        }
        let half = self.other();
        let sealed = self.sealed()?;
        let generation = self.next_generation()?;
        self.headers[half] = None;
        self.erases[half] = self.erases[half].saturating_add(1);
        let start = self.start(half);
        self.flash.erase(start, start + self.half).map_err(Error::Flash)?;
        if let (true, Some(old)) = (planted(Bug::OldErasedEarly), self.current) {
            let start = self.start(old);
            self.flash.erase(start, start + self.half).map_err(Error::Flash)?;
        }
        let erases = self.erases[half];
        let header = Header { generation, kind, length: 0, crc: 0, erases, sealed };
        let seal = self.seal.as_ref().zip(header.sealed.as_ref());
        let flow = seal.map(|(seal, sealed)| header.flow(&seal.key, sealed));
        let at = Some(Paused::new(self.content_at(half)));
        Ok(Write { pair: self, half, header, flow, crc: Crc::new(), at })
    }

    /// Erases the half that does not count, so that nothing older can be read: after a forgetting, or
    /// once a new key has sealed what counts.
    ///
    /// # Errors
    /// If the flash fails: what counts still does.
    pub fn erase_older(&mut self) -> Result<(), Error<F::Error>> {
        let half = self.other();
        self.headers[half] = None;
        self.erases[half] = self.erases[half].saturating_add(1);
        let start = self.start(half);
        self.flash.erase(start, start + self.half).map_err(Error::Flash)?;
        self.flush()
    }

    /// What seals the next content: a nonce of its own.
    fn sealed(&self) -> Result<Option<Sealed>, Error<F::Error>> {
        let Some(seal) = &self.seal else { return Ok(None) };
        let mut nonce = [0; NONCE_BYTES];
        (seal.random)(&mut nonce).map_err(|_| Error::Random)?;
        if planted(Bug::NonceFromGeneration) {
            nonce = [0; NONCE_BYTES];
            nonce[..8].copy_from_slice(&self.generation.to_le_bytes());
        }
        Ok(Some(Sealed { key: seal.key.name(), nonce, tag: [0; TAG_BYTES] }))
    }
}

impl<F: NorFlash, const STAGE: usize> Write<'_, F, STAGE> {
    /// Bytes of content so far.
    pub fn length(&self) -> usize {
        self.header.length as usize
    }

    /// Writes `bytes` behind what was written.
    ///
    /// # Errors
    /// If the half has no room for them, which costs nothing, or the flash fails: then nothing more
    /// can be written.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error<F::Error>> {
        let (needed, available) = (self.length() + bytes.len(), self.pair.capacity());
        if needed > available {
            return Err(Error::TooLong { needed, available });
        }
        let mut piece = [0; 64];
        for bytes in bytes.chunks(piece.len()) {
            let piece = &mut piece[..bytes.len()];
            piece.copy_from_slice(bytes);
            if let Some(flow) = self.flow.as_mut().filter(|_| !planted(Bug::TextPlain)) {
                flow.seal(piece);
            }
            self.crc.add(piece);
            let mut writer = self.writer()?;
            writer.push(piece).map_err(Error::Flash)?;
            self.at = Some(writer.pause());
            self.header.length += piece.len() as u32;
        }
        Ok(())
    }

    /// Makes what was written count, in place of what counted before, and gives its header.
    ///
    /// # Errors
    /// If part of it could not be written, it does not read back as it was written, or the flash
    /// fails: what counted still does, or the new one at the next mount.
    pub fn commit(mut self) -> Result<Header, Error<F::Error>> {
        self.header.crc = self.crc.value();
        let tag = self.flow.take().map(Flow::tag);
        if let (Some(sealed), Some(tag)) = (&mut self.header.sealed, tag) {
            sealed.tag = tag;
        }
        let (half, header) = (self.half, self.header);
        #[cfg(test)]
        if planted(Bug::HeaderFirst) {
            let start = self.pair.start(half);
            let mut stage = [0; STAGE];
            let mut writer = io::Writer::new(&mut self.pair.flash, &mut stage, start);
            writer.push(&header.bytes()).and_then(|()| writer.finish()).map_err(Error::Flash)?;
        }
        self.writer()?.finish().map_err(Error::Flash)?;
        let pair = self.pair;
        if !planted(Bug::HeaderFirst) {
            pair.flush()?;
            if !planted(Bug::Unverified) {
                pair.check(half, &header, None)?;
            }
            pair.write_header(half, &header)?;
        }
        pair.headers[half] = Some(header);
        (pair.current, pair.checked) = (Some(half), false);
        Ok(header)
    }

    /// The writer, until it is paused again.
    fn writer(&mut self) -> Result<io::Writer<'_, F>, Error<F::Error>> {
        let at = self.at.take().ok_or(Error::Unfinished)?;
        Ok(io::Writer::resume(&mut self.pair.flash, &mut self.pair.stage, at))
    }
}

impl<F: NorFlash, const STAGE: usize> Pair<F, STAGE> {
    fn write_header(&mut self, half: usize, header: &Header) -> Result<(), Error<F::Error>> {
        let (start, bytes) = (self.start(half), header.bytes());
        let mut writer = io::Writer::new(&mut self.flash, &mut self.stage, start);
        writer.push(&bytes).and_then(|()| writer.finish()).map_err(Error::Flash)?;
        self.flush()?;
        if planted(Bug::Unverified) {
            return Ok(());
        }
        let mut seen = [0; HEADER_BYTES];
        let (flash, stage) = (&mut self.flash, &mut self.stage[..]);
        twice(|| io::read(flash, start, &mut seen, stage)).map_err(Error::Flash)?;
        if seen == bytes { Ok(()) } else { Err(Error::Corrupt) }
    }
}
