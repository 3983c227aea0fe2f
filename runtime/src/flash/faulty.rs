//! Flash that fails, for tests: the power goes at any byte, blocks wear out, reads fail, bits flip.
//!
//! ```text
//! step   a programmed byte, or the erase of one block
//! cut    after so many steps the power is off and stays off; clean, or torn: of the word in flight some
//!        bits are programmed, of the block in flight some bytes are erased
//! cache  what was written reaches the flash at `sync`; after a cut any sector may be new or old
//! block  its erase fails, its writes fail, its reads fail, or a bit of it is always clear
//! read   the n-th read fails, once
//! ```
//! A unit is programmed once between two erases; more is refused, and so is setting a clear bit. A unit
//! that a torn write left erased counts as erased: no reader could tell.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// Bytes that a disk writes whole.
const SECTOR: usize = 512;

/// Why an operation on [`FaultyFlash`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The range is not aligned or ends behind the capacity.
    Range(NorFlashErrorKind),
    /// The write would set a clear bit, or writes a unit a second time.
    Programmed,
    /// The power is off.
    PowerCut,
    /// The block does not erase, or write, or read.
    Broken,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Fault::Range(kind) => kind.fmt(f),
            Fault::Programmed => f.write_str("the unit was programmed before"),
            Fault::PowerCut => f.write_str("the power is off"),
            Fault::Broken => f.write_str("the block is broken"),
        }
    }
}

impl core::error::Error for Fault {}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Fault::Range(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Erasing it is refused.
    Erase,
    /// Erasing it leaves its middle as it was, and nobody says so.
    EraseSilently,
    /// Writing it is refused.
    Write,
    /// A byte in its middle is not programmed, and nobody says so.
    WriteSilently,
    /// Its bytes come out with a bit clear.
    Bit,
    /// Reading it is refused.
    Read,
}

