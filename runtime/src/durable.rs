//! Every write that must survive a power cut: a file or a folder is the old one or the new one.
//!
//! ```text
//! file     .name.PID.N.tmp: create, write, sync -> rename over name -> sync the folder
//! folder   .name.PID.N.tmp/, locked: each file as above -> rename to name, or exchange with the old
//!          name in one step -> sync the parent -> remove the old one's files, which are known
//! lines    append one line in one write, sync; a line cut short is dropped when next opened
//! ```
//! A failure removes the temporary and leaves what was there. A cut or a kill can leave a temporary
//! behind, which no reader looks at and [`sweep`] or [`sweep_killed`] removes.

mod op;

use core::sync::atomic::{AtomicU32, Ordering};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use op::Asking;
pub use op::Step;
pub(crate) use op::{Before, Op, go_on};

/// A write that did not happen.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be written ({step})", file.display())]
pub struct Error {
    /// The file or folder that was to be written.
    pub file: PathBuf,
    /// The step that failed.
    pub step: Step,
    /// The system's reason.
    pub source: io::Error,
}

/// Bytes between a writer and the file: what writing takes beside what it writes.
const BUFFER: usize = 1 << 16;
/// Modes of new files, before the process's mask.
const PUBLIC: u32 = 0o666;
const PRIVATE: u32 = 0o600;

/// Writes the contents of a file.
pub type Fill<'f> = &'f dyn Fn(&mut dyn Write) -> io::Result<()>;

/// Replaces the file `path` by `bytes`.
///
/// # Errors
/// If `path` is there and no regular file (a folder, a device), or a step fails; up to the rename
/// the old file is intact, after it the new one is whole.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_with(path, |out| out.write_all(bytes), &mut go_on)
}

/// Replaces the file `path` by what `fill` writes, which takes no memory but a small buffer.
///
/// # Errors
/// As [`write`]; and if `fill` fails, which is told as a write that failed.
pub(crate) fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    before: Before<'_>,
) -> Result<(), Error> {
    replace_file(Run { path, mode: PUBLIC }, fill, before)
}

/// [`write()`] for what is the user's alone: the file has mode 0600 from its first byte on.
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_private_with(path, |out| out.write_all(bytes), &mut go_on)
}

/// [`write_private`] of what `fill` writes.
///
/// # Errors
/// As [`write_private`]; and if `fill` fails, which is told as a write that failed.
pub(crate) fn write_private_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    before: Before<'_>,
) -> Result<(), Error> {
    replace_file(Run { path, mode: PRIVATE }, fill, before)
}

fn replace_file(
    run: Run<'_>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    before: Before<'_>,
) -> Result<(), Error> {
    let path = run.path;
    run.refuse_what_is_no_file()?;
    let temporary = run.temporary()?;
    let rename = Op::Rename(&temporary, path);
    let renamed = run
        .file(&temporary, fill, before)
        .and_then(|()| run.step(rename, before, || fs::rename(&temporary, path)));
    if renamed.is_err() {
        fs::remove_file(&temporary).ok();
    }
    renamed?;
    run.sync_parent(before)
}

/// Writes `values` in little-endian order, through a buffer on the stack.
///
/// # Errors
/// If `out` takes no more.
pub(crate) fn write_floats(values: &[f32], out: &mut dyn Write) -> io::Result<()> {
    const CHUNK: usize = 1024;
    let mut buffer = [0; 4 * CHUNK];
    for chunk in values.chunks(CHUNK) {
        let bytes = &mut buffer[..4 * chunk.len()];
        for (four, value) in bytes.as_chunks_mut().0.iter_mut().zip(chunk) {
            *four = value.to_le_bytes();
        }
        out.write_all(bytes)?;
    }
    Ok(())
}

/// Makes the folder `path`, unless it is there, so that a power cut does not take it away again.
///
/// # Errors
/// If it cannot be made or its parent cannot be synced.
pub(crate) fn make_folder(path: &Path, before: Before<'_>) -> Result<(), Error> {
    make_folder_of(path, PUBLIC | 0o111, before)
}

/// [`make_folder`] for what is the user's alone: the folder has mode 0700 from the beginning.
///
/// # Errors
/// As [`make_folder`].
pub(crate) fn make_private_folder(path: &Path, before: Before<'_>) -> Result<(), Error> {
    make_folder_of(path, PRIVATE | 0o100, before)
}

