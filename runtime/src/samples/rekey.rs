//! Seals every record with another key, and erases what the key before would still open.

use embedded_storage::nor_flash::NorFlash;

use super::header::Header;
use super::layout::{BinInfo, NO_SLOT, SlotState};
use super::put::Content;
use super::{Access, Error, Samples, Seal};
use crate::flash::io;
use crate::seal::Key;

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Samples<F, I, STAGE> {
    /// Seals every record with `key` anew, so that the key before is of no more use; `scratch` as for
    /// [`read`](Self::read). After a cut, mount with `key` and the previous one and call it again.
    /// Records that cannot be read are removed; gives how many.
    ///
    /// # Errors
    /// If the buffer is not sealed or cannot be written: what is there stays, sealed with either key.
    pub fn rekey(&mut self, key: Key, scratch: &mut [u8]) -> Result<usize, Error<F::Error>> {
        let name = key.name();
        let mut lost = 0;
        match &mut self.access {
            Access::Sealed(seal) if seal.key.name() == name => {}
            // One that was cut is ended first: there is room for one previous key.
            Access::Sealed(Seal { key, previous: Some(_), .. }) => {
                let unfinished = key.clone();
                lost += self.rekey(unfinished, scratch)?;
            }
            Access::Sealed(_) => {}
            _ => return Err(Error::Plain),
        }
        if let Access::Sealed(seal) = &mut self.access
            && seal.key.name() != name
        {
            seal.previous = Some(core::mem::replace(&mut seal.key, key));
        }
        for bin in 0..self.bins() {
            let BinInfo { slot, header, .. } = *self.slot(bin as u32);
            if slot == NO_SLOT || header.key == name {
                continue;
            }
            if header.is_tombstone() {
                // One that a cut left: it too has a key that is to open nothing any more.
                let header = Header::tombstone(bin as u16, self.next_generation()?);
                let old = self.write(header, &Content::Tombstone)?;
                let _ = self.clear(old);
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
        if let Access::Sealed(seal) = &mut self.access {
            seal.previous = None;
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
        result.and_then(|()| self.flush())
    }
}
