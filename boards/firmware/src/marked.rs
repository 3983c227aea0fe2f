//! Flash that says when it writes: a line `[` before every write and every erase and a line `]` after it,
//! while it is told to. Who cuts the power from outside, as `kill -9` of QEMU does, aims between the two.

use core::fmt::Write;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

/// `flash`, with marks written to `out`.
#[derive(Debug)]
pub struct Marked<F, W> {
    flash: F,
    out: W,
    on: bool,
}

impl<F, W: Write> Marked<F, W> {
    /// Marks that are written to `out` if they are `on`.
    pub fn new(flash: F, out: W, on: bool) -> Self {
        Marked { flash, out, on }
    }

    /// Switches the marks.
    pub fn set_on(&mut self, on: bool) {
        self.on = on;
    }

    /// The flash, given back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// What cannot be printed is no reason not to write.
    fn mark(&mut self, mark: &str) {
        if self.on {
            let _ = self.out.write_str(mark);
        }
    }
}

impl<F: ErrorType, W> ErrorType for Marked<F, W> {
    type Error = F::Error;
}

impl<F: ReadNorFlash, W> ReadNorFlash for Marked<F, W> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.flash.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl<F: NorFlash, W: Write> NorFlash for Marked<F, W> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        self.mark("[\n");
        let done = self.flash.erase(from, to);
        self.mark("]\n");
        done
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.mark("[\n");
        let done = self.flash.write(offset, bytes);
        self.mark("]\n");
        done
    }
}

#[cfg(test)]
mod tests {
    use homespun_runtime::flash::RamFlash;

    use super::*;

    #[test]
    fn writes_and_erases_lie_between_marks_while_they_are_on() {
        let mut out = String::new();
        let flash = RamFlash::<_, 1, 4, 64>::new([0u8; 128]);
        let mut flash = Marked::new(flash, &mut out, true);
        flash.erase(0, 64).unwrap();
        flash.write(0, &[1; 8]).unwrap();
        assert!(flash.write(64, &[1; 4]).is_err());
        flash.read(0, &mut [0; 9]).unwrap();
        flash.set_on(false);
        flash.write(8, &[1; 8]).unwrap();
        assert_eq!(flash.into_flash().into_bytes()[..17], [[1; 16].as_slice(), &[0xFF]].concat());
        assert_eq!(out, "[\n]\n".repeat(3));
    }
}