fn make_folder_of(path: &Path, mode: u32, before: Before<'_>) -> Result<(), Error> {
    let run = Run { path, mode };
    if !path.is_dir() {
        let make = || fs::DirBuilder::new().mode(mode).create(path);
        run.step(Op::CreateFolder(path), before, make)?;
    }
    run.sync_parent(before)
}

/// Replaces the folder `path` by one that holds just `files` (name, contents).
///
/// An existing folder must be empty or hold no other names than these: nothing else is ever
/// removed. Where the file system cannot exchange two folders, a cut between two renames can leave
/// the old folder under its temporary name; the new one is whole under its own.
///
/// # Errors
/// If `path` holds something else, or a step fails; then what was there is intact.
pub fn write_folder(path: &Path, files: &[(&str, &[u8])]) -> Result<(), Error> {
    write_folder_steps(path, files, &mut go_on)
}

fn write_folder_steps(
    path: &Path,
    files: &[(&str, &[u8])],
    before: Before<'_>,
) -> Result<(), Error> {
    let fills: Vec<_> = files
        .iter()
        .map(|&(name, bytes)| (name, move |out: &mut dyn Write| out.write_all(bytes)))
        .collect();
    let lent: Vec<(&str, Fill<'_>)> =
        fills.iter().map(|(name, fill)| (*name, fill as Fill<'_>)).collect();
    write_folder_with(path, &lent, before)
}

/// [`write_folder`] with contents that are written and never held whole.
///
/// # Errors
/// As [`write_folder`]; and if a `Fill` fails, which is told as a write that failed.
pub(crate) fn write_folder_with(
    path: &Path,
    files: &[(&str, Fill<'_>)],
    before: Before<'_>,
) -> Result<(), Error> {
    let run = Run { path, mode: PUBLIC };
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    run.refuse_other_contents(&names)?;
    run.folder(&names, before, |temporary, before| {
        files.iter().try_for_each(|(name, fill)| run.file(&temporary.join(name), fill, before))
    })
}

/// Makes the folder `path`, which must be empty or absent: `fill` makes files in the folder that it
/// is given, which becomes `path` once they are on the disk.
///
/// A killed process leaves what it had made beside `path`, for [`sweep_killed`] to remove.
///
/// # Errors
/// If `path` holds anything, before or after, `fill` fails or a step does; then nothing is left of
/// what was made, and what is in `path` stays.
pub fn fill_folder<E: From<Error>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    fill_folder_steps(path, fill, &mut go_on)
}

fn fill_folder_steps<E: From<Error>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
    before: Before<'_>,
) -> Result<(), E> {
    let run = Run { path, mode: PUBLIC };
    run.refuse_other_contents(&[])?;
    run.folder(&[], before, |temporary, before| {
        fill(temporary)?;
        for entry in fs::read_dir(temporary).map_err(run.fail(Step::Sync))? {
            let file = entry.map_err(run.fail(Step::Sync))?.path();
            run.step(Op::Sync(&file), before, || File::open(&file)?.sync_all())?;
        }
        Ok(())
    })
}

/// Lets `new` and `path`, both of them there, change places.
fn exchange(new: &Path, path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    exchange_in_steps(new, path)
}

/// The same where two folders cannot be exchanged at once.
fn exchange_in_steps(new: &Path, path: &Path) -> io::Result<()> {
    let mut old = new.as_os_str().to_owned();
    old.push(".old");
    fs::rename(path, &old)?;
    if let Err(error) = fs::rename(new, path) {
        fs::rename(&old, path)?;
        return Err(error);
    }
    fs::rename(&old, new)
}

/// Tries whether [`write_folder`] could write `path`, before hours of work end in its error.
///
/// # Errors
/// If `path` holds other files than `names`, or nothing can be made beside it.
pub fn check_folder(path: &Path, names: &[&str]) -> Result<(), Error> {
    let run = Run { path, mode: PUBLIC };
    run.refuse_other_contents(names)?;
    let temporary = run.temporary()?;
    fs::create_dir(&temporary).map_err(run.fail(Step::Create))?;
    gone(fs::remove_dir(&temporary)).map_err(run.fail(Step::Create))
}

/// Tries whether [`write()`] could write `path`, before hours of work end in its error.
///
/// # Errors
/// If `path` is there and no regular file, or nothing can be made beside it.
pub fn check_file(path: &Path) -> Result<(), Error> {
    let run = Run { path, mode: PUBLIC };
    run.refuse_what_is_no_file()?;
    let temporary = run.temporary()?;
    fs::File::create_new(&temporary).map_err(run.fail(Step::Create))?;
    gone(fs::remove_file(&temporary)).map_err(run.fail(Step::Create))
}

/// Well, too, where another process has swept it away meanwhile.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(
        |error| {
            if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
        },
    )
}

/// Removes the temporaries that cut writes left in `folder`, which nobody else may be writing to.
///
/// # Errors
/// If the folder cannot be read or a temporary cannot be removed.
pub fn sweep(folder: &Path) -> Result<(), Error> {
    let run = Run { path: folder, mode: PUBLIC };
    for entry in fs::read_dir(folder).map_err(run.fail(Step::Create))? {
        let path = entry.map_err(run.fail(Step::Create))?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if !name.starts_with(b".") || !(name.ends_with(b".tmp") || name.ends_with(b".tmp.old")) {
            continue;
        }
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(run.fail(Step::Create))?;
    }
    Ok(())
}

/// Removes the temporary folders that killed runs of [`write_folder`] and [`fill_folder`] left beside
/// `path`: those of its name whose lock nobody holds. The system lets go of a lock however its
/// process ends.
///
/// A run that has made its folder and not yet locked it, an instant later, loses it and fails.
///
/// # Errors
/// If the folder that `path` is in cannot be read, or a temporary cannot be removed.
pub fn sweep_killed(path: &Path) -> Result<(), Error> {
    let run = Run { path, mode: PUBLIC };
    for entry in fs::read_dir(parent(path)).map_err(run.fail(Step::Create))? {
        let entry = entry.map_err(run.fail(Step::Create))?;
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if folder && run.is_temporary(&entry.file_name()) {
            // Held until it is gone. Without locks none can be told to be left.
            let Some(_lock) = lock(&entry.path()) else { continue };
            gone(fs::remove_dir_all(entry.path())).map_err(run.fail(Step::Create))?;
        }
    }
    Ok(())
}

/// The lock of a folder, unless someone has it or its file system knows none.
fn lock(folder: &Path) -> Option<File> {
    File::open(folder).ok().filter(|folder| folder.try_lock().is_ok())
}

/// One durable write of `path`.
struct Run<'p> {
    path: &'p Path,
    /// Mode of new files.
    mode: u32,
}

