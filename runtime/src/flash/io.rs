//! Any range of any NOR flash: reads and writes of the flash's own units through a small memory.
//!
//! ```text
//! unit    the least common multiple of READ_SIZE and WRITE_SIZE: what is written once begins and ends
//!         at multiples of it, so that it can be read alone
//! stage   memory of a unit at least, lent by the caller
//! ```

use embedded_storage::nor_flash::NorFlash;

/// The least common multiple of what the flash reads and writes at once; 0 if one of them is 0.
pub const fn unit<F: NorFlash>() -> usize {
    let (mut a, mut b) = (F::READ_SIZE, F::WRITE_SIZE);
    let product = a * b;
    while b != 0 {
        (a, b) = (b, a % b);
    }
    if product == 0 { 0 } else { product / a }
}

/// Whether blocks are whole units and one unit fits into `stage` bytes.
pub const fn suits<F: NorFlash>(stage: usize) -> bool {
    let unit = unit::<F>();
    unit > 0 && unit <= stage && F::ERASE_SIZE > 0 && F::ERASE_SIZE.is_multiple_of(unit)
}

/// `bytes` rounded up to whole units.
pub const fn padded<F: NorFlash>(bytes: usize) -> usize {
    bytes.next_multiple_of(unit::<F>())
}

/// Reads again what failed once.
///
/// # Errors
/// If it fails twice.
pub fn twice<E>(mut read: impl FnMut() -> Result<(), E>) -> Result<(), E> {
    read().or_else(|_| read())
}

/// Reads `out.len()` bytes at `at`, aligned or not.
///
/// # Errors
/// If the flash fails.
pub fn read<F: NorFlash>(
    flash: &mut F,
    mut at: u32,
    mut out: &mut [u8],
    stage: &mut [u8],
) -> Result<(), F::Error> {
    let unit = F::READ_SIZE;
    let room = stage.len() - stage.len() % unit;
    while !out.is_empty() {
        let before = at as usize % unit;
        let whole = out.len() - out.len() % unit;
        if before == 0 && whole > 0 {
            let (now, later) = out.split_at_mut(whole);
            flash.read(at, now)?;
            at += whole as u32;
            out = later;
            continue;
        }
        let length = (before + out.len()).next_multiple_of(unit).min(room);
        flash.read(at - before as u32, &mut stage[..length])?;
        let n = out.len().min(length - before);
        let (now, later) = out.split_at_mut(n);
        now.copy_from_slice(&stage[before..][..n]);
        at += n as u32;
        out = later;
    }
    Ok(())
}

/// Calls `see` with the bytes from `from` to `to`, both at multiples of a unit, a stage at a time.
///
/// # Errors
/// If the flash fails.
pub fn pieces<F: NorFlash>(
    flash: &mut F,
    mut from: u32,
    to: u32,
    stage: &mut [u8],
    mut see: impl FnMut(&mut [u8]) -> bool,
) -> Result<bool, F::Error> {
    let room = stage.len() - stage.len() % F::READ_SIZE;
    while from < to {
        let length = room.min((to - from) as usize);
        let piece = &mut stage[..length];
        flash.read(from, piece)?;
        if !see(piece) {
            return Ok(false);
        }
        from += length as u32;
    }
    Ok(true)
}

/// Whether all bytes from `from` to `to`, both at multiples of a unit, are erased.
///
/// # Errors
/// If the flash fails.
pub fn is_blank<F: NorFlash>(
    flash: &mut F,
    from: u32,
    to: u32,
    stage: &mut [u8],
) -> Result<bool, F::Error> {
    pieces(flash, from, to, stage, |piece| is_erased(piece))
}

/// Whether all bytes are as an erase leaves them.
pub fn is_erased(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_le_bytes(*word) == u128::MAX)
        && rest.iter().all(|byte| *byte == 0xFF)
}

/// Writes bytes one after another from a multiple of a unit on, a stage at a time; the last unit is
/// filled with what an erase leaves. Every unit is written once.
pub struct Writer<'f, F: NorFlash> {
    flash: &'f mut F,
    stage: &'f mut [u8],
    room: usize,
    filled: usize,
    at: u32,
    /// Writes nothing: for a bug that is planted in tests.
    #[cfg(test)]
    dry: bool,
}

