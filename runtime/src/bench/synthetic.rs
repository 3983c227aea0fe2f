//! A model of random weights in a file without a name, mapped like a real one.
//!
//! ```text
//! DIR/(unlinked)   | n | header, padded to 64 | matrices | vectors |      safetensors
//! weight = 0.02 z, z the sum of four random bytes, centred, with variance 1; norms are 1
//! packed matrices: random quants under one scale, whose panels and blocks are whole in every shape
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
use homespun_kernels::quant::{self, Format, ROWS};
use homespun_kernels::{DType, Pool};
use serde_json::{Map, json};

use super::shape::{Kind, Shape};
use crate::checkpoint::Quantization;
use crate::checkpoint::header::header_bytes;

/// Standard deviation of the weights.
const DEVIATION: f32 = 0.02;
/// Elements that are made at once, more or less: rows of a packed matrix go whole.
const PIECE: usize = 1 << 16;

/// How weights can be stored.
pub const DTYPES: [DType; 5] = [DType::F32, DType::Bf16, DType::F16, DType::Q8, DType::Q4];

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
    stored: Stored,
    at: u64,
}

/// How a tensor is stored.
#[derive(Clone, Copy)]
enum Stored {
    F32,
    Bf16,
    F16,
    Packed(Format),
}

/// How matrices are packed in a model of `dtype`: in `q4` the embedding, which is the head, is `q8`.
pub(super) const fn quantization(dtype: DType) -> Option<Quantization> {
    match dtype {
        DType::F32 | DType::Bf16 | DType::F16 | DType::I8 => None,
        DType::Q8 => Some(Quantization { format: Format::Q8, head: Format::Q8 }),
        DType::Q4 => Some(Quantization { format: Format::Q4, head: Format::Q8 }),
    }
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
            let (units, step) = (place.units(), place.step());
            (0..units.div_ceil(step))
                .map(move |piece| (i, piece * step, step.min(units - piece * step)))
        })
        .collect();
    let problem = Mutex::new(None);
    pool.run(pieces.len(), &|piece| {
        let (i, from, count) = pieces[piece];
        let at = places[i].at + (from * places[i].unit_bytes()) as u64;
        if let Err(error) = file.write_all_at(&places[i].piece(i, from, count), at) {
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

/// A file like that of [`write()`] with holes for weights: it opens and maps as they do and takes no
/// room on the disk.
///
/// # Errors
/// If the system has no place for temporary files.
pub fn hollow(shape: &Shape, dtype: DType) -> io::Result<File> {
    let (header, places) = layout(shape, dtype);
    let end = |place: &Place| place.at + (place.units() * place.unit_bytes()) as u64;
    let file = tempfile::tempfile()?;
    file.write_all_at(&header, 0)?;
    file.set_len(places.last().map_or(header.len() as u64, end))?;
    Ok(file)
}

/// The file's head, and where each tensor lies.
fn layout(shape: &Shape, dtype: DType) -> (Vec<u8>, Vec<Place>) {
    let mut entries = Map::new();
    let (mut places, mut end) = (Vec::new(), 0);
    for (name, kind) in shape.tensors() {
        let stored = match (kind, quantization(dtype)) {
            (Kind::Matrix(..), Some(packing)) => {
                Stored::Packed(packing.format_of(shape.names(), &name))
            }
            (Kind::Bias(_) | Kind::Norm(_), Some(_)) => Stored::Bf16,
            (_, None) => match dtype {
                DType::F16 => Stored::F16,
                DType::Bf16 => Stored::Bf16,
                DType::F32 | DType::I8 | DType::Q8 | DType::Q4 => Stored::F32,
            },
        };
        let place = Place { kind, stored, at: end };
        end += (place.units() * place.unit_bytes()) as u64;
        let (dtype, sizes) = place.stored_as();
        let entry = json!({"dtype": dtype, "shape": sizes, "data_offsets": [place.at, end]});
        entries.insert(name, entry);
        places.push(place);
    }
    let header = header_bytes(entries);
    for place in &mut places {
        place.at += header.len() as u64;
    }
    (header, places)
}

impl Place {
    /// What a piece is made of: the panels of a packed matrix, the elements of anything else.
    const fn units(&self) -> usize {
        match (self.kind, self.stored) {
            (Kind::Matrix(rows, _), Stored::Packed(_)) => rows.div_ceil(ROWS),
            (Kind::Matrix(rows, cols), Stored::F32 | Stored::Bf16 | Stored::F16) => rows * cols,
            (Kind::Bias(len) | Kind::Norm(len), _) => len,
        }
    }

    const fn unit_bytes(&self) -> usize {
        match (self.kind, self.stored) {
            (Kind::Matrix(_, cols), Stored::Packed(format)) => format.panel_bytes(cols),
            (_, Stored::F32) => 4,
            (_, Stored::Bf16 | Stored::F16 | Stored::Packed(_)) => 2,
        }
    }

    /// Units of a piece.
    fn step(&self) -> usize {
        match (self.kind, self.stored) {
            (Kind::Matrix(_, cols), Stored::Packed(_)) => (PIECE / (ROWS * cols)).max(1),
            _ => PIECE,
        }
    }

    /// The element type and the shape in the file's header.
    fn stored_as(&self) -> (&'static str, Vec<usize>) {
        let sizes = match self.kind {
            Kind::Matrix(rows, cols) => vec![rows, cols],
            Kind::Bias(len) | Kind::Norm(len) => vec![len],
        };
        match self.stored {
            Stored::F32 => ("F32", sizes),
            Stored::Bf16 => ("BF16", sizes),
            Stored::F16 => ("F16", sizes),
            Stored::Packed(_) => ("U8", vec![self.units(), self.unit_bytes()]),
        }
    }

    /// Units `from .. from + count` of tensor `i`, as they are stored.
    fn piece(&self, i: usize, from: usize, count: usize) -> Vec<u8> {
        let rng = &mut Rng::new(hash(&[i as u64, from as u64]));
        if let (Kind::Matrix(_, cols), Stored::Packed(format)) = (self.kind, self.stored) {
            let mut bytes = vec![0; count * self.unit_bytes()];
            let draw = &mut || rng.next_u64();
            quant::random(format, count * ROWS, cols, DEVIATION, draw, &mut bytes);
            return bytes;
        }
        let mut numbers = vec![1.0; count];
        if !matches!(self.kind, Kind::Norm(_)) {
            normal(rng, &mut numbers);
        }
        match self.stored {
            Stored::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Stored::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Stored::Bf16 | Stored::Packed(_) => {
                numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect()
            }
        }
    }
}

/// Fills `out` with nearly normal numbers, two from each draw.
fn normal(rng: &mut Rng, out: &mut [f32]) {
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
