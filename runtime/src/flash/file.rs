//! Flash in a file: an image that behaves as NOR flash does.
//!
//! Writes reach the disk's cache at once and the disk itself at [`FileFlash::sync`], which the
//! sample buffer calls between payload and header and after the header. [`FileFlash::create`]
//! writes every byte, so that a disk without room says so then. The file is not locked here.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// Flash over a file.
#[derive(Debug)]
pub struct FileFlash<const WRITE: usize = 4, const ERASE: usize = 4096> {
    file: File,
    path: PathBuf,
    capacity: usize,
}

/// Why an operation on [`FileFlash`] failed; every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{}: cannot {operation}: {source}", path.display())]
    Io {
        /// The image.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file's length is not a whole number of blocks, or more than 4 GiB.
    #[error("{}: a flash image of {length} bytes is not a whole number of blocks of {block} below 4 GiB", path.display())]
    Length {
        /// The image.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
        /// Bytes of an erase block.
        block: usize,
    },
    /// A range is not aligned or ends behind the capacity.
    #[error("{}: {length} bytes at {offset}: {kind}", path.display())]
    Range {
        /// The image.
        path: PathBuf,
        /// Where the range starts.
        offset: u32,
        /// Its length in bytes.
        length: usize,
        /// What is wrong with it.
        kind: NorFlashErrorKind,
    },
    /// A write would set a bit that is clear.
    #[error("{}: byte {offset} is not erased", path.display())]
    NotErased {
        /// The image.
        path: PathBuf,
        /// The first such byte.
        offset: u32,
    },
}

impl NorFlashError for FileError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            FileError::Range { kind, .. } => *kind,
            FileError::Io { .. } | FileError::Length { .. } | FileError::NotErased { .. } => {
                NorFlashErrorKind::Other
            }
        }
    }
}

impl<const WRITE: usize, const ERASE: usize> FileFlash<WRITE, ERASE> {
    /// Makes an erased image of `capacity` bytes, its owner's alone.
    ///
    /// # Errors
    /// If the file is there already, cannot be made or has no room on the disk; no file is left then.
    pub fn create(path: &Path, capacity: usize) -> Result<Self, FileError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let mut flash = Self::of(path, &options, "create")?;
        flash.capacity = capacity;
        let filled = flash.check_length(capacity as u64).and_then(|()| flash.fill(0, capacity));
        match filled.and_then(|()| flash.sync()) {
            Ok(()) => Ok(flash),
            Err(error) => {
                // It was made above and is no image; the first error is the one to tell.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Opens an image as it is.
    ///
    /// # Errors
    /// If the file is not there, cannot be written or is not a whole number of blocks.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let mut flash = Self::of(path, OpenOptions::new().read(true).write(true), "open")?;
        let length = flash.file.metadata().map_err(|e| flash.io("measure", e))?.len();
        flash.check_length(length)?;
        flash.capacity = length as usize;
        Ok(flash)
    }

    /// Waits until all writes are on the disk.
    ///
    /// # Errors
    /// If the system cannot say so.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.file.sync_data().map_err(|e| self.io("sync", e))
    }

