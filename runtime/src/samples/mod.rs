//! The sample buffer: a fixed number of 22 KiB bins in flash, one dialogue each, that keeps the old
//! or the new dialogue of a bin wherever the power is cut.
//!
//! ```text
//! flash   [ superblock: 1 erase block ][ slot 0 ][ slot 1 ] ... [ slot S-1 ]      S > bins
//! slot    whole erase blocks that hold one record of at most 22 KiB: 6 of 4 KiB, 1 of 32 KiB
//!         and up
//! record  [ header 128 B ][ text, padded to 32 B ][ embedding, f16 ]
//!           written last    postcard: preferred text, messages
//! put     choose a free slot, round-robin; erase it; write text and embedding; barrier;
//!         write the header; barrier.  The bin's old slot is now free.
//! mount   read the superblock and every header: of the valid headers that name a bin the one
//!         with the highest generation is the bin's
//! remove  put a header without a record (a tombstone), then erase the bin's old slots
//! ```
//!
//! A header counts when its CRC is right; it is written after what it vouches for, so a torn put
//! leaves a slot without a valid header and the bin keeps its previous record. Text and embedding
//! have a CRC each, checked when they are read. All bytes are drawn in [`layout`].
//!
//! The index, one [`BinInfo`] per bin, lies in memory that the caller lends or gives; selection
//! reads its scores from there and only its embeddings from flash.
//!
//! Cold records stay where they are: with few spare slots and a few bins that are written all the
//! time, those slots wear out first.

use embedded_storage::nor_flash::NorFlash;

pub mod crc;
mod error;
#[cfg(feature = "std")]
pub mod file;
pub mod layout;
mod observe;
pub mod record;
mod write;

pub use error::Error;
pub use layout::{BinInfo, Flags, RECORD_BYTES, flash_bytes};
pub use observe::{Observed, View};
pub use record::{Embedding, Message, Messages, Sample};

use layout::{HEADER_BYTES, Header, SUPERBLOCK_BYTES};

/// The buffer over flash `F`, with its index in `I`: `&mut [BinInfo]`, an array or a `Vec`.
#[derive(Debug)]
pub struct Samples<F: NorFlash, I> {
    flash: F,
    index: I,
    bins: usize,
    slots: u32,
    /// Where the search for a free slot starts.
    cursor: u32,
    /// The next put's generation.
    generation: u64,
    barrier: fn(&mut F) -> Result<(), F::Error>,
}

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Messages, oldest first, that had no room and were left out.
    pub lost_turns: usize,
    /// Bytes of the record, of at most [`RECORD_BYTES`].
    pub bytes: usize,
}

/// Erases all of `flash` and makes it a buffer of `bins` empty bins.
///
/// # Errors
/// If `flash` does not suit the layout, holds less than [`flash_bytes`] or fails.
pub fn format<F: NorFlash>(flash: &mut F, bins: usize) -> Result<(), Error<F::Error>> {
    layout::check::<F>()?;
    let needed = flash_bytes(bins, 1, F::ERASE_SIZE);
    if bins == 0 || bins > layout::MOST_BINS || flash.capacity() < needed {
        return Err(Error::Capacity { bins, needed, available: flash.capacity() });
    }
    let end = flash.capacity() - flash.capacity() % F::ERASE_SIZE;
    let end = u32::try_from(end).map_err(|_| Error::Geometry)?;
    // The superblock goes first and comes last, so that a torn format is no buffer.
    for from in (0..end).step_by(F::ERASE_SIZE) {
        flash.erase(from, from + F::ERASE_SIZE as u32).map_err(Error::Flash)?;
    }
    let superblock = layout::superblock(bins as u16, layout::slot_bytes(F::ERASE_SIZE));
    flash.write(0, &superblock).map_err(Error::Flash)
}

