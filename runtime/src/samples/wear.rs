//! Keeps slots about equally worn: the least worn free slot is written, and records that never change
//! move out of slots that are hardly worn.

use embedded_storage::nor_flash::NorFlash;

use super::header::{self, HEADER_BYTES};
use super::layout::{self, BinInfo, SlotState};
use super::plant::{Bug, planted};
use super::{Error, Samples, format, put};
use crate::flash::io;

/// How far the erases of free slots may be above those of a slot that is held. A put costs an erase,
/// and one more in so many.
pub(super) const SPREAD: u32 = 32;

/// How worn the slots are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// Slots.
    pub slots: usize,
    /// Of those, free ones.
    pub free: usize,
    /// Of those, ones that failed since the mount.
    pub bad: usize,
    /// Erases of the least worn slot.
    pub least: u32,
    /// Erases of the most worn slot.
    pub most: u32,
    /// Erases of all slots.
    pub total: u64,
}

fn is_free(state: SlotState) -> bool {
    matches!(state, SlotState::Ready | SlotState::Used)
}

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Samples<F, I, STAGE> {
    /// How worn the slots are.
    pub fn wear(&self) -> Wear {
        let entries = &self.index.as_ref()[..self.slots as usize];
        let count = |what: fn(SlotState) -> bool| entries.iter().filter(|e| what(e.state)).count();
        let erases = entries.iter().map(|entry| entry.erases);
        Wear {
            slots: entries.len(),
            free: count(is_free),
            bad: count(|state| state == SlotState::Bad),
            least: erases.clone().min().unwrap_or(0),
            most: erases.clone().max().unwrap_or(0),
            total: erases.map(u64::from).sum(),
        }
    }

    /// The free slot that is to be written next: the least worn, of those one that is erased.
    pub(super) fn least_worn(&self) -> Option<u32> {
        let key = |entry: &BinInfo| (entry.erases, entry.state == SlotState::Used);
        self.free().min_by_key(|(_, entry)| key(entry)).map(|(slot, _)| slot)
    }

    fn free(&self) -> impl Iterator<Item = (u32, &BinInfo)> {
        let entries = &self.index.as_ref()[..self.slots as usize];
        (0..).zip(entries).filter(|(_, entry)| is_free(entry.state))
    }

    /// Moves the record of the least worn slot into the most worn free one, if they are far apart.
    pub(super) fn level(&mut self) {
        let least = self.free().map(|(_, entry)| entry.erases).min();
        let most = self.free().max_by_key(|(_, entry)| entry.erases).map(|(slot, _)| slot);
        let entries = (0..).zip(&self.index.as_ref()[..self.slots as usize]);
        let held = entries.filter(|(_, entry)| entry.state == SlotState::Held);
        let cold = held.map(|(slot, entry)| (entry.erases, slot)).min();
        let (Some(least), Some(to), Some((erases, from))) = (least, most, cold) else { return };
        if least.saturating_sub(erases) < SPREAD || planted(Bug::NoLevelling) {
            return;
        }
        // What goes wrong costs wear, not records: the put goes on.
        let before = self.state(to);
        match self.copy(from, to) {
            Ok(true) => {}
            Ok(false) => self.slot(from).state = SlotState::Pinned,
            Err(_) => self.slot(to).state = put::failed(before),
        }
    }

    /// Copies a record as it lies there and erases its old slot; `false` if it cannot be read.
    fn copy(&mut self, from: u32, to: u32) -> Result<bool, Error<F::Error>> {
        let bins = &self.index.as_ref()[..self.common.bins];
        let bin = bins.iter().position(|info| info.slot == from);
        let Some(bin) = bin else { return Ok(false) };
        let header = self.slot(bin as u32).header;
        let mut bytes = [0; HEADER_BYTES];
        if self.record_header(from, &mut bytes).is_err()
            || !layout::has_crc(&bytes)
            || !self.is_whole(from, &header).unwrap_or(false)
        {
            return Ok(false);
        }
        self.prepare(to)?;
        let payload = layout::payload_at::<F>() as u32;
        let (source, target) = (self.slot_start(from) + payload, self.slot_start(to) + payload);
        let whole = io::padded::<F>(header.payload_bytes()) as u32;
        let room = (STAGE - STAGE % io::unit::<F>()) as u32;
        for at in (0..whole).step_by(room as usize) {
            let piece = &mut self.stage[..room.min(whole - at) as usize];
            self.flash.read(source + at, piece).map_err(Error::Flash)?;
            self.flash.write(target + at, piece).map_err(Error::Flash)?;
        }
        self.flush()?;
        if !self.is_whole(to, &header)? {
            return Err(Error::NoSlot { tried: 1 });
        }
        let bytes = header::moved(bytes, self.slot(to).erases);
        let at = self.slot_start(to) + layout::header_at::<F>() as u32;
        format::write(&mut self.flash, &mut self.stage, at, &bytes)?;
        self.flush()?;
        let mut seen = [0; HEADER_BYTES];
        self.record_header(to, &mut seen).map_err(Error::Flash)?;
        if seen != bytes {
            return Err(Error::NoSlot { tried: 1 });
        }
        let held = self.slot(bin as u32);
        held.slot = to;
        held.header.moves = held.header.moves.saturating_add(1);
        self.slot(to).state = SlotState::Held;
        // The copy counts, whatever becomes of the original.
        let _ = self.clear(from);
        Ok(true)
    }
}
