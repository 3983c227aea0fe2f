//! Reads records; every byte is checked before it is given.

use embedded_storage::nor_flash::NorFlash;

use super::header::{HEADER_BYTES, Header, Part, Sealed};
use super::layout::{self, BinInfo};
use super::plant::{Bug, planted};
use super::record::{self, Sample};
use super::{Error, Samples, crc};
use crate::flash::io;

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Samples<F, I, STAGE> {
    /// Reads the dialogue of `bin` into `scratch`; [`super::RECORD_BYTES`] always suffice.
    ///
    /// # Errors
    /// If the bin is free, `scratch` is too small, the record is corrupt or the flash fails.
    pub fn read<'s>(
        &mut self,
        bin: usize,
        scratch: &'s mut [u8],
    ) -> Result<Sample<'s>, Error<F::Error>> {
        let BinInfo { slot, header, .. } = *self.used(bin)?;
        let (needed, available) = (header.payload_bytes(), scratch.len());
        let bytes = scratch.get_mut(..needed).ok_or(Error::Scratch { needed, available })?;
        self.stored(slot, 0, bytes)?;
        let (text, embedding) = bytes.split_at_mut(header.text_bytes as usize);
        let sealed = self.sealed(bin, slot)?;
        self.open(bin, &header, sealed.as_ref(), Part::Text, text)?;
        self.open(bin, &header, sealed.as_ref(), Part::Embedding, embedding)?;
        record::decode(&header, text, embedding).ok_or(Error::Corrupt { bin })
    }

    /// Reads the embedding of `bin` into `out (D)`.
    ///
    /// # Errors
    /// If the bin is free, its embedding has another length or is corrupt, or the flash fails.
    pub fn embedding(&mut self, bin: usize, out: &mut [f32]) -> Result<(), Error<F::Error>> {
        let BinInfo { slot, header, .. } = *self.used(bin)?;
        let stored = header.components as usize;
        if stored != out.len() {
            return Err(Error::Embedding { bin, stored, asked: out.len() });
        }
        // The f16 go to the second half of `out`, and from there each to its own place.
        let halves = &mut bytemuck::cast_slice_mut::<f32, u8>(out)[2 * stored..];
        self.stored(slot, header.text_bytes, halves)?;
        let sealed = self.sealed(bin, slot)?;
        self.open(bin, &header, sealed.as_ref(), Part::Embedding, halves)?;
        for i in 0..stored {
            let bytes = bytemuck::cast_slice::<f32, u8>(out);
            let half = [bytes[2 * (stored + i)], bytes[2 * (stored + i) + 1]];
            out[i] = half::f16::from_le_bytes(half).to_f32();
        }
        Ok(())
    }

    /// Checks the record of `bin` as it lies in the flash, for which no key is needed.
    ///
    /// # Errors
    /// If the bin is free, the record is corrupt or the flash fails.
    pub fn verify(&mut self, bin: usize) -> Result<(), Error<F::Error>> {
        let BinInfo { slot, header, .. } = *self.used(bin)?;
        if self.is_whole(slot, &header)? { Ok(()) } else { Err(Error::Corrupt { bin }) }
    }

    /// Whether the payload in `slot` has the CRCs of `header`.
    pub(super) fn is_whole(&mut self, slot: u32, header: &Header) -> Result<bool, Error<F::Error>> {
        let start = self.slot_start(slot) + layout::payload_at::<F>() as u32;
        let end = start + io::padded::<F>(header.payload_bytes()) as u32;
        let (mut text, mut embedding) = (crc::Crc::new(), crc::Crc::new());
        let (mut text_left, mut left) = (header.text_bytes as usize, header.payload_bytes());
        let see = |piece: &mut [u8]| {
            let piece = &piece[..piece.len().min(left)];
            let (of_text, rest) = piece.split_at(piece.len().min(text_left));
            text.add(of_text);
            embedding.add(rest);
            text_left -= of_text.len();
            left -= piece.len();
            true
        };
        io::pieces(&mut self.flash, start, end, &mut self.stage, see).map_err(Error::Flash)?;
        Ok((text.value(), embedding.value()) == (header.text_crc, header.embedding_crc))
    }

    /// Reads stored bytes of the payload in `slot`.
    fn stored(&mut self, slot: u32, from: u32, bytes: &mut [u8]) -> Result<(), Error<F::Error>> {
        let at = self.slot_start(slot) + layout::payload_at::<F>() as u32 + from;
        let (flash, stage) = (&mut self.flash, &mut self.stage[..]);
        io::twice(|| io::read(flash, at, bytes, stage)).map_err(Error::Flash)
    }

    /// What the record in `slot` is opened with, if it is sealed.
    fn sealed(&mut self, bin: usize, slot: u32) -> Result<Option<Sealed>, Error<F::Error>> {
        if !self.common.sealed {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.record_header(slot, &mut bytes).map_err(Error::Flash)?;
        layout::has_crc(&bytes).then(|| Some(Sealed::of(&bytes))).ok_or(Error::Corrupt { bin })
    }

    /// Checks one part and opens it in place.
    fn open(
        &self,
        bin: usize,
        header: &Header,
        sealed: Option<&Sealed>,
        part: Part,
        bytes: &mut [u8],
    ) -> Result<(), Error<F::Error>> {
        let expected = if part == Part::Text { header.text_crc } else { header.embedding_crc };
        if !planted(Bug::Unchecked) && crc::of(bytes) != expected {
            return Err(Error::Corrupt { bin });
        }
        let Some(sealed) = sealed else { return Ok(()) };
        let key = self.access.key(header.key).map_err(|name| Error::Key { name })?;
        let Some(key) = key else { return Err(Error::Corrupt { bin }) };
        let (nonce, place) = sealed.at(part);
        key.open(&nonce, &[&place], bytes, &sealed.tag(part)).map_err(|_| Error::Corrupt { bin })
    }
}
