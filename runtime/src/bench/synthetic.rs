//! A model of random weights in a file without a name, mapped like a real one.
//!
//! ```text
//! DIR/(unlinked)   | n | header, padded to 64 | matrices | vectors |      safetensors
//! weight = 0.02 z, z the sum of four random bytes, centred, with variance 1; norms are 1
//! ```
//! The system takes the file away when the program ends, however it ends. Each piece has its own
//! stream of random numbers, so the weights do not depend on the number of threads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use homespun_core::rng::{Rng, hash};
use homespun_kernels::{DType, Pool};
use serde_json::{Map, Value, json};

use super::shape::{Kind, Shape};

/// Bytes of each random number's standard deviation.
const DEVIATION: f32 = 0.02;
/// Elements that are made at once; a multiple of 64.
const PIECE: usize = 1 << 20;
/// Where the data of a file and its tensors begin.
const ALIGN: usize = 64;

/// Element types that weights can be made in.
pub const DTYPES: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

/// The file systems that are memory: weights there would not be a file's.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Why the weights could not be written.
#[derive(Debug, thiserror::Error)]
#[error("--cache: {}: {reason}", dir.display())]
pub struct Error {
    /// The folder.
    pub dir: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// One tensor's place in the file.
struct Place {
    kind: Kind,
    dtype: DType,
    at: u64,
}

/// The folder that caches belong in: `XDG_CACHE_HOME/homespun` or `HOME/.cache/homespun`, made if it
/// is not there.
///
/// # Errors
/// If neither variable is set, or the folder cannot be made.
pub fn default_cache() -> Result<PathBuf, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").map(|home| home.join(".cache"));
    let Some(cache) = set("XDG_CACHE_HOME").or_else(home) else {
        let reason = "no such variable is set; name a folder with --cache DIR".into();
        return Err(Error { dir: "$XDG_CACHE_HOME, $HOME".into(), reason });
    };
    let dir = cache.join("homespun");
    match std::fs::create_dir_all(&dir) {
        Ok(()) => Ok(dir),
        Err(error) => Err(Error { dir, reason: format!("cannot be made: {error}") }),
    }
}

/// Writes random weights of `shape` to a file in `dir` that has no name.
///
/// # Errors
/// If `dir` is no folder, is in memory, cannot be written to or is full.
pub fn write(shape: &Shape, dtype: DType, dir: &Path, pool: &dyn Pool) -> Result<File, Error> {
    let error = |reason: String| Error { dir: dir.to_path_buf(), reason };
    let failed = |problem: io::Error| error(format!("the weights cannot be written: {problem}"));
    let kind = rustix::fs::statfs(dir).map_err(|e| error(format!("cannot be used: {e}")))?.f_type;
    if IN_MEMORY.contains(&(kind as u64 & 0xffff_ffff)) {
        return Err(error("lies in memory (tmpfs), not on a disk; name another folder".into()));
    }
    let (header, places) = layout(shape, dtype);
    let file = tempfile::tempfile_in(dir).map_err(failed)?;
    file.write_all_at(&header, 0).map_err(failed)?;
    let pieces: Vec<_> = places
        .iter()
        .enumerate()
        .flat_map(|(i, place)| {
            let elements = place.elements();
            (0..elements.div_ceil(PIECE))
                .map(move |piece| (i, piece * PIECE, PIECE.min(elements - piece * PIECE)))
        })
        .collect();
    let problem = Mutex::new(None);
    pool.run(pieces.len(), &|piece| {
        let (i, from, count) = pieces[piece];
        let bytes = places[i].piece(i, from, count);
        let at = places[i].at + (from * places[i].dtype_bytes()) as u64;
        if let Err(error) = file.write_all_at(&bytes, at) {
            problem.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    });
    if let Some(problem) = problem.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failed(problem));
    }
    // What the system still had to write would disturb the measurements.
    file.sync_data().map_err(failed)?;
    Ok(file)
}

/// The file's head, and where each tensor lies.
fn layout(shape: &Shape, dtype: DType) -> (Vec<u8>, Vec<Place>) {
    let mut entries = Map::new();
    let (mut places, mut end) = (Vec::new(), 0);
    for (name, kind) in shape.tensors() {
        let place = Place { kind, dtype, at: end };
        let next = end + (place.elements() * place.dtype_bytes()) as u64;
        let sizes = match kind {
            Kind::Matrix(rows, cols) => vec![rows, cols],
            Kind::Bias(len) | Kind::Norm(len) => vec![len],
        };
        let stored = match dtype {
            DType::Bf16 => "BF16",
            DType::F16 => "F16",
            DType::F32 | DType::I8 | DType::Q8 | DType::Q4 => "F32",
        };
        let entry = json!({"dtype": stored, "shape": sizes, "data_offsets": [end, next]});
        entries.insert(name, entry);
        places.push(place);
        end = next;
    }
    let mut json = Value::Object(entries).to_string();
    let padded = (8 + json.len()).next_multiple_of(ALIGN) - 8;
    json.extend(core::iter::repeat_n(' ', padded - json.len()));
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(json.as_bytes());
    for place in &mut places {
        place.at += header.len() as u64;
    }
    (header, places)
}

impl Place {
    const fn elements(&self) -> usize {
        match self.kind {
            Kind::Matrix(rows, cols) => rows * cols,
            Kind::Bias(len) | Kind::Norm(len) => len,
        }
    }

    const fn dtype_bytes(&self) -> usize {
        match self.dtype {
            DType::Bf16 | DType::F16 => 2,
            DType::F32 | DType::I8 | DType::Q8 | DType::Q4 => 4,
        }
    }

    /// Elements `from .. from + count` of tensor `i`, as they are stored.
    fn piece(&self, i: usize, from: usize, count: usize) -> Vec<u8> {
        let mut numbers = vec![1.0; count];
        if !matches!(self.kind, Kind::Norm(_)) {
            random(&mut Rng::new(hash(&[i as u64, from as u64])), &mut numbers);
        }
        match self.dtype {
            DType::Bf16 => numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            DType::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            DType::F32 | DType::I8 | DType::Q8 | DType::Q4 => {
                numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
            }
        }
    }
}

/// Fills `out` with nearly normal numbers, two from each draw.
fn random(rng: &mut Rng, out: &mut [f32]) {
    // A byte has variance (256^2 - 1) / 12, and four of them four times that.
    let scale = DEVIATION / (65_535.0f32 / 3.0).sqrt();
    for pair in out.chunks_mut(2) {
        let bytes = rng.next_u64().to_le_bytes();
        for (x, four) in pair.iter_mut().zip(bytes.as_chunks::<4>().0) {
            let sum: u32 = four.iter().map(|&byte| u32::from(byte)).sum();
            *x = (sum as f32 - 510.0) * scale;
        }
    }
}
