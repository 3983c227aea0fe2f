//! The sample buffer: a fixed number of 22 KiB bins in flash, one dialogue each, that keeps the old
//! or the new dialogue of a bin wherever the power is cut.
//!
//! ```text
//! flash   [ superblock ][ slot 0 ][ slot 1 ] ... [ slot S-1 ]      S > bins; all whole erase blocks
//! slot    [ slot header ][ record header ][ text: postcard ][ embedding: f16 ]
//!           after its      last, vouches     preferred, messages
//!           erase: count   for the rest
//! put     the least worn free slot, which is erased; text and embedding; barrier; read back; header;
//!         barrier; read back.  Then the bin's old slot is erased and gets its slot header.
//! mount   the superblock, and both headers of every slot: of a bin's records the one with the highest
//!         generation counts.  Nothing is written.
//! remove  put a header without a record (a tombstone), erase the bin's records, erase the tombstone
//! level   where free slots were erased 32 times more than a slot whose record never changes, that
//!         record moves into the most worn free slot
//! ```
//!
//! A header counts when its CRC is right; it is written after what it vouches for, so a torn put
//! leaves a slot without a valid header and the bin keeps its previous record. Text and embedding
//! have a CRC each, checked when they are read; sealed ones have tags too. A slot that cannot be
//! erased or written is passed over. No unit of the flash is written twice between two erases. All
//! bytes are drawn in [`layout`] and [`header`].
//!
//! The index lies in memory that the caller lends or gives; selection reads its scores from there and
//! only its embeddings from flash.

use embedded_storage::nor_flash::NorFlash;

mod answer;
pub mod crc;
mod erase;
mod error;
#[cfg(feature = "std")]
pub mod file;
mod format;
pub mod header;
pub mod layout;
mod mount;
mod observe;
mod put;
mod read;
pub mod record;
#[cfg(feature = "std")]
pub mod v1;
mod wear;
mod write;

pub use crate::seal::Seal;
pub use answer::Answer;
pub use error::Error;
pub use format::format;
pub use layout::{BinInfo, Flags, RECORD_BYTES, flash_bytes, slots};
pub use observe::{Observed, View};
pub use put::Put;
pub use record::{Embedding, Message, Messages, Sample};
pub use wear::Wear;

use crate::plant;
use crate::seal::{Key, KeyName, Random};
use header::NO_KEY;
use layout::{Common, SlotState};

/// Bytes of memory for a unit of most flashes; where a unit is longer, `Samples<F, I, UNIT>`.
pub const STAGE: usize = 512;

/// The buffer over flash `F`, with its index in `I`: `&mut [BinInfo]`, an array or a `Vec`, of
/// [`slots`] entries.
#[derive(Debug)]
pub struct Samples<F: NorFlash, I, const STAGE: usize = 512> {
    flash: F,
    index: I,
    common: Common,
    slots: u32,
    /// The next put's generation.
    generation: u64,
    access: Access,
    barrier: fn(&mut F) -> Result<(), F::Error>,
    /// Slots whose record header is neither valid nor erased, or cannot be read.
    damaged: u32,
    /// Whether records that a cut left behind were erased.
    settled: bool,
    stage: [u8; STAGE],
}

/// How much of the records can be seen.
#[derive(Clone, Debug)]
enum Access {
    /// They are plain.
    Plain,
    /// They are sealed, and here are the keys.
    Sealed(Keys),
    /// They are sealed, and there is no key: sizes, generations and CRCs can be seen.
    Blind,
}

/// [`Seal`] with the keys' names, which are not worked out for every record.
#[derive(Clone, Debug)]
struct Keys {
    current: (KeyName, Key),
    previous: Option<(KeyName, Key)>,
    random: Random,
}

impl From<Seal> for Keys {
    fn from(seal: Seal) -> Self {
        let named = |key: Key| (key.name(), key);
        let Seal { key, previous, random } = seal;
        Keys { current: named(key), previous: previous.map(named), random }
    }
}

impl Access {
    /// The key of a record, `None` where it is plain.
    fn key(&self, name: KeyName) -> Result<Option<&Key>, KeyName> {
        match self {
            Access::Sealed(keys) if name != NO_KEY => {
                let keys = [Some(&keys.current), keys.previous.as_ref()];
                let found = keys.into_iter().flatten().find(|(one, _)| *one == name);
                found.map(|(_, key)| Some(key)).ok_or(name)
            }
            Access::Plain if name == NO_KEY => Ok(None),
            _ => Err(name),
        }
    }
}

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Samples<F, I, STAGE> {
    /// Calls `barrier` after every payload and after every header: what was written before it must
    /// be durable before what is written after it. For flash behind a cache, as a file is.
    #[must_use]
    pub fn with_barrier(mut self, barrier: fn(&mut F) -> Result<(), F::Error>) -> Self {
        self.barrier = barrier;
        self
    }

    /// How many bins there are.
    pub fn bins(&self) -> usize {
        self.common.bins
    }

    /// Whether records are sealed.
    pub fn is_sealed(&self) -> bool {
        self.common.sealed
    }

    /// Whether records are sealed and there is no key.
    pub fn is_blind(&self) -> bool {
        matches!(self.access, Access::Blind)
    }

    /// Slots in which something lies that is no record: a put that was cut, or a record that was
    /// damaged and is lost.
    pub fn damaged(&self) -> usize {
        self.damaged as usize
    }

    /// What the index knows of `bin`; `None` if it is free or there is no such bin.
    pub fn info(&self, bin: usize) -> Option<&BinInfo> {
        self.index.as_ref()[..self.common.bins].get(bin).filter(|info| info.is_used())
    }

    /// The bins in use and what the index knows of them.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &BinInfo)> {
        let index = &self.index.as_ref()[..self.common.bins];
        index.iter().enumerate().filter(|(_, info)| info.is_used())
    }

    /// The flash.
    pub fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    /// The flash and the index, given back.
    pub fn into_parts(self) -> (F, I) {
        (self.flash, self.index)
    }

    fn check_bin(&self, bin: usize) -> Result<(), Error<F::Error>> {
        let bins = self.common.bins;
        if bin < bins { Ok(()) } else { Err(Error::NoSuchBin { bin, bins }) }
    }

    fn used(&self, bin: usize) -> Result<&BinInfo, Error<F::Error>> {
        self.check_bin(bin)?;
        self.info(bin).ok_or(Error::Empty { bin })
    }

    fn slot_start(&self, slot: u32) -> u32 {
        (layout::first_slot::<F>() + slot as usize * layout::slot_bytes::<F>()) as u32
    }

    /// What is known of a slot, by the slot's number.
    fn slot(&mut self, slot: u32) -> &mut BinInfo {
        &mut self.index.as_mut()[slot as usize]
    }

    fn state(&self, slot: u32) -> SlotState {
        self.index.as_ref()[slot as usize].state
    }
}

#[cfg(test)]
mod tests;
