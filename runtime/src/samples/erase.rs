//! Erases: what is removed, what a cut left behind, what an old key sealed.

use embedded_storage::nor_flash::NorFlash;

use super::header::{HEADER_BYTES, Header};
use super::layout::{self, BinInfo, NO_SLOT, SlotState};
use super::plant::{Bug, planted};
use super::put::Content;
use super::{Access, Error, Samples, format};
use crate::flash::io;
use crate::seal::Key;

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Samples<F, I, STAGE> {
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
        self.bury(bin)
    }

    /// Erases the tombstone of `bin`, if it has one with nothing to outlive: what is erased does not
    /// come back.
    fn bury(&mut self, bin: usize) -> Result<(), Error<F::Error>> {
        if !self.slot(bin as u32).header.is_tombstone() || self.is_elsewhere(bin)? {
            return Ok(());
        }
        let info = self.slot(bin as u32);
        let tombstone = core::mem::replace(&mut info.slot, NO_SLOT);
        info.header = Header::NONE;
        self.clear(tombstone)?;
        self.flush()
    }

    /// Seals every record with `key` anew, so that the key before is of no more use; `scratch` as for
    /// [`read`](Self::read). After a cut, mount with `key` and the previous one and call it again.
    /// Records that cannot be read are removed; gives how many.
    ///
    /// # Errors
    /// If the buffer is not sealed or cannot be written: what is there stays, sealed with either key.
    pub fn rekey(&mut self, key: Key, scratch: &mut [u8]) -> Result<usize, Error<F::Error>> {
        let name = key.name();
        let mut lost = 0;
        let Access::Sealed(keys) = &self.access else { return Err(Error::Plain) };
        if keys.current.0 != name && keys.previous.is_some() {
            // One that was cut is ended first: there is room for one previous key.
            let unfinished = keys.current.1.clone();
            lost += self.rekey(unfinished, scratch)?;
        }
        if let Access::Sealed(keys) = &mut self.access
            && keys.current.0 != name
        {
            keys.previous = Some(core::mem::replace(&mut keys.current, (name, key)));
        }
        for bin in 0..self.bins() {
            if self.info(bin).is_none_or(|info| info.header.key == name) {
                continue;
            }
            match self.read(bin, scratch) {
                Ok(sample) => drop(self.put(bin, &sample)?),
                Err(Error::Corrupt { .. }) => {
                    self.remove(bin)?;
                    lost += 1;
                }
                Err(error) => return Err(error),
            }
        }
        self.wipe()?;
        // A tombstone that has a slot to outlive which cannot be erased.
        for bin in 0..self.bins() {
            let header = self.slot(bin as u32).header;
            if header.is_tombstone() && header.key != name {
                let header = Header::tombstone(bin as u16, self.next_generation()?);
                let old = self.write(header, &Content::Tombstone)?;
                self.clear(old)?;
            }
        }
        if let Access::Sealed(keys) = &mut self.access {
            keys.previous = None;
        }
        Ok(lost)
    }

    /// Erases every slot that holds no dialogue, whatever lies in it.
    ///
    /// # Errors
    /// If one cannot be erased; the others are.
    pub fn wipe(&mut self) -> Result<(), Error<F::Error>> {
        self.check_writable()?;
        self.settle();
        let mut result = Ok(());
        for slot in 0..self.slots {
            let (start, end) = self.record_area(slot);
            let held = matches!(self.state(slot), SlotState::Held | SlotState::Pinned);
            let (flash, stage) = (&mut self.flash, &mut self.stage[..]);
            if held || io::is_blank(flash, start, end, stage).unwrap_or(false) {
                continue;
            }
            result = result.and(self.clear(slot));
        }
        self.damaged = 0;
        self.flush().and(result)?;
        (0..self.common.bins).try_for_each(|bin| self.bury(bin))
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

    /// From behind a slot's header to its end.
    fn record_area(&self, slot: u32) -> (u32, u32) {
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
}
