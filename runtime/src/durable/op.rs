//! What a durable write asks of the disk, one operation after another; the tests' double records
//! each, and fails or shortens some, before it is done.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// The steps of a durable write, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The temporary is made.
    Create,
    /// The contents are written.
    Write,
    /// The contents reach the disk.
    Sync,
    /// The temporary takes the place of the old one.
    Rename,
    /// The folder's entry reaches the disk.
    SyncFolder,
}

impl core::fmt::Display for Step {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Step::Create => "create",
            Step::Write => "write",
            Step::Sync => "sync",
            Step::Rename => "rename",
            Step::SyncFolder => "sync the folder",
        })
    }
}

/// One operation. A plain build reads no path or bytes here: they are for the double.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "what the double reads"))]
pub(crate) enum Op<'o> {
    /// A new file.
    Create(&'o Path),
    /// A new folder.
    CreateFolder(&'o Path),
    /// Bytes at the end of a file.
    Write(&'o Path, &'o [u8]),
    /// `fsync` of a file, or of a folder that has no name of its own yet.
    Sync(&'o Path),
    /// A file or a folder takes another's name.
    Rename(&'o Path, &'o Path),
    /// `fsync` of a folder.
    SyncFolder(&'o Path),
}

impl Op<'_> {
    /// The step that it belongs to.
    pub(crate) const fn step(&self) -> Step {
        match self {
            Op::Create(_) | Op::CreateFolder(_) => Step::Create,
            Op::Write(..) => Step::Write,
            Op::Sync(_) => Step::Sync,
            Op::Rename(..) => Step::Rename,
            Op::SyncFolder(_) => Step::SyncFolder,
        }
    }
}

/// Asked before every operation: an error stands for it, a number is the most bytes that a write
/// takes.
pub(crate) type Before<'b> = &'b mut dyn FnMut(Op<'_>) -> io::Result<usize>;

/// What a plain write asks.
pub(crate) fn go_on(_: Op<'_>) -> io::Result<usize> {
    Ok(usize::MAX)
}

/// A file that asks before every write.
pub(super) struct Asking<'a> {
    pub(super) path: &'a Path,
    pub(super) file: File,
    pub(super) before: Before<'a>,
}

impl Write for Asking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = (self.before)(Op::Write(self.path, bytes))?;
        self.file.write(&bytes[..bytes.len().min(most)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
