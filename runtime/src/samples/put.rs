//! Writes records: into a free slot first, and only then is the old one erased.

use embedded_storage::nor_flash::NorFlash;

use super::header::{HEADER_BYTES, Header, Sealing};
use super::layout::{self, BinInfo, NO_SLOT, PAYLOAD_BYTES, SlotState};
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

    /// Empties `bin` and erases its records, older ones included. A free bin stays one.
    ///
    /// # Errors
    /// If there is no such bin or the flash fails; after a failed erase the bin is empty but old
    /// text may still lie in the flash.
    pub fn remove(&mut self, bin: usize) -> Result<(), Error<F::Error>> {
        self.check_bin(bin)?;
        self.check_writable()?;
        if self.info(bin).is_none() {
            return Ok(());
        }
        self.settle();
        let header = Header::tombstone(bin as u16, self.next_generation()?);
        let old = self.write(header, &Content::Tombstone)?;
        self.clear(old)?;
        self.flush()?;
        // Erased records cannot come back: the tombstone has nothing to outlive.
        if !self.is_elsewhere(bin)? {
            let info = self.slot(bin as u32);
            let tombstone = core::mem::replace(&mut info.slot, NO_SLOT);
            info.header = Header::NONE;
            self.clear(tombstone)?;
            self.flush()?;
        }
        Ok(())
    }

    /// Erases records that a cut left behind: a newer one of their bin is there.
    pub(super) fn settle(&mut self) {
        if core::mem::replace(&mut self.settled, true) {
            return;
        }
        for slot in 0..self.slots {
            let mut bytes = [0; HEADER_BYTES];
            if self.state(slot) == SlotState::Used
                && self.record_header(slot, &mut bytes).is_ok()
                && Header::parse(&bytes, true).is_some()
            {
                // It is passed over if that fails, and outlived by what is newer.
                let _ = self.clear(slot);
            }
        }
    }

    /// Writes a record to a free slot, which is then the bin's; gives the bin's old slot.
    pub(super) fn write(
        &mut self,
        header: Header,
        content: &Content<'_>,
    ) -> Result<u32, Error<F::Error>> {
        let bin = usize::from(header.bin);
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
        debug_assert!(bin < self.common.bins);
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
        if let Some(sealing) = &sealing {
            header.key = sealing.key.name();
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
        let seal = match &self.access {
            Access::Plain => return Ok(None),
            Access::Blind => return Err(Error::Sealed),
            Access::Sealed(seal) => seal,
        };
        let mut nonce = [0; NONCE_BYTES];
        (seal.random)(&mut nonce).map_err(|_| Error::Random)?;
        if planted(Bug::NonceFromGeneration) {
            nonce = [0; NONCE_BYTES];
            nonce[..8].copy_from_slice(&header.generation.to_le_bytes());
        }
        let (text_tag, embedding_tag) = ([0; TAG_BYTES], [0; TAG_BYTES]);
        Ok(Some(Sealing { key: seal.key.clone(), nonce, text_tag, embedding_tag }))
    }

    /// Makes a slot erased, if it is not.
    pub(super) fn prepare(&mut self, slot: u32) -> Result<(), Error<F::Error>> {
        let (start, end) = self.record_area(slot);
        let blank = |samples: &mut Self| {
            io::is_blank(&mut samples.flash, start, end, &mut samples.stage).map_err(Error::Flash)
        };
        if self.state(slot) == SlotState::Ready && blank(self)? {
            return Ok(());
        }
        self.clear(slot)?;
        // An erase that leaves bits clear has worn the slot out.
        if blank(self)? { Ok(()) } else { Err(Error::NoSlot { tried: 1 }) }
    }

    /// Erases a slot and writes its slot header.
    pub(super) fn clear(&mut self, slot: u32) -> Result<(), Error<F::Error>> {
        if slot == NO_SLOT {
            return Ok(());
        }
        let start = self.slot_start(slot);
        let end = start + layout::slot_bytes::<F>() as u32;
        let common = self.common;
        let entry = self.slot(slot);
        // Until it is erased and says so, it is neither.
        entry.state = SlotState::Bad;
        entry.erases =
            if planted(Bug::EraseCountReset) { 1 } else { entry.erases.saturating_add(1) };
        let header = common.slot_header::<F>(entry.erases);
        self.flash.erase(start, end).map_err(Error::Flash)?;
        format::write(&mut self.flash, &mut self.stage, start, &header)?;
        self.slot(slot).state = SlotState::Ready;
        Ok(())
    }

    /// Writes what was held back.
    pub(super) fn flush(&mut self) -> Result<(), Error<F::Error>> {
        if planted(Bug::NoBarrier) {
            return Ok(());
        }
        (self.barrier)(&mut self.flash).map_err(Error::Flash)
    }

    /// From behind a slot's header to its end.
    pub(super) fn record_area(&self, slot: u32) -> (u32, u32) {
        let start = self.slot_start(slot);
        (start + layout::header_at::<F>() as u32, start + layout::slot_bytes::<F>() as u32)
    }

    /// Whether a record of `bin` lies in a slot that is not its own.
    fn is_elsewhere(&mut self, bin: usize) -> Result<bool, Error<F::Error>> {
        let own = self.slot(bin as u32).slot;
        for slot in (0..self.slots).filter(|&slot| slot != own) {
            let mut bytes = [0; HEADER_BYTES];
            self.record_header(slot, &mut bytes).map_err(Error::Flash)?;
            let header = Header::parse(&bytes, true);
            if header.is_some_and(|header| usize::from(header.bin) == bin) {
                return Ok(true);
            }
        }
        Ok(false)
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
