//! Writes records: into a free slot first, and only then is the old one erased.

use embedded_storage::nor_flash::NorFlash;

use super::header::{HEADER_BYTES, Header, Sealing};
use super::layout::{self, BinInfo, PAYLOAD_BYTES, SlotState};
use super::plant::{Bug, planted};
use super::record::{self, Sample};
use super::{Access, Error, Samples, format, write};
use crate::flash::io;
use crate::seal::{NONCE_BYTES, TAG_BYTES};

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Messages, oldest first, that had no room and were left out.
    pub lost_turns: usize,
    /// Bytes of text and embedding, of at most [`PAYLOAD_BYTES`].
    pub bytes: usize,
}

/// What becomes of a free slot that could not be written. One that was not erased for this is erased
/// and tried once more: an erase that was cut may have left it blank, but not fit to be written.
pub(super) fn failed(before: SlotState) -> SlotState {
    if before == SlotState::Ready { SlotState::Used } else { SlotState::Bad }
}

/// What is written to a slot.
pub(super) enum Content<'s> {
    /// A dialogue without its first messages.
    Sample(&'s Sample<'s>, usize),
    /// Nothing: the bin is emptied.
    Tombstone,
}

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Samples<F, I, STAGE> {
    /// Writes `sample` to `bin`, in place of what is there. Where it is longer than a record its
    /// oldest messages are left out, down to the last one.
    ///
    /// # Errors
    /// If there is no such bin, the last message alone does not fit, or no free slot can be written:
    /// then the bin holds what it held.
    pub fn put(&mut self, bin: usize, sample: &Sample<'_>) -> Result<Put, Error<F::Error>> {
        self.check_bin(bin)?;
        self.check_writable()?;
        let fit = record::fit(sample)
            .map_err(|needed| Error::TooLong { needed, available: PAYLOAD_BYTES })?;
        let mut header = Header::of(bin as u16, self.next_generation()?, sample);
        header.lost_turns = sample.lost_turns.saturating_add(fit.skipped as u32);
        self.settle();
        self.level();
        let old = self.write(header, &Content::Sample(sample, fit.skipped))?;
        // The new record is there, whatever becomes of the old one.
        let _ = self.clear(old);
        Ok(Put { lost_turns: fit.skipped, bytes: fit.bytes })
    }

    /// Writes a record to a free slot, which is then the bin's; gives the bin's old slot.
    pub(super) fn write(
        &mut self,
        header: Header,
        content: &Content<'_>,
    ) -> Result<u32, Error<F::Error>> {
        let (mut failure, mut tried) = (None, 0);
        while let Some(slot) = self.least_worn() {
            let before = self.state(slot);
            match self.write_to(slot, header, content) {
                Ok(header) => {
                    let held = self.slot(u32::from(header.bin));
                    let old = core::mem::replace(&mut held.slot, slot);
                    held.header = header;
                    self.slot(slot).state = SlotState::Held;
                    return Ok(old);
                }
                Err(error @ (Error::Flash(_) | Error::NoSlot { .. })) => {
                    self.slot(slot).state = failed(before);
                    tried += 1;
                    failure = Some(error);
                }
                Err(error) => {
                    self.slot(slot).state = SlotState::Used;
                    return Err(error);
                }
            }
        }
        // The next put tries them once more.
        let entries = &mut self.index.as_mut()[..self.slots as usize];
        let bad = entries.iter_mut().filter(|entry| entry.state == SlotState::Bad);
        bad.for_each(|entry| entry.state = SlotState::Used);
        match failure {
            Some(error @ Error::Flash(_)) => Err(error),
            _ => Err(Error::NoSlot { tried }),
        }
    }

    fn write_to(
        &mut self,
        slot: u32,
        mut header: Header,
        content: &Content<'_>,
    ) -> Result<Header, Error<F::Error>> {
        let mut sealing = self.sealing(&header)?;
        if let Access::Sealed(keys) = &self.access {
            header.key = keys.current.0;
        }
        self.prepare(slot)?;
        let start = self.slot_start(slot);
        if let Content::Sample(sample, skipped) = *content {
            let at = start + layout::payload_at::<F>() as u32;
            let writer = io::Writer::new(&mut self.flash, &mut self.stage, at);
            #[cfg(test)]
            let writer = writer.dry(planted(Bug::HeaderFirst));
            write::payload(writer, sample, skipped, &mut header, sealing.as_mut())?;
        }
        if planted(Bug::OldErasedEarly) {
            let old = self.slot(u32::from(header.bin)).slot;
            let _ = self.clear(old);
        }
        if !planted(Bug::HeaderFirst) {
            self.flush()?;
            if !planted(Bug::Unverified) && !self.is_whole(slot, &header)? {
                return Err(Error::NoSlot { tried: 1 });
            }
        }
        let bytes = header.bytes(self.slot(slot).erases, sealing.as_ref());
        let at = start + layout::header_at::<F>() as u32;
        let written = format::write(&mut self.flash, &mut self.stage, at, &bytes)
            .and_then(|()| (self.barrier)(&mut self.flash).map_err(Error::Flash));
        #[cfg(test)]
        if let (true, Content::Sample(sample, skipped)) = (planted(Bug::HeaderFirst), content) {
            let at = start + layout::payload_at::<F>() as u32;
            let writer = io::Writer::new(&mut self.flash, &mut self.stage, at);
            write::payload(writer, sample, *skipped, &mut header.clone(), sealing.as_mut())?;
        }
        if planted(Bug::Unverified) {
            return written.map(|()| header);
        }
        // Whether it was written is what it says itself.
        let mut seen = [0; HEADER_BYTES];
        match self.record_header(slot, &mut seen) {
            Ok(()) if seen == bytes => Ok(header),
            Ok(()) => written.and(Err(Error::NoSlot { tried: 1 })),
            Err(error) => written.and(Err(Error::Flash(error))),
        }
    }

    pub(super) fn check_writable(&self) -> Result<(), Error<F::Error>> {
        if matches!(self.access, Access::Blind) { Err(Error::Sealed) } else { Ok(()) }
    }

    /// What seals the record of `header`: a key and a nonce of its own.
    fn sealing(&self, header: &Header) -> Result<Option<Sealing>, Error<F::Error>> {
        let keys = match &self.access {
            Access::Plain => return Ok(None),
            Access::Blind => return Err(Error::Sealed),
            Access::Sealed(keys) => keys,
        };
        let mut nonce = [0; NONCE_BYTES];
        (keys.random)(&mut nonce).map_err(|_| Error::Random)?;
        if planted(Bug::NonceFromGeneration) {
            nonce = [0; NONCE_BYTES];
            nonce[..8].copy_from_slice(&header.generation.to_le_bytes());
        }
        let (text_tag, embedding_tag) = ([0; TAG_BYTES], [0; TAG_BYTES]);
        Ok(Some(Sealing { key: keys.current.1.clone(), nonce, text_tag, embedding_tag }))
    }

    /// Writes what was held back.
    pub(super) fn flush(&mut self) -> Result<(), Error<F::Error>> {
        if planted(Bug::NoBarrier) {
            return Ok(());
        }
        (self.barrier)(&mut self.flash).map_err(Error::Flash)
    }

    /// A generation is used up even if its put fails: it may be in the flash all the same.
    pub(super) fn next_generation(&mut self) -> Result<u64, Error<F::Error>> {
        let generation = self.generation;
        if generation >= layout::LAST_GENERATION {
            return Err(Error::Generations);
        }
        self.generation += 1;
        Ok(generation)
    }
}
