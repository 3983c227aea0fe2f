//! The bytes of a weights file: mapped from disk, or lying in the program.

use core::ops::{Deref, Range};
use std::fs::{self, File};
use std::path::Path;

use memmap2::{Advice, Mmap};

use super::{Error, file_error, io_error};

/// Bytes that do not move and do not change.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// A file, mapped read-only.
    Map(Mmap),
    /// Part of the program.
    Static(&'static [u8]),
}

impl Bytes {
    /// Maps `file` read-only.
    ///
    /// # Errors
    /// If it cannot be opened or is not a regular file (opening a pipe would wait for ever).
    pub(crate) fn map(file: &Path) -> Result<Self, Error> {
        let kind = fs::metadata(file).map_err(|e| io_error(file, e))?;
        if !kind.is_file() {
            return Err(file_error(file, "is not a regular file"));
        }
        let handle = File::open(file).map_err(|e| io_error(file, e))?;
        Self::map_open(file, &handle)
    }

    /// Maps `handle`, which errors call `file`, read-only.
    ///
    /// # Errors
    /// If the system cannot map it.
    pub(super) fn map_open(file: &Path, handle: &File) -> Result<Self, Error> {
        // SAFETY: the map is private to this process and read-only, and this process never writes
        // weights in place (`durable` renames). That no other process changes or cuts the file
        // short while it is mapped is asked of the user in this folder's documentation.
        let map = unsafe { Mmap::map(handle) }.map_err(|e| io_error(file, e))?;
        Ok(Bytes::Map(map))
    }
}

impl Bytes {
    /// Lets the system fetch the bytes `range` from the disk while something else is computed.
    pub(super) fn will_need(&self, range: Range<usize>) {
        match self {
            // Only a hint: where it fails, they come when they are read.
            Bytes::Map(map) => _ = map.advise_range(Advice::WillNeed, range.start, range.len()),
            Bytes::Static(_) => {}
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Map(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}