    /// The image's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn of(path: &Path, options: &OpenOptions, operation: &'static str) -> Result<Self, FileError> {
        let file = options.open(path).map_err(|source| FileError::Io {
            path: path.to_owned(),
            operation,
            source,
        })?;
        Ok(FileFlash { file, path: path.to_owned(), capacity: 0 })
    }

    fn check_length(&self, length: u64) -> Result<(), FileError> {
        if length > u64::from(u32::MAX) || !length.is_multiple_of(ERASE as u64) {
            return Err(FileError::Length { path: self.path.clone(), length, block: ERASE });
        }
        Ok(())
    }

    fn fill(&self, from: usize, to: usize) -> Result<(), FileError> {
        let erased = [0xFF; 4096];
        for start in (from..to).step_by(erased.len()) {
            let piece = &erased[..erased.len().min(to - start)];
            self.file.write_all_at(piece, start as u64).map_err(|e| self.io("erase", e))?;
        }
        Ok(())
    }

    fn io(&self, operation: &'static str, source: std::io::Error) -> FileError {
        FileError::Io { path: self.path.clone(), operation, source }
    }

    fn range(&self, offset: u32, length: usize, kind: NorFlashErrorKind) -> FileError {
        FileError::Range { path: self.path.clone(), offset, length, kind }
    }
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for FileFlash<WRITE, ERASE> {
    type Error = FileError;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for FileFlash<WRITE, ERASE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FileError> {
        check_read(self, offset, bytes.len()).map_err(|k| self.range(offset, bytes.len(), k))?;
        self.file.read_exact_at(bytes, u64::from(offset)).map_err(|e| self.io("read", e))
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for FileFlash<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FileError> {
        let length = to.saturating_sub(from) as usize;
        check_erase(self, from, to).map_err(|k| self.range(from, length, k))?;
        self.fill(from as usize, to as usize)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileError> {
        check_write(self, offset, bytes.len()).map_err(|k| self.range(offset, bytes.len(), k))?;
        let mut old = [0; 256];
        for (at, new) in bytes.chunks(old.len()).enumerate() {
            let start = offset + (at * old.len()) as u32;
            let old = &mut old[..new.len()];
            self.file
                .read_exact_at(old, u64::from(start))
                .map_err(|e| self.io("read before a write", e))?;
            if let Some(byte) = old.iter().zip(new).position(|(old, new)| old & new != *new) {
                let offset = start + byte as u32;
                return Err(FileError::NotErased { path: self.path.clone(), offset });
            }
        }
        self.file.write_all_at(bytes, u64::from(offset)).map_err(|e| self.io("write", e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_keeps_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let mut flash: FileFlash = FileFlash::create(&path, 3 * 4096).unwrap();
        flash.write(4096, &[1, 2, 3, 4]).unwrap();
        flash.write(8192, &[7; 8]).unwrap();
        flash.erase(8192, 12288).unwrap();
        flash.sync().unwrap();
        drop(flash);
        let mut flash: FileFlash = FileFlash::open(&path).unwrap();
        let mut seen = [0; 6];
        flash.read(4095, &mut seen).unwrap();
        assert_eq!(seen, [0xFF, 1, 2, 3, 4, 0xFF]);
        flash.read(8190, &mut seen).unwrap();
        assert_eq!((seen, flash.capacity()), ([0xFF; 6], 12288));
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let named = |error: FileError| {
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            error
        };
        let missing = named(FileFlash::<4, 4096>::open(&path).unwrap_err());
        assert!(matches!(missing, FileError::Io { operation: "open", .. }));
        let mut flash: FileFlash = FileFlash::create(&path, 4096).unwrap();
        named(FileFlash::<4, 4096>::create(&path, 4096).unwrap_err());
        flash.write(8, &[0; 4]).unwrap();
        let refused = named(flash.write(4, &[9; 8]).unwrap_err());
        assert!(matches!(refused, FileError::NotErased { offset: 8, .. }));
        assert_eq!(
            named(flash.write(1, &[0; 4]).unwrap_err()).kind(),
            NorFlashErrorKind::NotAligned
        );
        assert_eq!(named(flash.erase(0, 8192).unwrap_err()).kind(), NorFlashErrorKind::OutOfBounds);
        std::fs::write(&path, [0; 100]).unwrap();
        let odd = named(FileFlash::<4, 4096>::open(&path).unwrap_err());
        assert!(matches!(odd, FileError::Length { length: 100, .. }));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut flash: FileFlash = FileFlash {
            file: OpenOptions::new().read(true).write(true).open("/dev/full").unwrap(),
            path: PathBuf::from("full"),
            capacity: 4096,
        };
        let error = flash.erase(0, 4096).unwrap_err();
        assert!(matches!(error, FileError::Io { operation: "erase", .. }));
        assert!(error.to_string().starts_with("full: cannot erase"), "{error}");
    }
}
