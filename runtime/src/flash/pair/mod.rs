//! Two halves of a range of flash, written in turn: what is there is the old or the new wherever the
//! power is cut. For an adapter and the state of its training on a device without files.
//!
//! ```text
//! range   [ half 0 ][ half 1 ]                   each whole erase blocks
//! half    [ header, 96 bytes ][ content ][ 0xFF .. ]
//!           written last, vouches for the rest
//! begin   the half that does not count is erased; content is written as it comes
//! commit  barrier; read back; header; barrier; read back
//! mount   both headers: of the valid ones the one with the higher generation counts.  Nothing is
//!         written, and no content is read
//! read    content is checked whole before the first byte is given, sealed or not
//! ```
//! A torn write leaves a half without a valid header, and the other one counts as before. Where the
//! content that counts was damaged since, reading it fails, and the caller may
//! [`fall_back`](Pair::fall_back) to the older one; nothing does so by itself. Generations only grow:
//! where a header is damaged, numbers that it may have had are passed over. No unit of the flash is
//! written twice between two erases. The header is drawn in [`header`].

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

use super::io::{self, twice};
use crate::plant::{Bug, planted};
use crate::samples::layout::LAST_GENERATION;
use crate::seal::Seal;

mod error;
pub mod header;
mod read;
mod write;

pub use error::Error;
pub use header::Header;
pub use write::Write;

use header::HEADER_BYTES;

/// Numbers that are passed over where a header may have held one that was used.
const SKIPPED_GENERATIONS: u64 = 1 << 16;

/// Two halves of a range of flash `F`, with `STAGE` bytes of memory for its units.
#[derive(Debug)]
pub struct Pair<F: NorFlash, const STAGE: usize = 512> {
    flash: F,
    /// Where the first half begins, and the bytes of one.
    from: u32,
    half: u32,
    /// The valid headers.
    headers: [Option<Header>; 2],
    /// The erases of each half, as far as is known.
    erases: [u32; 2],
    /// The half that counts.
    current: Option<usize>,
    /// Whether its content was found whole since the mount.
    checked: bool,
    /// The next write's generation.
    generation: u64,
    damaged: bool,
    seal: Option<Seal>,
    barrier: fn(&mut F) -> Result<(), F::Error>,
    stage: [u8; STAGE],
}

impl<F: NorFlash, const STAGE: usize> Pair<F, STAGE> {
    /// The pair in the bytes `range` of `flash`, empty where they are erased. What is sealed in it
    /// can be looked at and not read.
    ///
    /// # Errors
    /// If the range is not two halves of whole erase blocks within the flash, or the flash's units do
    /// not suit.
    pub fn mount(flash: F, range: Range<u32>) -> Result<Self, Error<F::Error>> {
        Self::mount_with(flash, range, None)
    }

    /// As [`mount`](Self::mount); what is written is sealed, and what is sealed can be read.
    ///
    /// # Errors
    /// As [`mount`](Self::mount). A key that is not there is missed when content is read.
    pub fn mount_sealed(flash: F, range: Range<u32>, seal: Seal) -> Result<Self, Error<F::Error>> {
        Self::mount_with(flash, range, Some(seal))
    }

    fn mount_with(
        flash: F,
        range: Range<u32>,
        seal: Option<Seal>,
    ) -> Result<Self, Error<F::Error>> {
        if !io::suits::<F>(STAGE) {
            return Err(Error::Geometry);
        }
        let Range { start: from, end: to } = range;
        let half = to.saturating_sub(from) / 2;
        let block = F::ERASE_SIZE as u32;
        let whole = from.is_multiple_of(block) && half.is_multiple_of(block);
        let room = half as usize > io::padded::<F>(HEADER_BYTES) && to as usize <= flash.capacity();
        if !whole || !room || to - from != 2 * half {
            let (block, available) = (F::ERASE_SIZE, flash.capacity());
            return Err(Error::Range { from, to, block, available });
        }
        let mut pair = Pair {
            flash,
            from,
            half,
            headers: [None; 2],
            erases: [0; 2],
            current: None,
            checked: false,
            generation: 1,
            damaged: false,
            seal,
            barrier: |_| Ok(()),
            stage: [0; STAGE],
        };
        pair.find();
        if planted(Bug::MountWrites) {
            let other = pair.start(pair.other());
            let _ = pair.flash.erase(other, other + half);
        }
        Ok(pair)
    }