/// Flash of `READ`, `WRITE` and `ERASE` bytes that fails as it is told.
#[derive(Clone, Debug)]
pub struct FaultyFlash<const READ: usize = 1, const WRITE: usize = 4, const ERASE: usize = 4096> {
    bytes: Vec<u8>,
    /// A bit for each unit that was written since its erase.
    programmed: Vec<u64>,
    /// What is in the flash for good, where there is a cache.
    behind: Option<Vec<u8>>,
    /// Steps until the power goes, and whether what is in flight is torn.
    cut: Option<(u64, bool)>,
    off: bool,
    /// Blocks that are broken.
    pub broken: Vec<(usize, Broken)>,
    /// Reads until one fails.
    pub read_fails: Option<u64>,
    /// Steps done.
    pub steps: u64,
    /// Erases done, by block.
    pub erases: Vec<u64>,
    random: u64,
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> FaultyFlash<READ, WRITE, ERASE> {
    /// Erased flash of whole blocks with at least `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(ERASE);
        FaultyFlash {
            bytes: vec![0xFF; capacity],
            programmed: vec![0; (capacity / WRITE).div_ceil(64)],
            behind: None,
            cut: None,
            off: false,
            broken: Vec::new(),
            read_fails: None,
            steps: 0,
            erases: vec![0; capacity / ERASE],
            random: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// Puts a cache before the flash.
    pub fn set_cache(&mut self, cache: bool) {
        self.behind = cache.then(|| self.bytes.clone());
    }

    /// The power goes after so many more steps.
    pub fn set_cut(&mut self, steps: u64, torn: bool, seed: u64) {
        self.cut = Some((steps, torn));
        self.random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    }

    /// Whether the power went.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// The power is there again, for good. What a cache held is there or not, sector by sector.
    pub fn power_on(&mut self) {
        if let Some(behind) = &mut self.behind {
            if self.off {
                for at in (0..self.bytes.len()).step_by(SECTOR) {
                    let end = (at + SECTOR).min(self.bytes.len());
                    if next(&mut self.random) & 1 == 0 {
                        self.bytes[at..end].copy_from_slice(&behind[at..end]);
                    }
                }
                // Behind a cache is a disk, which writes what it likes as often as it likes.
                self.programmed.fill(0);
            }
            behind.copy_from_slice(&self.bytes);
        }
        self.cut = None;
        self.off = false;
    }

    /// What was written is in the flash for good.
    ///
    /// # Errors
    /// If the power is off.
    pub fn sync(&mut self) -> Result<(), Fault> {
        if self.off {
            return Err(Fault::PowerCut);
        }
        if let Some(behind) = &mut self.behind {
            behind.copy_from_slice(&self.bytes);
        }
        Ok(())
    }

    /// The bytes as they are.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, to be changed behind the flash's back.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn is_broken(&self, block: usize, how: Broken) -> bool {
        self.broken.contains(&(block, how))
    }

    /// Takes one step; `false` where the power goes instead.
    fn step(&mut self) -> bool {
        if let Some((left, _)) = &mut self.cut {
            if *left == 0 {
                self.off = true;
                return false;
            }
            *left -= 1;
        }
        self.steps += 1;
        true
    }

    fn is_torn(&self) -> bool {
        matches!(self.cut, Some((_, true)))
    }

    fn set_programmed(&mut self, unit: usize, programmed: bool) {
        let bit = 1 << (unit % 64);
        let word = &mut self.programmed[unit / 64];
        *word = if programmed { *word | bit } else { *word & !bit };
    }
}

/// The next number of an xorshift generator.
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> ErrorType
    for FaultyFlash<READ, WRITE, ERASE>
{
    type Error = Fault;
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> ReadNorFlash
    for FaultyFlash<READ, WRITE, ERASE>
{
    const READ_SIZE: usize = READ;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        check_read(self, offset, bytes.len()).map_err(Fault::Range)?;
        if self.off {
            return Err(Fault::PowerCut);
        }
        if let Some(left) = &mut self.read_fails {
            let fails = *left == 0;
            *left = left.wrapping_sub(1);
            if fails {
                self.read_fails = None;
                return Err(Fault::Broken);
            }
        }
        let start = offset as usize;
        bytes.copy_from_slice(&self.bytes[start..][..bytes.len()]);
        if self.broken.is_empty() {
            return Ok(());
        }
        for block in start / ERASE..(start + bytes.len()).div_ceil(ERASE) {
            if self.is_broken(block, Broken::Read) {
                return Err(Fault::Broken);
            }
            // One bit of the block, in the part where records lie.
            let stuck = block * ERASE + ERASE / 2;
            if self.is_broken(block, Broken::Bit)
                && let Some(byte) = stuck.checked_sub(start).and_then(|at| bytes.get_mut(at))
            {
                *byte &= !4;
            }
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> NorFlash
    for FaultyFlash<READ, WRITE, ERASE>
{
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        check_erase(self, from, to).map_err(Fault::Range)?;
        if self.off {
            return Err(Fault::PowerCut);
        }
        for block in from as usize / ERASE..to as usize / ERASE {
            let start = block * ERASE;
            if self.is_broken(block, Broken::Erase) {
                return Err(Fault::Broken);
            }
            if !self.step() {
                if self.is_torn() {
                    // What an erase does to a byte it does not do to all at once.
                    let first = next(&mut self.random) as usize % ERASE;
                    let length = next(&mut self.random) as usize % (ERASE - first);
                    self.bytes[start + first..][..length].fill(0xFF);
                    let bits = next(&mut self.random) as u8;
                    self.bytes[start + first + length] |= bits;
                }
                return Err(Fault::PowerCut);
            }
            self.erases[block] += 1;
            if self.is_broken(block, Broken::EraseSilently) {
                let (a, b) = (start + ERASE / 3, start + 2 * ERASE / 3);
                self.bytes[start..a].fill(0xFF);
                self.bytes[b..start + ERASE].fill(0xFF);
            } else {
                self.bytes[start..start + ERASE].fill(0xFF);
            }
            for unit in start / WRITE..(start + ERASE) / WRITE {
                self.set_programmed(unit, false);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        check_write(self, offset, bytes.len()).map_err(Fault::Range)?;
        if self.off {
            return Err(Fault::PowerCut);
        }
        let start = offset as usize;
        let old = &self.bytes[start..][..bytes.len()];
        let units = start / WRITE..(start + bytes.len()) / WRITE;
        let twice = |unit: usize| self.programmed[unit / 64] >> (unit % 64) & 1 == 1;
        if old.iter().zip(bytes).any(|(old, new)| old & new != *new) || units.clone().any(twice) {
            return Err(Fault::Programmed);
        }
        let blocks = start / ERASE..(start + bytes.len()).div_ceil(ERASE);
        if blocks.into_iter().any(|block| self.is_broken(block, Broken::Write)) {
            return Err(Fault::Broken);
        }
        for unit in units {
            for at in unit * WRITE..(unit + 1) * WRITE {
                if !self.step() {
                    if self.is_torn() {
                        let bits = next(&mut self.random) as u8;
                        self.bytes[at] &= bytes[at - start] | bits;
                    }
                    let word = &self.bytes[unit * WRITE..(unit + 1) * WRITE];
                    let programmed = word.iter().any(|byte| *byte != 0xFF);
                    self.set_programmed(unit, programmed);
                    return Err(Fault::PowerCut);
                }
                let (block, inner) = (at / ERASE, at % ERASE);
                if inner != ERASE / 2 || !self.is_broken(block, Broken::WriteSilently) {
                    self.bytes[at] = bytes[at - start];
                }
            }
            self.set_programmed(unit, true);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_programmed_once_between_two_erases() {
        let mut flash = FaultyFlash::<1, 4, 64>::new(128);
        flash.write(4, &[0xFF, 1, 2, 3]).unwrap();
        assert_eq!(flash.write(4, &[0xFF, 1, 2, 3]), Err(Fault::Programmed));
        assert_eq!(flash.write(2, &[0; 4]), Err(Fault::Range(NorFlashErrorKind::NotAligned)));
        flash.write(8, &[0xFF; 4]).unwrap();
        assert_eq!(flash.write(8, &[0; 4]), Err(Fault::Programmed), "an erased word counts too");
        flash.erase(0, 64).unwrap();
        flash.write(4, &[9; 4]).unwrap();
        assert_eq!((flash.erases[0], flash.erases[1], flash.steps), (1, 0, 13));
    }

    #[test]
    fn the_power_goes_at_the_step_that_was_said() {
        for torn in [false, true] {
            let mut flash = FaultyFlash::<1, 4, 64>::new(128);
            flash.set_cut(6, torn, 7);
            assert_eq!(flash.write(0, &[0; 12]), Err(Fault::PowerCut));
            assert_eq!(flash.read(0, &mut [0; 4]), Err(Fault::PowerCut));
            flash.power_on();
            assert_eq!(flash.bytes()[..6], [0; 6]);
            assert!(torn || flash.bytes()[6] == 0xFF);
            assert_eq!(flash.bytes()[7..], [0xFF; 121]);
            flash.set_cut(0, torn, 7);
            assert_eq!(flash.erase(0, 64), Err(Fault::PowerCut));
            flash.power_on();
            assert!(torn || flash.bytes()[..6] == [0; 6]);
            assert_eq!(flash.write(4, &[0; 4]), Err(Fault::Programmed), "no erase was finished");
        }
    }

    #[test]
    fn a_cache_loses_what_was_not_synced_in_any_order() {
        let mut lost = [0; 2];
        for seed in 0..64 {
            let mut flash = FaultyFlash::<1, 4, 512>::new(1024);
            flash.set_cache(true);
            flash.write(0, &[1; 4]).unwrap();
            flash.sync().unwrap();
            flash.write(4, &[2; 4]).unwrap();
            flash.write(512, &[3; 4]).unwrap();
            flash.set_cut(0, false, seed);
            assert_eq!(flash.write(8, &[4; 4]), Err(Fault::PowerCut));
            flash.power_on();
            assert_eq!(flash.bytes()[..4], [1; 4]);
            lost[0] += u32::from(flash.bytes()[4] == 0xFF && flash.bytes()[512] == 3);
            lost[1] += u32::from(flash.bytes()[4] == 2 && flash.bytes()[512] == 0xFF);
        }
        assert!(lost[0] > 5 && lost[1] > 5, "{lost:?}");
    }

    #[test]
    fn blocks_break_in_every_way() {
        let mut flash = FaultyFlash::<1, 4, 64>::new(64);
        flash.write(0, &[0; 64]).unwrap();
        flash.broken = vec![(0, Broken::Erase)];
        assert_eq!(flash.erase(0, 64), Err(Fault::Broken));
        flash.broken = vec![(0, Broken::EraseSilently)];
        flash.erase(0, 64).unwrap();
        assert!(flash.bytes().contains(&0) && flash.bytes()[0] == 0xFF);
        flash.broken = vec![(0, Broken::Write)];
        assert_eq!(flash.write(0, &[0; 4]), Err(Fault::Broken));
        flash.broken = vec![(0, Broken::WriteSilently)];
        flash.erase(0, 64).unwrap();
        flash.write(20, &[0; 24]).unwrap();
        assert_eq!(flash.bytes()[20..44].iter().position(|byte| *byte == 0xFF), Some(12));
        flash.broken = vec![(0, Broken::Bit)];
        flash.erase(0, 64).unwrap();
        let mut seen = [0; 64];
        flash.broken = vec![(0, Broken::Bit)];
        flash.read(0, &mut seen).unwrap();
        assert_eq!(seen.iter().filter(|byte| **byte != 0xFF).count(), 1);
        flash.broken = vec![(0, Broken::Read)];
        assert_eq!(flash.read(0, &mut seen), Err(Fault::Broken));
        flash.broken.clear();
        flash.read_fails = Some(1);
        let reads: Vec<bool> = (0..4).map(|_| flash.read(0, &mut seen).is_ok()).collect();
        assert_eq!(reads, [true, false, true, true]);
    }
}