/// The bins of the buffer in `flash`: what an index for [`Samples::mount`] needs.
///
/// # Errors
/// If `flash` holds no buffer, one of another version or geometry, or fails.
pub fn bins_of<F: NorFlash>(flash: &mut F) -> Result<usize, Error<F::Error>> {
    layout::check::<F>()?;
    if flash.capacity() < SUPERBLOCK_BYTES {
        return Err(Error::Unformatted);
    }
    let mut bytes = [0; SUPERBLOCK_BYTES];
    flash.read(0, &mut bytes).map_err(Error::Flash)?;
    let bins = layout::read_superblock(&bytes, layout::slot_bytes(F::ERASE_SIZE))?;
    let needed = flash_bytes(bins, 1, F::ERASE_SIZE);
    if flash.capacity() < needed {
        return Err(Error::Capacity { bins, needed, available: flash.capacity() });
    }
    Ok(bins)
}

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>> Samples<F, I> {
    /// Opens the buffer that [`format()`] made; `index` needs one entry per bin. Reads headers only.
    ///
    /// # Errors
    /// If `flash` holds no buffer, one of another version or geometry, or fails, or if `index` is
    /// too short.
    pub fn mount(mut flash: F, mut index: I) -> Result<Self, Error<F::Error>> {
        let bins = bins_of(&mut flash)?;
        if index.as_ref().len() < bins {
            return Err(Error::Index { needed: bins, available: index.as_ref().len() });
        }
        index.as_mut().fill(BinInfo::FREE);
        let room = flash.capacity().min(u32::MAX as usize) - F::ERASE_SIZE;
        let slots = (room / layout::slot_bytes(F::ERASE_SIZE)) as u32;
        let mut samples =
            Samples { flash, index, bins, slots, cursor: 0, generation: 1, barrier: |_| Ok(()) };
        for slot in 0..slots {
            let Some(header) = samples.header(slot)? else { continue };
            if header.generation >= samples.generation {
                samples.generation = header.generation + 1;
                samples.cursor = (slot + 1) % slots;
            }
            let held = samples.index.as_mut().get_mut(usize::from(header.bin));
            if let Some(info) = held.filter(|info| {
                usize::from(header.bin) < bins && info.header.generation < header.generation
            }) {
                *info = BinInfo { slot, header };
            }
        }
        Ok(samples)
    }

    /// Calls `barrier` after every payload and after every header: what was written before it must
    /// be durable before what is written after it. For flash behind a cache, as a file is.
    #[must_use]
    pub fn with_barrier(mut self, barrier: fn(&mut F) -> Result<(), F::Error>) -> Self {
        self.barrier = barrier;
        self
    }

    /// How many bins there are.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// What the index knows of `bin`; `None` if it is free or there is no such bin.
    pub fn info(&self, bin: usize) -> Option<&BinInfo> {
        self.index.as_ref()[..self.bins].get(bin).filter(|info| info.is_used())
    }

    /// The bins in use and what the index knows of them.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &BinInfo)> {
        let index = &self.index.as_ref()[..self.bins];
        index.iter().enumerate().filter(|(_, info)| info.is_used())
    }

    /// Writes `sample` to `bin`, in place of what is there. Where it is longer than a record its
    /// oldest messages are left out, down to the last one.
    ///
    /// # Errors
    /// If there is no such bin, the last message alone does not fit, or the flash fails: then the
    /// bin holds what it held.
    pub fn put(&mut self, bin: usize, sample: &Sample<'_>) -> Result<Put, Error<F::Error>> {
        self.check_bin(bin)?;
        let fit = record::fit(sample)
            .map_err(|needed| Error::TooLong { needed, available: RECORD_BYTES })?;
        let mut header = Header::of(bin as u16, self.next_generation()?, sample);
        header.lost_turns = sample.lost_turns.saturating_add(fit.skipped as u32);
        let slot = self.free_slot()?;
        let start = self.clear(slot)?;
        let mut writer = write::Writer::new(&mut self.flash, start + HEADER_BYTES as u32);
        (header.text_bytes, header.text_crc) = writer.text(sample, fit.skipped)?;
        (header.components, header.embedding_crc) = writer.embedding(&sample.embedding)?;
        self.seal(bin, slot, header)?;
        Ok(Put { lost_turns: fit.skipped, bytes: fit.bytes })
    }

    /// Reads the dialogue of `bin` into `scratch`; [`RECORD_BYTES`] always suffice.
    ///
    /// # Errors
    /// If the bin is free, `scratch` is too small, the record is corrupt or the flash fails.
    pub fn read<'s>(
        &mut self,
        bin: usize,
        scratch: &'s mut [u8],
    ) -> Result<Sample<'s>, Error<F::Error>> {
        let BinInfo { slot, header } = *self.used(bin)?;
        let (text, whole) = (header.text_bytes as usize, header.record_bytes() - HEADER_BYTES);
        let available = scratch.len();
        let bytes = scratch
            .get_mut(..layout::padded(whole))
            .ok_or(Error::Scratch { needed: layout::padded(whole), available })?;
        let start = self.slot_start(slot) + HEADER_BYTES as u32;
        self.flash.read(start, bytes).map_err(Error::Flash)?;
        let bytes = &bytes[..whole];
        let embedding = &bytes[layout::padded(text)..];
        if crc::of(&bytes[..text]) != header.text_crc || crc::of(embedding) != header.embedding_crc
        {
            return Err(Error::Corrupt { bin });
        }
        record::decode(&header, &bytes[..text], embedding).ok_or(Error::Corrupt { bin })
    }

    /// Reads the embedding of `bin` into `out (D)`.
    ///
    /// # Errors
    /// If the bin is free, its embedding has another length or is corrupt, or the flash fails.
    pub fn embedding(&mut self, bin: usize, out: &mut [f32]) -> Result<(), Error<F::Error>> {
        let BinInfo { slot, header } = *self.used(bin)?;
        let stored = header.components as usize;
        if stored != out.len() {
            return Err(Error::Embedding { bin, stored, asked: out.len() });
        }
        let text = layout::padded(header.text_bytes as usize);
        let mut at = self.slot_start(slot) + (HEADER_BYTES + text) as u32;
        let mut crc = crc::Crc::new();
        let mut bytes = [0; 128];
        for out in out.chunks_mut(bytes.len() / 2) {
            let whole = &mut bytes[..layout::padded(2 * out.len())];
            self.flash.read(at, whole).map_err(Error::Flash)?;
            at += whole.len() as u32;
            let whole = &whole[..2 * out.len()];
            crc.add(whole);
            for (x, f16) in out.iter_mut().zip(Embedding::Stored(whole).iter()) {
                *x = f16;
            }
        }
        if crc.value() == header.embedding_crc { Ok(()) } else { Err(Error::Corrupt { bin }) }
    }

    /// Empties `bin` and erases its records, older ones included. A free bin stays one.
    ///
    /// # Errors
    /// If there is no such bin or the flash fails; after a failed erase the bin is empty but old
    /// text may still lie in the flash.
    pub fn remove(&mut self, bin: usize) -> Result<(), Error<F::Error>> {
        self.check_bin(bin)?;
        if self.info(bin).is_none() {
            return Ok(());
        }
        let header = Header::tombstone(bin as u16, self.next_generation()?);
        let slot = self.free_slot()?;
        self.clear(slot)?;
        self.seal(bin, slot, header)?;
        for old in (0..self.slots).filter(|&old| old != slot) {
            if self.header(old)?.is_some_and(|header| usize::from(header.bin) == bin) {
                self.clear(old)?;
            }
        }
        (self.barrier)(&mut self.flash).map_err(Error::Flash)
    }

    /// The flash.
    pub fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    /// The flash and the index, given back.
    pub fn into_parts(self) -> (F, I) {
        (self.flash, self.index)
    }

    /// Writes the header, which makes the slot the bin's.
    fn seal(&mut self, bin: usize, slot: u32, header: Header) -> Result<(), Error<F::Error>> {
        (self.barrier)(&mut self.flash).map_err(Error::Flash)?;
        let start = self.slot_start(slot);
        self.flash.write(start, &header.bytes()).map_err(Error::Flash)?;
        (self.barrier)(&mut self.flash).map_err(Error::Flash)?;
        self.index.as_mut()[bin] = BinInfo { slot, header };
        Ok(())
    }

    fn check_bin(&self, bin: usize) -> Result<(), Error<F::Error>> {
        if bin < self.bins { Ok(()) } else { Err(Error::NoSuchBin { bin, bins: self.bins }) }
    }

    fn used(&self, bin: usize) -> Result<&BinInfo, Error<F::Error>> {
        self.check_bin(bin)?;
        self.info(bin).ok_or(Error::Empty { bin })
    }

    fn slot_start(&self, slot: u32) -> u32 {
        F::ERASE_SIZE as u32 + slot * layout::slot_bytes(F::ERASE_SIZE) as u32
    }

    fn header(&mut self, slot: u32) -> Result<Option<Header>, Error<F::Error>> {
        let mut bytes = [0; HEADER_BYTES];
        let start = self.slot_start(slot);
        self.flash.read(start, &mut bytes).map_err(Error::Flash)?;
        Ok(Header::parse(&bytes))
    }

    /// A generation is used up even if its put fails: it may be in the flash all the same.
    fn next_generation(&mut self) -> Result<u64, Error<F::Error>> {
        let generation = self.generation;
        if generation >= layout::LAST_GENERATION {
            return Err(Error::Generations);
        }
        self.generation += 1;
        Ok(generation)
    }

    /// The next slot that no bin holds.
    fn free_slot(&mut self) -> Result<u32, Error<F::Error>> {
        let index = &self.index.as_ref()[..self.bins];
        let slot = (0..self.slots)
            .map(|step| (self.cursor + step) % self.slots)
            .find(|&slot| index.iter().all(|info| info.slot != slot));
        // Slots outnumber bins, so there is one.
        let slot = slot.ok_or(Error::Geometry)?;
        self.cursor = (slot + 1) % self.slots;
        Ok(slot)
    }

    /// Erases a slot and gives its start.
    fn clear(&mut self, slot: u32) -> Result<u32, Error<F::Error>> {
        let start = self.slot_start(slot);
        let end = start + layout::slot_bytes(F::ERASE_SIZE) as u32;
        self.flash.erase(start, end).map_err(Error::Flash)?;
        Ok(start)
    }
}

#[cfg(test)]
mod tests;
