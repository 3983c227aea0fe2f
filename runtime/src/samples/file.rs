//! The buffer in a file: a flash image with one index entry per bin in memory.

use std::path::Path;

use super::{BinInfo, Error, Samples, bins_of, flash_bytes, format};
use crate::flash::{FileError, FileFlash};

/// A buffer in a file.
pub type FileSamples = Samples<FileFlash, Vec<BinInfo>>;

/// Why a buffer in a file cannot be opened; the message names the file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The image cannot be used as flash.
    #[error(transparent)]
    File(#[from] FileError),
    /// The image is no buffer that can be used.
    #[error("{}: {error}", path.display())]
    Samples {
        /// The image.
        path: std::path::PathBuf,
        /// What is wrong with it.
        error: Error<FileError>,
    },
}

/// Makes an image of `bins` empty bins and as many spare slots as an eighth of them, 1 at least.
///
/// # Errors
/// If the file is there already, or the disk refuses or is full: then no file is left.
pub fn create(path: &Path, bins: usize) -> Result<FileSamples, OpenError> {
    let spare = (bins / 8).max(1);
    // Under its own name it is whole from the start: a cut leaves a temporary file at most.
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(std::format!(".{name}.{}.tmp", std::process::id()));
    if path.exists() {
        return Err(io_error(path, "create", std::io::ErrorKind::AlreadyExists.into()).into());
    }
    let capacity = flash_bytes(bins, spare, 4096);
    let mut flash: FileFlash = match FileFlash::create(&temporary, capacity) {
        // What the user knows of is the image itself.
        Err(FileError::Io { operation, source, .. }) => {
            return Err(io_error(path, operation, source).into());
        }
        made => made?,
    };
    let made = format(&mut flash, bins)
        .map_err(|error| refused(path, error))
        .and_then(|()| Ok(flash.sync()?))
        .and_then(|()| Ok(publish(&temporary, path)?))
        .and_then(|()| open(path));
    if made.is_err() {
        // It was made above and holds nothing; the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    made
}

/// Gives the image at `temporary` the name `path`, durably.
fn publish(temporary: &Path, path: &Path) -> Result<(), FileError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::rename(temporary, path)
        .and_then(|()| std::fs::File::open(folder)?.sync_all())
        .map_err(|source| io_error(path, "rename", source))
}

fn io_error(path: &Path, operation: &'static str, source: std::io::Error) -> FileError {
    FileError::Io { path: path.to_owned(), operation, source }
}

/// Opens the image at `path`.
///
/// # Errors
/// If there is none, or it is no buffer that can be used.
pub fn open(path: &Path) -> Result<FileSamples, OpenError> {
    mount(path, FileFlash::open(path)?)
}

fn mount(path: &Path, mut flash: FileFlash) -> Result<FileSamples, OpenError> {
    let bins = bins_of(&mut flash).map_err(|error| refused(path, error))?;
    let samples = Samples::mount(flash, vec![BinInfo::FREE; bins]);
    Ok(samples.map_err(|error| refused(path, error))?.with_barrier(FileFlash::sync))
}

fn refused(path: &Path, error: Error<FileError>) -> OpenError {
    OpenError::Samples { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Message, Messages, RECORD_BYTES, Sample};

    #[test]
    fn a_buffer_in_a_file_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("buffer");
        let mut samples = create(&path, 3).unwrap();
        let messages = [Message { role: "user", content: "Tea?" }];
        let sample = Sample { messages: Messages::Given(&messages), ..Sample::default() };
        samples.put(1, &sample).unwrap();
        drop(samples);
        let mut samples = open(&path).unwrap();
        assert_eq!((samples.bins(), samples.entries().count()), (3, 1));
        let mut scratch = [0; RECORD_BYTES];
        let found = samples.read(1, &mut scratch).unwrap();
        assert_eq!(found.messages.iter().collect::<Vec<_>>(), messages);
        assert!(matches!(create(&path, 3), Err(OpenError::File(_))), "not made over another");
        assert!(open(&path).is_ok());
    }

    #[test]
    fn errors_name_the_file_and_leave_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("buffer");
        let names = |error: OpenError, what: &str| {
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.contains(what), "{text}");
        };
        names(open(&path).unwrap_err(), "cannot open");
        names(create(&path, 0).unwrap_err(), "0 bins");
        assert!(!path.exists());
        std::fs::write(&path, [0xFF; 8192]).unwrap();
        names(open(&path).unwrap_err(), "holds no sample buffer");
    }
}
