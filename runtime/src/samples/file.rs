//! The buffer in a file: a flash image with one index entry per slot in memory.
//!
//! A put is durable when it returns: `fdatasync` after the payload and after the header (see
//! [`FileFlash::sync`]). An image of version 1 is written anew beside itself and takes its place.

use std::path::{Path, PathBuf};

use super::{BinInfo, Error, RECORD_BYTES, Samples, Seal, flash_bytes, format, layout::slots, v1};
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
        path: PathBuf,
        /// What is wrong with it.
        error: Error<FileError>,
    },
}

/// Spare slots of an image with `bins` bins: an eighth of them, 1 at least.
pub const fn spare(bins: usize) -> usize {
    if bins < 16 { 1 } else { bins / 8 }
}

/// Makes an image of `bins` empty bins with [`spare`] slots; its records are sealed if there is a key.
///
/// # Errors
/// If the file is there already, or the disk refuses or is full: then no file is left.
pub fn create(path: &Path, bins: usize, seal: Option<&Seal>) -> Result<FileSamples, OpenError> {
    if path.exists() {
        return Err(io_error(path, "create", std::io::ErrorKind::AlreadyExists.into()).into());
    }
    build(path, bins, seal, |_| Ok(()))?;
    open(path, seal)
}

/// Opens the image at `path`; one of version 1, or a plain one where there is a key, becomes one of
/// this version first, sealed if there is a key.
///
/// # Errors
/// If there is none, or it is no buffer that can be used, or its key is another.
pub fn open(path: &Path, seal: Option<&Seal>) -> Result<FileSamples, OpenError> {
    match mount(path, FileFlash::open(path)?, seal) {
        Err(OpenError::Samples { error: Error::Version { found: 1 }, .. }) => {
            migrate(path, seal)?;
        }
        Err(OpenError::Samples { error: Error::Plain, .. }) => seal_plain(path, seal)?,
        opened => return opened,
    }
    mount(path, FileFlash::open(path)?, seal)
}

/// Opens the image at `path` to look at: without a key, what is sealed stays so.
///
/// # Errors
/// As [`open`]; and if it is of version 1.
pub fn open_blind(path: &Path) -> Result<FileSamples, OpenError> {
    let (flash, index) = parts(FileFlash::open(path)?);
    Samples::mount_blind(flash, index).map_err(|error| refused(path, error))
}

/// Puts an image of version 2 in the place of one of version 1.
fn migrate(path: &Path, seal: Option<&Seal>) -> Result<(), OpenError> {
    let mut flash: FileFlash = FileFlash::open(path)?;
    let old = v1::Buffer::mount(&mut flash).map_err(|error| refused(path, error))?;
    build(path, old.bins(), seal, |new| {
        let mut record = vec![0; RECORD_BYTES];
        for bin in old.used() {
            match old.read(&mut flash, bin, &mut record) {
                // It was lost before: the bin is free now.
                Err(Error::Corrupt { .. }) => {}
                sample => drop(new.put(bin, &sample?)?),
            }
        }
        Ok(())
    })
}

/// Puts a sealed image in the place of a plain one.
fn seal_plain(path: &Path, seal: Option<&Seal>) -> Result<(), OpenError> {
    let mut plain = mount(path, FileFlash::open(path)?, None)?;
    build(path, plain.bins(), seal, |new| {
        let mut record = vec![0; RECORD_BYTES];
        let mut used: Vec<_> =
            plain.entries().map(|(bin, info)| (info.header().generation, bin)).collect();
        used.sort_unstable();
        for (_, bin) in used {
            match plain.read(bin, &mut record) {
                Err(Error::Corrupt { .. }) => {}
                sample => drop(new.put(bin, &sample?)?),
            }
        }
        Ok(())
    })
}