/// Where a [`Writer`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paused {
    at: u32,
    filled: usize,
}

impl Paused {
    /// Before the first byte, at a multiple of a unit.
    pub fn new(at: u32) -> Self {
        Paused { at, filled: 0 }
    }
}

impl<'f, F: NorFlash> Writer<'f, F> {
    /// Writes from `at` on.
    pub fn new(flash: &'f mut F, stage: &'f mut [u8], at: u32) -> Self {
        let room = stage.len() - stage.len() % unit::<F>();
        Writer {
            flash,
            stage,
            room,
            filled: 0,
            at,
            #[cfg(test)]
            dry: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn dry(self, dry: bool) -> Self {
        Writer { dry, ..self }
    }

    /// Goes on where a writer stopped, over the same flash and stage.
    pub fn resume(flash: &'f mut F, stage: &'f mut [u8], from: Paused) -> Self {
        Writer { filled: from.filled, ..Writer::new(flash, stage, from.at) }
    }

    /// Stops, so that flash and stage are free; the stage holds what is not written yet.
    pub fn pause(self) -> Paused {
        Paused { at: self.at, filled: self.filled }
    }

    /// Writes `bytes`.
    ///
    /// # Errors
    /// If the flash fails.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), F::Error> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room - self.filled));
            self.stage[self.filled..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == self.room {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is left, filled up to whole units, and gives where it ends.
    ///
    /// # Errors
    /// If the flash fails.
    pub fn finish(mut self) -> Result<u32, F::Error> {
        let whole = padded::<F>(self.filled);
        self.stage[self.filled..whole].fill(0xFF);
        self.filled = whole;
        self.flush()?;
        Ok(self.at)
    }

    fn flush(&mut self) -> Result<(), F::Error> {
        #[cfg(test)]
        if self.dry {
            self.filled = 0;
            return Ok(());
        }
        if self.filled > 0 {
            self.flash.write(self.at, &self.stage[..self.filled])?;
            self.at += self.filled as u32;
            self.filled = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::RamFlash;

    fn check<const READ: usize, const WRITE: usize, const ERASE: usize>() {
        let mut flash = RamFlash::<Vec<u8>, READ, WRITE, ERASE>::new(vec![0xFF; 4 * ERASE]);
        let mut stage = [0; 100];
        let unit = unit::<RamFlash<Vec<u8>, READ, WRITE, ERASE>>();
        assert!(suits::<RamFlash<Vec<u8>, READ, WRITE, ERASE>>(100));
        assert!(!suits::<RamFlash<Vec<u8>, READ, WRITE, ERASE>>(unit - 1));
        let text: Vec<u8> = (0..=200).collect();
        let mut writer = Writer::new(&mut flash, &mut stage, 2 * unit as u32);
        for piece in text.chunks(7) {
            writer.push(piece).unwrap();
            let paused = writer.pause();
            writer = Writer::resume(&mut flash, &mut stage, paused);
        }
        let end = writer.finish().unwrap();
        assert_eq!(end as usize, 2 * unit + text.len().next_multiple_of(unit));
        for from in 0..30 {
            for length in 0..120 {
                let mut out = vec![0; length];
                read(&mut flash, (2 * unit + from) as u32, &mut out, &mut stage).unwrap();
                assert_eq!(out, text[from..from + length]);
            }
        }
        assert!(is_blank(&mut flash, 0, 2 * unit as u32, &mut stage).unwrap());
        assert!(!is_blank(&mut flash, 0, end, &mut stage).unwrap());
    }

    #[test]
    fn any_range_is_written_and_read_whatever_the_units() {
        check::<1, 1, 64>();
        check::<1, 4, 128>();
        check::<4, 4, 256>();
        check::<16, 8, 128>();
        check::<8, 12, 192>();
        check::<1, 100, 300>();
        check::<96, 32, 192>();
    }
}
