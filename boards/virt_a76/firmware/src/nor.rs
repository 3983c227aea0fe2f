//! NOR flash with Intel's commands (CFI): a range of two 16-bit chips side by side, each of which sees its
//! half of every 32-bit word.
//!
//! ```text
//! word      | chip 1: command, status | chip 0: the same |      0x0020_0020 is 0x20 to both
//! query     98 at word 0x55; words 0x10..: 'Q' 'R' 'Y', 0x27 log2 bytes, 0x2f block / 256
//! erase     20, d0 at the block; status until bit 7; ff
//! program   40, the word, status until bit 7, for each word; ff
//! status    bit 7 ready; 5 erase failed, 4 program, 3 voltage, 1 locked; 50 clears them
//! ```
//! After every operation both chips read as an array again (`ff`): other ranges of them are read in place.
//! QEMU would set bits too, where a chip cannot; so what is there is compared with what is written first.
//! (Intel, Common Flash Interface and Command Sets, AP-646; JEDEC JEP137.)

use core::fmt;
use core::ops::Range;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// Bytes of an erase block of both chips.
const BLOCK: usize = 256 << 10;
/// Status reads before a chip is given up.
const PATIENCE: u32 = 100_000_000;

const READ_ARRAY: u32 = 0xFF;
const ERASE: u32 = 0x20;
const CONFIRM: u32 = 0xD0;
const CLEAR_STATUS: u32 = 0x50;
const QUERY: u32 = 0x98;
const PROGRAM: u32 = 0x40;
const READY: u32 = 0x80;
/// Erase, program, voltage, lock.
const FAILURES: u32 = 0x3A;

/// A range of the chips.
#[derive(Debug)]
pub struct Nor {
    /// The first word of the chips.
    chips: *mut u32,
    /// Bytes of both.
    range: Range<u32>,
}

/// Why an operation on [`Nor`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NorError {
    /// The range is not aligned or ends behind the capacity.
    Range(NorFlashErrorKind),
    /// The write would set a bit that is clear.
    NotErased {
        /// The first such word.
        offset: u32,
    },
    /// The chips do not answer a query as two of these do.
    NoChip {
        /// The word where `Q` should be.
        found: u32,
    },
    /// They are not ready after a long while.
    Timeout,
    /// They say that they failed.
    Failed {
        /// The status of both.
        status: u32,
        /// The byte of the chips that was erased or programmed.
        at: u32,
    },
}

impl fmt::Display for NorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NorError::Range(kind) => kind.fmt(f),
            NorError::NotErased { offset } => write!(f, "the word at {offset} is not erased"),
            NorError::NoChip { found } => write!(f, "no two flash chips: {found:#010x}"),
            NorError::Timeout => f.write_str("the flash chips are not ready"),
            NorError::Failed { status, at } => {
                write!(f, "the flash chips failed at {at:#010x}: {status:#010x}")
            }
        }
    }
}

impl core::error::Error for NorError {}