impl Run<'_> {
    fn error(&self, step: Step, source: io::Error) -> Error {
        Error { file: self.path.to_path_buf(), step, source }
    }

    fn fail(&self, step: Step) -> impl FnOnce(io::Error) -> Error {
        move |source| self.error(step, source)
    }

    fn step(
        &self,
        op: Op<'_>,
        before: Before<'_>,
        act: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), Error> {
        before(op).and_then(|_| act()).map_err(self.fail(op.step()))
    }

    fn sync_parent(&self, before: Before<'_>) -> Result<(), Error> {
        let parent = parent(self.path);
        self.step(Op::SyncFolder(parent), before, || sync_folder(parent))
    }

    /// Makes a temporary folder, has it filled with synced files, and moves it to its place; what was
    /// there may hold `names` alone.
    fn folder<E: From<Error>>(
        &self,
        names: &[&str],
        before: Before<'_>,
        fill: impl FnOnce(&Path, Before<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let temporary = self.temporary()?;
        self.step(Op::CreateFolder(&temporary), before, || fs::create_dir(&temporary))?;
        let _lock = lock(&temporary);
        let made = fill(&temporary, before).and_then(|()| {
            self.step(Op::Sync(&temporary), before, || sync_folder(&temporary))?;
            // Filling may have taken hours.
            self.refuse_other_contents(names)?;
            Ok(self.step(Op::Rename(&temporary, self.path), before, || Ok(()))?)
        });
        if let Err(error) = made {
            fs::remove_dir_all(&temporary).ok();
            return Err(error);
        }
        self.replace(&temporary, names)?;
        let synced = self.sync_parent(before);
        remove_old(&temporary, names);
        Ok(synced?)
    }

    /// Moves the folder `new` to its place; one that was there and holds some of `names` ends as `new`.
    fn replace(&self, new: &Path, names: &[&str]) -> Result<(), Error> {
        // To nothing, or in one step over an empty folder.
        let Err(error) = fs::rename(new, self.path) else { return Ok(()) };
        let there = fs::symlink_metadata(self.path).is_ok();
        let exchanged = if there { exchange(new, self.path) } else { Err(error) };
        if let Err(error) = exchanged {
            fs::remove_dir_all(new).ok();
            return Err(self.error(Step::Rename, error));
        }
        // Files that came since the last look go back to where they were put.
        if let Err(reason) = other_contents(new, names) {
            let reason = match exchange(new, self.path) {
                Ok(()) => {
                    fs::remove_dir_all(new).ok();
                    reason
                }
                Err(error) => {
                    let text = format!("{reason}; it is now {} ({error})", new.display());
                    io::Error::new(reason.kind(), text)
                }
            };
            return Err(self.error(Step::Rename, reason));
        }
        Ok(())
    }

    /// Makes `file` with what `fill` writes, synced.
    fn file(
        &self,
        file: &Path,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
        before: Before<'_>,
    ) -> Result<(), Error> {
        before(Op::Create(file)).map_err(self.fail(Step::Create))?;
        let open = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(self.mode)
            .open(file)
            .map_err(self.fail(Step::Create))?;
        let asking = Asking { path: file, file: open, before: &mut *before };
        let mut out = BufWriter::with_capacity(BUFFER, asking);
        let filled = fill(&mut out).and_then(|()| out.flush());
        // Taken apart, the buffer is not written once more after a failure.
        let open = out.into_parts().0.file;
        filled.map_err(self.fail(Step::Write))?;
        self.step(Op::Sync(file), before, || open.sync_all())
    }

    /// A name beside the target that nobody else uses.
    fn temporary(&self) -> Result<PathBuf, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Some(name) = self.path.file_name() else {
            let reason = io::Error::new(io::ErrorKind::InvalidInput, "the path has no last name");
            return Err(self.error(Step::Create, reason));
        };
        // `is_temporary` knows such names.
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let mut temporary = OsStr::new(".").to_owned();
            temporary.push(name);
            temporary.push(format!(".{}.{count}.tmp", std::process::id()));
            let temporary = parent(self.path).join(temporary);
            if !temporary.exists() {
                return Ok(temporary);
            }
        }
    }

    /// Whether `name` is one that [`Run::temporary`] gives, in any process.
    fn is_temporary(&self, name: &OsStr) -> bool {
        let own = self.path.file_name().unwrap_or_default().as_encoded_bytes();
        let numbers = name
            .as_encoded_bytes()
            .strip_prefix(b".")
            .and_then(|name| name.strip_prefix(own)?.strip_prefix(b".")?.strip_suffix(b".tmp"));
        let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        numbers.is_some_and(|numbers| {
            let mut parts = numbers.split(|&byte| byte == b'.');
            parts.clone().count() == 2 && parts.all(number)
        })
    }

    /// A rename would put a plain file in the place of `/dev/null`.
    fn refuse_what_is_no_file(&self) -> Result<(), Error> {
        match fs::metadata(self.path) {
            Ok(there) if !there.is_file() => {
                let reason = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
                Err(self.error(Step::Create, reason))
            }
            _ => Ok(()),
        }
    }

    fn refuse_other_contents(&self, names: &[&str]) -> Result<(), Error> {
        match other_contents(self.path, names) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            refused => refused.map_err(self.fail(Step::Create)),
        }
    }
}

/// An error if `folder` holds anything else than some of `names`.
fn other_contents(folder: &Path, names: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !names.iter().any(|known| name == **known) {
            let reason = format!("the folder holds {name:?}, which is not to be replaced");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
    }
    Ok(())
}

/// Removes what was replaced: `names` and the folder, or a link to it; anything else stays.
fn remove_old(old: &Path, names: &[&str]) {
    if old.is_symlink() {
        fs::remove_file(old).ok();
        return;
    }
    for name in names {
        fs::remove_file(old.join(name)).ok();
    }
    fs::remove_dir(old).ok();
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod disk;
#[cfg(test)]
mod tests;