    /// Calls `barrier` after every content and after every header: what was written before it must be
    /// durable before what is written after it. For flash behind a cache, as a file is.
    #[must_use]
    pub fn with_barrier(mut self, barrier: fn(&mut F) -> Result<(), F::Error>) -> Self {
        self.barrier = barrier;
        self
    }

    /// The header of the content that counts; `None` where there is none.
    pub fn info(&self) -> Option<&Header> {
        self.headers[self.current?].as_ref()
    }

    /// The header of the other half, if there is content too.
    pub fn other_info(&self) -> Option<&Header> {
        self.headers[self.other()].as_ref()
    }

    /// Whether a half holds something that is no content: a write that was cut, or content whose
    /// header was damaged or cannot be read.
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// The most bytes of content.
    pub fn capacity(&self) -> usize {
        self.half as usize - io::padded::<F>(HEADER_BYTES)
    }

    /// Lets the other half count from here on, which the next write then leaves alone; until there is
    /// one, the next mount finds the newer again.
    ///
    /// # Errors
    /// If there is no content in the other half: what counted still does.
    pub fn fall_back(&mut self) -> Result<&Header, Error<F::Error>> {
        let other = self.other();
        let header = self.headers[other].as_ref().ok_or(Error::Empty)?;
        (self.current, self.checked) = (Some(other), false);
        Ok(header)
    }

    /// The flash.
    pub fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    /// The flash, given back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// Reads both headers.
    fn find(&mut self) {
        let mut known = [None; 2];
        for (half, known) in known.iter_mut().enumerate() {
            let mut bytes = [0; HEADER_BYTES];
            let start = self.start(half);
            let read = twice(|| io::read(&mut self.flash, start, &mut bytes, &mut self.stage));
            let header = Header::parse(&bytes)
                .filter(|header| read.is_ok() && header.length as usize <= self.capacity());
            let Some(header) = header else {
                self.damaged |= read.is_err() || !io::is_erased(&bytes);
                continue;
            };
            *known = Some(header.erases);
            self.generation = self.generation.max(header.generation + 1);
            let newer = self.info().is_none_or(|other| {
                (other.generation < header.generation) != planted(Bug::OldestWins)
            });
            self.headers[half] = Some(header);
            if newer {
                self.current = Some(half);
            }
        }
        if self.damaged {
            self.generation = self.generation.saturating_add(SKIPPED_GENERATIONS);
        }
        // They are written in turn: what a cut made unknown is about what the other says.
        self.erases = [0, 1].map(|half| known[half].or(known[1 - half]).unwrap_or(0));
    }

    /// The half that does not count.
    fn other(&self) -> usize {
        self.current.map_or(0, |current| 1 - current)
    }

    fn start(&self, half: usize) -> u32 {
        self.from + half as u32 * self.half
    }

    /// Where the content of a half begins.
    fn content_at(&self, half: usize) -> u32 {
        self.start(half) + io::padded::<F>(HEADER_BYTES) as u32
    }

    fn flush(&mut self) -> Result<(), Error<F::Error>> {
        if planted(Bug::NoBarrier) {
            return Ok(());
        }
        (self.barrier)(&mut self.flash).map_err(Error::Flash)
    }

    /// A generation is used up even if its write fails: it may be in the flash all the same.
    fn next_generation(&mut self) -> Result<u64, Error<F::Error>> {
        let generation = self.generation;
        if generation >= LAST_GENERATION {
            return Err(Error::Generations);
        }
        self.generation += 1;
        Ok(generation)
    }
}

#[cfg(test)]
mod tests;
