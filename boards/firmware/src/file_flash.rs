//! NOR flash in a file of the machine that debugs this one: a range of it, in the units of a small serial
//! flash. What was written is there after a restart, also after one by `kill -9`.
//!
//! ```text
//! file    [ ......... | range: block 0 | block 1 | ... | ......... ]     full of 0xFF when it is made
//! read    any bytes
//! write   words of 4 bytes; a bit goes from 1 to 0 only, else the write is refused whole
//! erase   blocks of 4096 bytes become 0xFF
//! ```

use core::ffi::CStr;
use core::fmt;
use core::ops::Range;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

use crate::semihosting::{self, File, Mode};

/// Bytes of an erase block.
const BLOCK: usize = 4096;
static ERASED: [u8; BLOCK] = [0xFF; BLOCK];

/// A range of a file that behaves as NOR flash does.
#[derive(Debug)]
pub struct FileFlash {
    file: File,
    range: Range<u32>,
}

/// Why an operation on [`FileFlash`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// The range is not aligned or ends behind the capacity.
    Range(NorFlashErrorKind),
    /// The write would set a bit that is clear.
    NotErased {
        /// The first such byte.
        offset: u32,
    },
    /// The host failed.
    Host(semihosting::Error),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Range(kind) => kind.fmt(f),
            FileError::NotErased { offset } => write!(f, "byte {offset} is not erased"),
            FileError::Host(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FileError {}

impl NorFlashError for FileError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            FileError::Range(kind) => *kind,
            FileError::NotErased { .. } | FileError::Host(_) => NorFlashErrorKind::Other,
        }
    }
}

impl From<semihosting::Error> for FileError {
    fn from(error: semihosting::Error) -> Self {
        FileError::Host(error)
    }
}

impl FileFlash {
    /// The bytes `range`, whole blocks, of the file `name`, which is made, all erased, unless it is there
    /// with `length` bytes. Values over disjoint ranges may be used side by side.
    ///
    /// # Errors
    /// If the host fails, or the range is not one of the file's.
    pub fn open(name: &CStr, length: u32, range: Range<u32>) -> Result<Self, FileError> {
        let block = BLOCK as u32;
        if !range.start.is_multiple_of(block) || !range.end.is_multiple_of(block) {
            return Err(FileError::Range(NorFlashErrorKind::NotAligned));
        }
        if range.start > range.end || range.end > length {
            return Err(FileError::Range(NorFlashErrorKind::OutOfBounds));
        }
        if let Ok(file) = File::open(name, Mode::Update) {
            if file.length() == Ok(length) {
                return Ok(FileFlash { file, range });
            }
            file.close()?;
        }
        let file = File::open(name, Mode::Create)?;
        for at in (0..length).step_by(BLOCK) {
            file.write(&ERASED[..BLOCK.min((length - at) as usize)])?;
        }
        Ok(FileFlash { file, range })
    }

    /// Goes to byte `offset` of the range.
    fn seek(&self, offset: u32) -> Result<(), FileError> {
        Ok(self.file.seek(self.range.start + offset)?)
    }
}

impl ErrorType for FileFlash {
    type Error = FileError;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FileError> {
        check_read(self, offset, bytes.len()).map_err(FileError::Range)?;
        self.seek(offset)?;
        Ok(self.file.read_exact(bytes)?)
    }

    fn capacity(&self) -> usize {
        self.range.len()
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FileError> {
        check_erase(self, from, to).map_err(FileError::Range)?;
        self.seek(from)?;
        for _ in (from..to).step_by(BLOCK) {
            self.file.write(&ERASED)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileError> {
        check_write(self, offset, bytes.len()).map_err(FileError::Range)?;
        self.seek(offset)?;
        let (mut old, mut at) = ([0; 256], offset);
        for bytes in bytes.chunks(old.len()) {
            let old = &mut old[..bytes.len()];
            self.file.read_exact(old)?;
            if let Some(first) = old.iter().zip(bytes).position(|(old, new)| old & new != *new) {
                return Err(FileError::NotErased { offset: at + first as u32 });
            }
            at += bytes.len() as u32;
        }
        self.seek(offset)?;
        Ok(self.file.write(bytes)?)
    }
}
