//! Finds the records that are in the flash. Reads headers and writes nothing.

use embedded_storage::nor_flash::NorFlash;

use super::header::{self, HEADER_BYTES, Header, NO_KEY};
use super::layout::{self, BinInfo, Common, SLOT_HEADER_BYTES, SlotState, slots};
use super::plant::{Bug, planted};
use super::{Access, Error, Samples, Seal, format};
use crate::flash::io::{self, twice};

/// Numbers that are passed over where a header cannot be read: it may hold one that was used.
const SKIPPED_GENERATIONS: u64 = 1 << 16;
/// Erases that are not known yet.
const UNKNOWN: u32 = u32::MAX;

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Samples<F, I, STAGE> {
    /// Opens the plain buffer that [`format()`](super::format()) made; `index` needs [`slots`]
    /// entries.
    ///
    /// # Errors
    /// If `flash` holds no buffer, a sealed one, or one of another version or geometry, or fails, or
    /// if `index` is too short.
    pub fn mount(flash: F, index: I) -> Result<Self, Error<F::Error>> {
        Self::mount_with(flash, index, Access::Plain)
    }

    /// Opens a sealed buffer.
    ///
    /// # Errors
    /// As [`mount`](Self::mount); and if a record was sealed with another key, or they are plain.
    pub fn mount_sealed(flash: F, index: I, seal: Seal) -> Result<Self, Error<F::Error>> {
        Self::mount_with(flash, index, Access::Sealed(seal.into()))
    }

    /// Opens any buffer to look at: what is sealed stays so, and cannot be read or written.
    ///
    /// # Errors
    /// As [`mount`](Self::mount), but for the key.
    pub fn mount_blind(flash: F, index: I) -> Result<Self, Error<F::Error>> {
        Self::mount_with(flash, index, Access::Blind)
    }

    fn mount_with(mut flash: F, mut index: I, access: Access) -> Result<Self, Error<F::Error>> {
        if !io::suits::<F>(STAGE) {
            return Err(Error::Geometry);
        }
        let mut stage = [0; STAGE];
        let common = format::common(&mut flash, &mut stage)?;
        let (bins, available) = (common.bins, flash.capacity());
        let slots = slots::<F>(available);
        if slots <= bins {
            let needed = layout::flash_bytes::<F>(bins, 1);
            return Err(Error::Capacity { bins, needed, available });
        }
        let available = index.as_ref().len();
        if available < slots {
            return Err(Error::Index { needed: slots, available });
        }
        let access = match access {
            Access::Plain if common.sealed => return Err(Error::Sealed),
            Access::Sealed(_) if !common.sealed => return Err(Error::Plain),
            Access::Blind if !common.sealed => Access::Plain,
            access => access,
        };
        index.as_mut().fill(BinInfo::FREE);
        let slots = slots as u32;
        let mut samples = Samples {
            flash,
            index,
            common,
            slots,
            generation: 1,
            access,
            barrier: |_| Ok(()),
            damaged: 0,
            settled: false,
            stage,
        };
        for slot in 0..slots {
            samples.find(slot)?;
        }
        if samples.damaged > 0 {
            samples.generation += SKIPPED_GENERATIONS;
        }
        // A counter that was lost goes on from the least that is known.
        let entries = &mut samples.index.as_mut()[..slots as usize];
        let known = entries.iter().map(|entry| entry.erases).filter(|&erases| erases != UNKNOWN);
        let least = known.min().unwrap_or(0);
        entries.iter_mut().filter(|e| e.erases == UNKNOWN).for_each(|e| e.erases = least);
        if planted(Bug::MountWrites) {
            samples.settle();
        }
        Ok(samples)
    }

    /// Reads the headers of one slot into the index.
    fn find(&mut self, slot: u32) -> Result<(), Error<F::Error>> {
        let start = self.slot_start(slot);
        let (flash, stage) = (&mut self.flash, &mut self.stage[..]);
        let mut bytes = [0; SLOT_HEADER_BYTES];
        let known = twice(|| io::read(flash, start, &mut bytes, stage)).is_ok();
        let erased =
            Common::of_slot::<F>(&bytes).filter(|(common, _)| known && *common == self.common);
        let erases = erased.map(|(_, erases)| erases);
        let mut bytes = [0; HEADER_BYTES];
        if self.record_header(slot, &mut bytes).is_err() {
            self.damaged += 1;
            let entry = self.slot(slot);
            (entry.erases, entry.state) = (erases.unwrap_or(UNKNOWN), SlotState::Bad);
            return Ok(());
        }
        let header = self.valid(&bytes)?;
        let blank = header.is_none() && io::is_erased(&bytes);
        let remembered = header.map(|_| header::erases(&bytes));
        let entry = self.slot(slot);
        entry.erases = erases.or(remembered).unwrap_or(UNKNOWN);
        entry.state = if blank && erases.is_some() { SlotState::Ready } else { SlotState::Used };
        let Some(header) = header else {
            self.damaged += u32::from(!blank);
            return Ok(());
        };
        self.generation = self.generation.max(header.generation + 1);
        let BinInfo { slot: other, header: theirs, .. } = *self.slot(u32::from(header.bin));
        let age = |header: &Header| (header.generation, header.moves);
        let newer = if planted(Bug::OldestWins) {
            other == layout::NO_SLOT || age(&theirs) > age(&header)
        } else {
            age(&theirs) < age(&header)
        };
        if newer {
            if other != layout::NO_SLOT {
                self.slot(other).state = SlotState::Used;
            }
            let held = self.slot(u32::from(header.bin));
            (held.slot, held.header) = (slot, header);
            self.slot(slot).state = SlotState::Held;
        }
        Ok(())
    }

    /// The bytes of a slot's record header.
    pub(super) fn record_header(
        &mut self,
        slot: u32,
        bytes: &mut [u8; HEADER_BYTES],
    ) -> Result<(), F::Error> {
        let start = self.slot_start(slot) + layout::header_at::<F>() as u32;
        twice(|| io::read(&mut self.flash, start, bytes, &mut self.stage))
    }

    /// The header in `bytes`, opened; `None` if they hold none of this buffer.
    ///
    /// # Errors
    /// If its key is not there.
    pub(super) fn valid(
        &self,
        bytes: &[u8; HEADER_BYTES],
    ) -> Result<Option<Header>, Error<F::Error>> {
        let header = Header::parse(bytes, !planted(Bug::Unchecked));
        let ours = |header: &Header| {
            usize::from(header.bin) < self.common.bins
                && (header.key != NO_KEY) == self.common.sealed
        };
        let Some(mut header) = header.filter(ours) else { return Ok(None) };
        if matches!(self.access, Access::Blind) {
            return Ok(Some(header));
        }
        let key = self.access.key(header.key).map_err(|name| Error::Key { name })?;
        Ok(header.open(bytes, key).is_ok().then_some(header))
    }
}
