//! The caller's flash: three functions, behind the trait that the runtime asks for.
//!
//! ```text
//! hs_flash   context, capacity, read, write, erase
//! checked    no function is null; each range lies in the capacity, at multiples of its unit
//! ```

use core::ffi::c_void;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

use crate::status::hs_status;

/// Writes begin and end at multiples of this, so that any flash suits whose unit divides it: 1, 2, 4, 8,
/// 16 or 32 bytes. No unit is written twice between two erases.
pub const HS_WRITE_BYTES: usize = 32;
/// Erases begin and end at multiples of this, so that any flash suits whose block divides it.
pub const HS_ERASE_BYTES: usize = 4096;

/// A range of NOR flash, or of what behaves so: an erase sets every bit, a write only clears bits.
///
/// Each function gives 0 where it did what it was asked. What it is asked lies within `capacity`; offsets
/// count from the begin of the range. Once `write` or `erase` return, what they did must be in the flash.
/// They must not call the device that they belong to (it answers `HS_BUSY`) nor leave by `longjmp` or an
/// exception.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct hs_flash {
    /// Handed to each function; may be null.
    pub context: *mut c_void,
    /// Bytes of the range: a multiple of `HS_ERASE_BYTES`.
    pub capacity: u32,
    /// Reads `length` bytes at `offset`, which is any.
    pub read: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            offset: u32,
            bytes: *mut u8,
            length: usize,
        ) -> i32,
    >,
    /// Writes `length` bytes at `offset`, both multiples of `HS_WRITE_BYTES`.
    pub write: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            offset: u32,
            bytes: *const u8,
            length: usize,
        ) -> i32,
    >,
    /// Erases from `from` up to `to`, both multiples of `HS_ERASE_BYTES`.
    pub erase: Option<unsafe extern "C" fn(context: *mut c_void, from: u32, to: u32) -> i32>,
}

/// What of the flash failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// A function gave this.
    Driver(i32),
    /// The range is none of this flash.
    Range(NorFlashErrorKind),
}

impl From<NorFlashErrorKind> for Failed {
    fn from(kind: NorFlashErrorKind) -> Self {
        Failed::Range(kind)
    }
}

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Failed::Driver(_) => NorFlashErrorKind::Other,
            Failed::Range(kind) => *kind,
        }
    }
}

/// A flash of which nothing is null.
pub(crate) struct Driver {
    context: *mut c_void,
    capacity: u32,
    read: unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize) -> i32,
    write: unsafe extern "C" fn(*mut c_void, u32, *const u8, usize) -> i32,
    erase: unsafe extern "C" fn(*mut c_void, u32, u32) -> i32,
}

impl Driver {
    /// # Safety
    /// `flash` is null or leads to a flash, whose functions do what [`hs_flash`] says with its context
    /// for as long as the driver is used.
    pub unsafe fn new(flash: *const hs_flash) -> Result<Self, hs_status> {
        if flash.is_null() {
            return Err(hs_status::HS_NULL);
        }
        // SAFETY: it is not null, so it leads to a flash.
        let hs_flash { context, capacity, read, write, erase } = unsafe { *flash };
        let (Some(read), Some(write), Some(erase)) = (read, write, erase) else {
            return Err(hs_status::HS_NULL);
        };
        if !(capacity as usize).is_multiple_of(HS_ERASE_BYTES) {
            return Err(hs_status::HS_FLASH_SIZE);
        }
        Ok(Driver { context, capacity, read, write, erase })
    }
}

fn done(code: i32) -> Result<(), Failed> {
    if code == 0 { Ok(()) } else { Err(Failed::Driver(code)) }
}

impl ErrorType for Driver {
    type Error = Failed;
}

impl ReadNorFlash for Driver {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        check_read(self, offset, bytes.len())?;
        // SAFETY: by the contract of `new` the function suits its context; it is given as many bytes to
        // write to as it is told, of a range of this flash.
        done(unsafe { (self.read)(self.context, offset, bytes.as_mut_ptr(), bytes.len()) })
    }

    fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

impl NorFlash for Driver {
    const WRITE_SIZE: usize = HS_WRITE_BYTES;
    const ERASE_SIZE: usize = HS_ERASE_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        check_erase(self, from, to)?;
        // SAFETY: by the contract of `new` the function suits its context; the range is of this flash.
        done(unsafe { (self.erase)(self.context, from, to) })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Failed> {
        check_write(self, offset, bytes.len())?;
        // SAFETY: by the contract of `new` the function suits its context; it is given as many bytes to
        // read as it is told, for a range of this flash.
        done(unsafe { (self.write)(self.context, offset, bytes.as_ptr(), bytes.len()) })
    }
}