/// Writes an image under another name, fills it, and gives it its own: a cut leaves a temporary file
/// at most.
fn build(
    path: &Path,
    bins: usize,
    seal: Option<&Seal>,
    fill: impl FnOnce(&mut FileSamples) -> Result<(), Error<FileError>>,
) -> Result<(), OpenError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(std::format!(".{name}.{}.tmp", std::process::id()));
    let capacity = flash_bytes::<FileFlash>(bins, spare(bins));
    let mut flash: FileFlash = match FileFlash::create(&temporary, capacity) {
        // What the user knows of is the image itself.
        Err(FileError::Io { operation, source, .. }) => {
            return Err(io_error(path, operation, source).into());
        }
        made => made?,
    };
    let made = format(&mut flash, bins, seal.is_some())
        .map_err(|error| refused(path, error))
        .and_then(|()| {
            // Nobody sees it before it is whole: one sync at the end will do.
            let mut samples = mount(path, flash, seal)?.with_barrier(|_| Ok(()));
            fill(&mut samples).map_err(|error| refused(path, error))?;
            Ok(samples.flash().sync()?)
        })
        .and_then(|()| Ok(publish(&temporary, path)?));
    if made.is_err() {
        // It was made above and holds nothing of its own; the first error is the one to tell.
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

/// A flash with an index for it.
fn parts(flash: FileFlash) -> (FileFlash, Vec<BinInfo>) {
    use embedded_storage::nor_flash::ReadNorFlash;
    let index = vec![BinInfo::FREE; slots::<FileFlash>(flash.capacity())];
    (flash, index)
}

fn mount(path: &Path, flash: FileFlash, seal: Option<&Seal>) -> Result<FileSamples, OpenError> {
    let (flash, index) = parts(flash);
    let samples = match seal {
        Some(seal) => Samples::mount_sealed(flash, index, seal.clone()),
        None => Samples::mount(flash, index),
    };
    Ok(samples.map_err(|error| refused(path, error))?.with_barrier(FileFlash::sync))
}

fn refused(path: &Path, error: Error<FileError>) -> OpenError {
    OpenError::Samples { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::tests::golden::golden;
    use crate::samples::{Message, Messages, Sample};
    use crate::seal::{Key, system_random};

    fn seal(byte: u8) -> Seal {
        Seal { key: Key::new([byte; 32]), previous: None, random: system_random }
    }

    #[test]
    fn a_buffer_in_a_file_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        for key in [None, Some(seal(3))] {
            let path = folder.path().join(std::format!("buffer{}", key.is_some()));
            let key = key.as_ref();
            let mut samples = create(&path, 3, key).unwrap();
            let messages = [Message { role: "user", content: "A cup of tea?" }];
            let sample = Sample { messages: Messages::Given(&messages), ..Sample::default() };
            samples.put(1, &sample).unwrap();
            drop(samples);
            let mut samples = open(&path, key).unwrap();
            assert_eq!((samples.bins(), samples.entries().count()), (3, 1));
            let mut scratch = [0; RECORD_BYTES];
            let found = samples.read(1, &mut scratch).unwrap();
            assert_eq!(found.messages.iter().collect::<Vec<_>>(), messages);
            let image = std::fs::read(&path).unwrap();
            assert_eq!(image.windows(6).any(|six| six == b"cup of"), key.is_none());
            assert!(matches!(create(&path, 3, key), Err(OpenError::File(_))), "not over another");
            assert!(open(&path, key).is_ok());
            let mut blind = open_blind(&path).unwrap();
            assert_eq!(blind.entries().count(), 1);
            blind.verify(1).unwrap();
            assert_eq!(blind.read(1, &mut scratch).is_ok(), key.is_none());
        }
    }

    #[test]
    fn errors_name_the_file_and_leave_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("buffer");
        let names = |error: OpenError, what: &str| {
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.contains(what), "{text}");
        };
        names(open(&path, None).unwrap_err(), "cannot open");
        names(create(&path, 0, None).unwrap_err(), "0 bins");
        assert!(!path.exists());
        std::fs::write(&path, [0xFF; 8192]).unwrap();
        names(open(&path, None).unwrap_err(), "holds no sample buffer");
        std::fs::remove_file(&path).unwrap();
        let messages = [Message { role: "user", content: "Tea?" }];
        let sample = Sample { messages: Messages::Given(&messages), ..Sample::default() };
        create(&path, 2, Some(&seal(1))).unwrap().put(0, &sample).unwrap();
        names(open(&path, None).unwrap_err(), "is sealed");
        names(open(&path, Some(&seal(2))).unwrap_err(), &seal(1).key.name().to_string());
    }

    #[test]
    fn an_image_of_version_1_becomes_one_of_this_version() {
        let folder = tempfile::tempdir().unwrap();
        let image = golden(include_str!("../../../tests/golden/samples/v1.hex"));
        for key in [None, Some(seal(9))] {
            let path = folder.path().join(std::format!("image{}", key.is_some()));
            std::fs::write(&path, &image).unwrap();
            for _ in 0..2 {
                let mut samples = open(&path, key.as_ref()).unwrap();
                let used: Vec<usize> = samples.entries().map(|(bin, _)| bin).collect();
                assert_eq!((samples.bins(), &used[..]), (4, &[0, 1, 3][..]));
                let mut record = vec![0; RECORD_BYTES];
                let sample = samples.read(1, &mut record).unwrap();
                assert_eq!(sample.preferred, Some("Rather mint, s'il vous plaît."));
                assert_eq!((sample.arrival, sample.messages.count()), (4, 4));
            }
            if key.is_none() {
                // A plain one is sealed once there is a key.
                let mut samples = open(&path, Some(&seal(4))).unwrap();
                assert_eq!((samples.is_sealed(), samples.entries().count()), (true, 3));
                assert!(samples.read(0, &mut vec![0; RECORD_BYTES]).is_ok());
            }
            assert_eq!(
                std::fs::read_dir(folder.path()).unwrap().count(),
                1 + usize::from(key.is_some())
            );
        }
    }
}
