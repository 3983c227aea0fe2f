//! Moving a person to another device: all of a state in one file, of no use without its code.
//!
//! ```text
//! FILE   sealed (see `seal::stream`) with a key of its own, the code; in it, one after another
//!   entry   name, \n | bytes in decimal, \n | the bytes
//!   names   state.json, samples.jsonl, the other files of rows, adapters/N/... of the current one
//! ```
//! `samples.jsonl` has a row for each dialogue of the buffer, so that another device's flash, or another
//! base, can take it. A state appears at its place whole: it is made beside it and renamed.

mod archive;
mod rows;

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::Path;

use super::vault::Keys;
use super::{ADAPTERS, Error, RECORD, ROWS, Record, State, TRAINING, image, queue, seen};
use crate::adapter::{CONFIG_FILE, TENSORS_FILE};
use crate::durable::{self, go_on};
use crate::seal::stream::{self, Opener, Sealer};
use crate::seal::{Key, system_random};
pub use archive::Code;
pub use rows::Row;

/// What the file calls itself where it is sealed.
const NAME: &str = "homespun export 1";
const SAMPLES: &str = "samples.jsonl";

/// Writes all of `state` to `file`, and gives the code that opens it.
///
/// # Errors
/// If a file of the state cannot be read, or `file` cannot be written: then it is as it was.
pub fn export(state: &State, file: &Path) -> Result<Code, Error> {
    let mut bytes = [0; 32];
    system_random(&mut bytes).map_err(|error| invalid(file, "code", error.to_string()))?;
    let code = Code::new(Key::new(bytes));
    let (vault, record) = (state.vault(), &state.record);
    let plain = |name: &str| -> Result<_, Error> { Ok(vault.read(name)?) };
    let mut entries = Vec::new();
    for name in ROWS {
        entries.extend(plain(name)?.map(|bytes| (name.to_owned(), bytes)));
    }
    if let Some(folder) = state.current_adapter() {
        for part in [CONFIG_FILE, TENSORS_FILE, seen::FILE] {
            let name = format!("{folder}/{part}");
            entries.extend(plain(&name)?.map(|bytes| (name, bytes)));
        }
    }
    let samples = rows::write(&rows::read(state)?);
    entries.push((SAMPLES.to_owned(), samples));
    let record = serde_json::to_vec(&Record { in_round: false, ..record.clone() });
    let record = record.map_err(|error| invalid(file, RECORD, error.to_string()))?;
    entries.push((RECORD.to_owned(), record.into()));
    let fill = |out: &mut dyn Write| {
        let mut sealer = Sealer::new(code.key(), NAME, out)?;
        entries.iter().try_for_each(|(name, bytes)| archive::write(&mut sealer, name, bytes))?;
        sealer.finish().map(drop)
    };
    durable::write_private_with(file, fill, &mut go_on)?;
    Ok(code)
}

/// Makes the state in `file` a state at `root`, which is not there yet, under a key of `keys`. `change`
/// may alter the record and the dialogues before they are written, for another base; an adapter that
/// the record does not name any more is left out.
///
/// # Errors
/// If the code is another, the file damaged, `root` there already or not writable, or `change` fails:
/// then there is no state at `root`.
pub fn import<E: From<Error>>(
    file: &Path,
    code: &Code,
    root: &Path,
    keys: &Keys,
    change: impl FnOnce(&mut Record, &mut Vec<Row>) -> Result<(), E>,
) -> Result<State, E> {
    let mut entries = read(file, code)?;
    let mut take = |name: &str| {
        let at = entries.iter().position(|(one, _)| one == name);
        at.map(|at| entries.swap_remove(at).1)
    };
    let missing = |name: &str| invalid(file, name, "is not in the file".into());
    let record = take(RECORD).ok_or_else(|| missing(RECORD))?;
    let mut record: Record = serde_json::from_slice(&record)
        .map_err(|error| invalid(file, RECORD, error.to_string()))?;
    let samples = take(SAMPLES).ok_or_else(|| missing(SAMPLES))?;
    let mut rows = rows::parse(file, &samples)?;
    change(&mut record, &mut rows)?;
    let is_used = root.exists() && fs::read_dir(root).map_err(Error::io(root))?.next().is_some();
    if is_used {
        return Err(invalid(root, "--state", "there is something already".into()).into());
    }
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let beside = root.with_file_name(format!(".{name}.{}.import", std::process::id()));
    let made = fill(&beside, record, &rows, entries, keys).and_then(|()| {
        if root.exists() {
            fs::remove_dir(root).map_err(Error::io(root))?;
        }
        fs::rename(&beside, root).map_err(Error::io(root))?;
        let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(Error::io(parent))?;
        State::open(root, keys)
    });
    if made.is_err() && beside.exists() {
        // It was made above; the first error is the one to tell.
        let _ = fs::remove_dir_all(&beside);
    }
    Ok(made?)
}

/// Fills a state at `root`.
fn fill(
    root: &Path,
    record: Record,
    rows: &[Row],
    entries: Vec<archive::Entry>,
    keys: &Keys,
) -> Result<(), Error> {
    let bins = record.bins;
    let state = State::open_or_create(root, record, true, keys)?;
    let current = state.current_adapter();
    for (name, bytes) in entries {
        let of_adapter = name.starts_with(&format!("{ADAPTERS}/"));
        if of_adapter {
            if !current.as_ref().is_some_and(|folder| name.starts_with(&format!("{folder}/"))) {
                continue;
            }
            state.vault().make_folder(ADAPTERS, &mut go_on)?;
            if let Some(folder) = &current {
                state.vault().make_folder(folder, &mut go_on)?;
            }
        } else if !ROWS.contains(&name.as_str()) {
            return Err(invalid(root, &name, "is no file of a state".into()));
        }
        state.vault().write(&name, &bytes)?;
    }
    let mut samples = image::open(state.vault(), bins)?;
    rows.iter().try_for_each(|row| row.put(&mut samples, &state))?;
    drop(samples);
    // What an answer belongs to is in the buffer.
    let living: Vec<u64> = rows.iter().map(|row| row.arrival).collect();
    let mut requests = queue::read(state.vault())?;
    let asked = requests.len();
    requests.retain(|request| living.contains(&request.arrival));
    if requests.len() < asked {
        queue::write(state.vault(), &requests)?;
    }
    debug_assert!(!state.vault().path(TRAINING).exists());
    state.save()
}

fn read(file: &Path, code: &Code) -> Result<Vec<archive::Entry>, Error> {
    let opened = File::open(file).map_err(Error::io(file))?;
    let length = opened.metadata().map_err(Error::io(file))?.len();
    let keys = |name| (name == code.key().name()).then_some(code.key());
    let opener = Opener::new(keys, NAME, length, BufReader::new(opened));
    let wrong = |error: stream::Error| match error {
        stream::Error::NoKey(_) => invalid(file, "--code", "is not the code of this file".into()),
        stream::Error::NotSealed => invalid(file, "file", "is no exported state".into()),
        error => invalid(file, "file", error.to_string()),
    };
    let text = opener.and_then(Opener::read_all).map_err(wrong)?;
    archive::parse(&text).ok_or_else(|| invalid(file, "file", "is no exported state".into()))
}

fn invalid(path: &Path, field: &str, reason: String) -> Error {
    Error::Invalid { path: path.into(), field: field.into(), reason }
}