impl NorFlashError for NorError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            NorError::Range(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// `command` to both chips.
const fn both(command: u32) -> u32 {
    command << 16 | command
}

impl Nor {
    /// The bytes `range`, whole blocks, of the chips whose first byte lies at the address `chips`.
    ///
    /// # Errors
    /// If there are no such chips, or the range is not one of theirs.
    ///
    /// # Safety
    /// The range of the chips is mapped as a device, their first KiB to be read. No other value of this type
    /// and no reference is to bytes of the range. One processor uses the chips, and no interrupt does.
    pub unsafe fn new(chips: usize, range: Range<u32>) -> Result<Self, NorError> {
        let chips = core::ptr::with_exposed_provenance_mut::<u32>(chips);
        let mut nor = Nor { chips, range };
        let block = BLOCK as u32;
        if !nor.range.start.is_multiple_of(block) || !nor.range.end.is_multiple_of(block) {
            return Err(NorError::Range(NorFlashErrorKind::NotAligned));
        }
        if nor.range.is_empty() {
            return Err(NorError::Range(NorFlashErrorKind::OutOfBounds));
        }
        // They take a command at any of their addresses, of which only the range is ours to write.
        let base = nor.range.start;
        nor.set(base + 0x55 * 4, QUERY);
        // SAFETY: the first KiB is mapped, and nobody else looks at it while the chips answer.
        let answer = |word| unsafe { chips.wrapping_add(word).read_volatile() };
        let [q, r, y, bytes, low, high] = [0x10, 0x11, 0x12, 0x27, 0x2F, 0x30].map(answer);
        nor.array(base);
        if [q, r, y] != [b'Q', b'R', b'Y'].map(|letter| both(u32::from(letter))) {
            return Err(NorError::NoChip { found: q });
        }
        let of_one = |word: u32| word & 0xFF;
        let erased = 2 * 256 * (of_one(high) << 8 | of_one(low)) as usize;
        let capacity = 2u64 << of_one(bytes);
        if erased != BLOCK || u64::from(nor.range.end) > capacity {
            return Err(NorError::Range(NorFlashErrorKind::OutOfBounds));
        }
        Ok(nor)
    }

    /// The word at byte `at` of the chips.
    fn word(&self, at: u32) -> *mut u32 {
        assert!(at.is_multiple_of(4) && self.range.contains(&at), "a word of another range");
        self.chips.wrapping_byte_add(at as usize)
    }

    /// Reads the word at byte `at` of the chips.
    fn get(&self, at: u32) -> u32 {
        // SAFETY: `word` gives aligned addresses of the range, which the caller of `new` vouches for.
        unsafe { self.word(at).read_volatile() }
    }

    /// Writes a word, or to both chips a command.
    fn put(&mut self, at: u32, word: u32) {
        // SAFETY: as in `get`; what chips do with it changes bytes of the range only, which nobody else has.
        unsafe { self.word(at).write_volatile(word) }
    }

    /// Commands both chips.
    fn set(&mut self, at: u32, command: u32) {
        self.put(at, both(command));
    }

    /// Has both chips read as an array.
    fn array(&mut self, at: u32) {
        self.set(at, READ_ARRAY);
        // What is loaded in place behind this must not be loaded before it.
        // SAFETY: a barrier changes no memory.
        unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
    }

    /// Waits until both chips are ready, and gives their status.
    fn ready(&self, at: u32) -> Result<u32, NorError> {
        for _ in 0..PATIENCE {
            let status = self.get(at);
            if status & both(READY) == both(READY) {
                return Ok(status);
            }
        }
        Err(NorError::Timeout)
    }

    /// Waits for the end of an operation at `at`.
    fn finish(&mut self, at: u32) -> Result<(), NorError> {
        let status = self.ready(at)?;
        if status & both(FAILURES) == 0 {
            return Ok(());
        }
        self.set(at, CLEAR_STATUS);
        Err(NorError::Failed { status, at })
    }

    fn erase_blocks(&mut self, from: u32, to: u32) -> Result<(), NorError> {
        (from..to).step_by(BLOCK).try_for_each(|at| {
            self.set(at, ERASE);
            self.set(at, CONFIRM);
            self.finish(at)
        })
    }

    fn program(&mut self, at: u32, words: &[[u8; 4]]) -> Result<(), NorError> {
        (at..).step_by(4).zip(words).try_for_each(|(at, word)| {
            self.set(at, PROGRAM);
            self.put(at, u32::from_le_bytes(*word));
            self.finish(at)
        })
    }
}

impl ErrorType for Nor {
    type Error = NorError;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorError> {
        check_read(self, offset, bytes.len()).map_err(NorError::Range)?;
        let mut at = self.range.start + offset;
        let mut left = bytes;
        while !left.is_empty() {
            let word = self.get(at - at % 4).to_le_bytes();
            let word = &word[(at % 4) as usize..];
            let (now, later) = left.split_at_mut(word.len().min(left.len()));
            now.copy_from_slice(&word[..now.len()]);
            at += now.len() as u32;
            left = later;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.range.len()
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorError> {
        check_erase(self, from, to).map_err(NorError::Range)?;
        let start = self.range.start;
        let done = self.erase_blocks(start + from, start + to);
        self.array(start + from);
        done
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorError> {
        check_write(self, offset, bytes.len()).map_err(NorError::Range)?;
        let (words, _) = bytes.as_chunks::<4>();
        for (word, offset) in words.iter().zip((offset..).step_by(4)) {
            let new = u32::from_le_bytes(*word);
            if self.get(self.range.start + offset) & new != new {
                return Err(NorError::NotErased { offset });
            }
        }
        let at = self.range.start + offset;
        let done = self.program(at, words);
        self.array(at);
        done
    }
}
