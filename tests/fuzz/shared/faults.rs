//! What goes wrong with the flash while a buffer is on it.

use homespun_runtime::flash::faulty::{Broken, FaultyFlash};

use super::Bytes;

/// What went wrong so far. One block breaks at most, and there is damage once at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Whether a block is broken.
    pub broken: bool,
    /// Whether a read fails or failed since the mount.
    pub read_fails: bool,
    /// Whether what was written can be gone: a bit was flipped, or a block does not read.
    pub damaged: bool,
}

impl Faults {
    /// Fault 11 or 12 is a cut to come, torn or not; 13 a block that breaks; 14 a read that will fail;
    /// any other a bit that flips.
    pub fn next<const R: usize, const W: usize, const E: usize>(
        &mut self,
        flash: &mut FaultyFlash<R, W, E>,
        fault: usize,
        torn: bool,
        bytes: &mut Bytes<'_>,
    ) {
        match fault {
            11 | 12 => flash.set_cut(bytes.word() as u64 % 3000, torn, bytes.byte() as u64),
            13 => self.break_block(flash, bytes),
            14 => {
                flash.read_fails = Some(bytes.byte() as u64);
                self.read_fails = true;
            }
            _ => self.flip(flash, bytes),
        }
    }

    fn break_block<const R: usize, const W: usize, const E: usize>(
        &mut self,
        flash: &mut FaultyFlash<R, W, E>,
        bytes: &mut Bytes<'_>,
    ) {
        let (block, how) = (bytes.word() % (flash.bytes().len() / E), bytes.byte());
        let harmless = [Broken::Erase, Broken::EraseSilently, Broken::Write, Broken::WriteSilently];
        let how = match how % 6 {
            4 => Broken::Bit,
            5 => Broken::Read,
            how => harmless[how],
        };
        let loses = matches!(how, Broken::Bit | Broken::Read);
        if self.broken || loses && self.damaged {
            return;
        }
        self.broken = true;
        self.damaged |= loses;
        flash.broken.push((block, how));
    }

    fn flip<const R: usize, const W: usize, const E: usize>(
        &mut self,
        flash: &mut FaultyFlash<R, W, E>,
        bytes: &mut Bytes<'_>,
    ) {
        let (at, bit) = (bytes.word() | bytes.byte() << 16, bytes.byte() % 8);
        if self.damaged {
            return;
        }
        self.damaged = true;
        let at = at % flash.bytes().len();
        flash.bytes_mut()[at] ^= 1 << bit;
        // Behind a cache it is the disk that is damaged.
        if !flash.is_off() {
            let _ = flash.sync();
        }
    }
}
