//! Flash in memory: bytes that behave as NOR flash does, for tests, hosts and microcontrollers
//! with battery-backed RAM.
//!
//! ```text
//! erase  whole blocks of ERASE bytes become 0xFF
//! write  units of WRITE bytes; a bit goes from 1 to 0 only, else the write is refused whole
//! cut    after a set number of written or erased bytes the power is off: what was done stays,
//!        the rest does not happen, and every operation fails until the flash is powered again
//! ```

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// Flash over bytes `B`, lent (`&mut [u8]`) or owned (`[u8; N]`, `Vec<u8>`).
#[derive(Clone, Debug)]
pub struct RamFlash<B, const READ: usize = 1, const WRITE: usize = 4, const ERASE: usize = 4096> {
    bytes: B,
    power: Option<usize>,
}

/// Why an operation on [`RamFlash`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RamError {
    /// The offset or length is not a multiple of the unit.
    NotAligned,
    /// The range ends behind the capacity.
    OutOfBounds,
    /// The write would set a bit that is clear.
    NotErased {
        /// The first such byte.
        offset: u32,
    },
    /// The power is off.
    PowerCut,
}

impl core::fmt::Display for RamError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            RamError::NotAligned => f.write_str("the range is not aligned"),
            RamError::OutOfBounds => f.write_str("the range ends behind the capacity"),
            RamError::NotErased { offset } => write!(f, "byte {offset} is not erased"),
            RamError::PowerCut => f.write_str("the power is off"),
        }
    }
}

impl core::error::Error for RamError {}

impl NorFlashError for RamError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            RamError::NotAligned => NorFlashErrorKind::NotAligned,
            RamError::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            RamError::NotErased { .. } | RamError::PowerCut => NorFlashErrorKind::Other,
        }
    }
}

impl From<NorFlashErrorKind> for RamError {
    fn from(kind: NorFlashErrorKind) -> Self {
        match kind {
            NorFlashErrorKind::NotAligned => RamError::NotAligned,
            _ => RamError::OutOfBounds,
        }
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const READ: usize, const WRITE: usize, const ERASE: usize>
    RamFlash<B, READ, WRITE, ERASE>
{
    /// Flash over `bytes` as they are; what is left over after whole blocks is not used.
    pub fn new(bytes: B) -> Self {
        RamFlash { bytes, power: None }
    }

    /// Cuts the power once `bytes` more bytes are written or erased; `None` powers it for good.
    pub fn set_power(&mut self, bytes: Option<usize>) {
        self.power = bytes;
    }

    /// The bytes.
    pub fn into_bytes(self) -> B {
        self.bytes
    }

    /// Does the first bytes of `length` that the power lasts for.
    fn spend(&mut self, length: usize) -> (usize, Result<(), RamError>) {
        let Some(power) = &mut self.power else { return (length, Ok(())) };
        let done = length.min(*power);
        *power -= done;
        (done, if done < length { Err(RamError::PowerCut) } else { Ok(()) })
    }
}

impl<B, const READ: usize, const WRITE: usize, const ERASE: usize> ErrorType
    for RamFlash<B, READ, WRITE, ERASE>
{
    type Error = RamError;
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const READ: usize, const WRITE: usize, const ERASE: usize>
    ReadNorFlash for RamFlash<B, READ, WRITE, ERASE>
{
    const READ_SIZE: usize = READ;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamError> {
        check_read(self, offset, bytes.len())?;
        if self.power == Some(0) {
            return Err(RamError::PowerCut);
        }
        let start = offset as usize;
        bytes.copy_from_slice(&self.bytes.as_ref()[start..start + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        let length = self.bytes.as_ref().len();
        length - length % ERASE
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const READ: usize, const WRITE: usize, const ERASE: usize>
    NorFlash for RamFlash<B, READ, WRITE, ERASE>
{
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), RamError> {
        check_erase(self, from, to)?;
        let (done, result) = self.spend((to - from) as usize);
        let start = from as usize;
        self.bytes.as_mut()[start..start + done].fill(0xFF);
        result
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamError> {
        check_write(self, offset, bytes.len())?;
        let start = offset as usize;
        let old = &self.bytes.as_ref()[start..start + bytes.len()];
        if let Some(at) = old.iter().zip(bytes).position(|(old, new)| old & new != *new) {
            return Err(RamError::NotErased { offset: offset + at as u32 });
        }
        let (done, result) = self.spend(bytes.len());
        self.bytes.as_mut()[start..start + done].copy_from_slice(&bytes[..done]);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flash() -> RamFlash<Vec<u8>, 1, 4, 64> {
        RamFlash::new(vec![0x5A; 200])
    }

    #[test]
    fn writes_only_clear_bits_and_erases_set_whole_blocks() {
        let mut flash = flash();
        assert_eq!(flash.capacity(), 192);
        assert_eq!(flash.write(64, &[0xFF; 4]), Err(RamError::NotErased { offset: 64 }));
        flash.erase(64, 128).unwrap();
        flash.write(64, &[1, 2, 3, 0xFF]).unwrap();
        flash.write(64, &[0, 2, 1, 0x7F]).unwrap();
        let refused = flash.write(64, &[0, 0, 2, 0]);
        assert_eq!(refused, Err(RamError::NotErased { offset: 66 }));
        let mut seen = [0; 6];
        flash.read(63, &mut seen).unwrap();
        assert_eq!(seen, [0x5A, 0, 2, 1, 0x7F, 0xFF]);
    }

    #[test]
    fn ranges_are_checked() {
        let mut flash = flash();
        assert_eq!(flash.erase(1, 64), Err(RamError::NotAligned));
        assert_eq!(flash.erase(64, 256), Err(RamError::OutOfBounds));
        assert_eq!(flash.erase(64, 0), Err(RamError::OutOfBounds));
        assert_eq!(flash.write(2, &[0; 4]), Err(RamError::NotAligned));
        assert_eq!(flash.write(0, &[0; 3]), Err(RamError::NotAligned));
        assert_eq!(flash.write(192, &[0; 4]), Err(RamError::OutOfBounds));
        assert_eq!(flash.read(190, &mut [0; 3]), Err(RamError::OutOfBounds));
    }

    #[test]
    fn a_power_cut_stops_in_the_middle_and_lasts() {
        let mut flash = flash();
        flash.set_power(Some(64 + 6));
        flash.erase(0, 64).unwrap();
        assert_eq!(flash.write(0, &[1; 8]), Err(RamError::PowerCut));
        assert_eq!(flash.write(16, &[1; 4]), Err(RamError::PowerCut));
        assert_eq!(flash.erase(64, 128), Err(RamError::PowerCut));
        assert_eq!(flash.read(0, &mut [0; 4]), Err(RamError::PowerCut));
        flash.set_power(None);
        assert_eq!(flash.into_bytes()[..9], [1, 1, 1, 1, 1, 1, 0xFF, 0xFF, 0xFF]);
    }
}
