//! Quantising a checkpoint: a dense folder in, a folder of packed matrices out.
//!
//! ```text
//! in/config.json             -> out/config.json with `quantization_config`
//!    generation_config.json, tokenizer and template files  -> as they are
//!    *.safetensors           -> out/model.safetensors: matrices packed, norms and biases as stored
//!
//! for each matrix: for each piece of some panels: pack (all threads) -> hash, write
//! ```
//! `file.rs` draws the weights' file. What is held in memory is a piece, whatever the model's size.
//! The new folder appears whole or not at all.

mod against;
mod beside;
mod errors;
mod file;
mod verify;

use std::path::{Path, PathBuf};

use homespun_kernels::quant::{self, Format, Packed, ROWS};
use homespun_kernels::{Data, Matrix, Pool, Storage, pairs_mut};

pub use against::{Comparison, Text, WriteError, compare, write};
pub use beside::Files;
pub use errors::{Figures, Kind};
pub use verify::{Hashes, Verdict, verify};

use crate::checkpoint::quantization::FIELD;
use crate::checkpoint::{self, Checkpoint, Part, Quantization, Weight};
use crate::durable;
use crate::progress::Progress;
use file::WeightsFile;

/// Packed bytes that are held at once.
const PIECE: usize = 8 << 20;

/// Why a model cannot be quantised.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The new folder.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// The model is quantised.
    #[error(
        "{}: `{FIELD}` says that the model is quantised already; give the one that it was made from",
        file.display()
    )]
    Already {
        /// `config.json`.
        file: PathBuf,
    },
    /// A tensor that no format can hold.
    #[error("{}: tensor `{tensor}` {reason}", file.display())]
    Tensor {
        /// The weights' file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// What it has, and where.
        reason: String,
    },
    /// The disk is too small.
    #[error("{}: {needed} bytes are needed, {free} are free on its disk", folder.display())]
    Space {
        /// The new folder.
        folder: PathBuf,
        /// What the weights take.
        needed: u64,
        /// What there is.
        free: u64,
    },
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Bytes of the tensors, before and after.
    pub bytes: [u64; 2],
    /// Weights of all tensors.
    pub weights: u64,
    /// The packed matrices, by what they are.
    pub kinds: Vec<Kind>,
}

/// Writes `checkpoint` and the `files` beside it into the folder `out` with its matrices packed as `quantization` says.
///
/// # Errors
/// If the model is quantised already or has a weight that is not finite, if `out` holds anything or
/// the disk too little; then nothing is left at `out`. What a killed run left beside it goes first.
pub fn quantize(
    checkpoint: &Checkpoint,
    files: Files,
    quantization: Quantization,
    out: &Path,
    pool: &dyn Pool,
) -> Result<Report, Error> {
    if checkpoint.quantization().is_some() {
        return Err(Error::Already { file: checkpoint.path().join("config.json") });
    }
    durable::check_folder(out, &[])?;
    durable::sweep_killed(out)?;
    let names = &checkpoint.config().family.spec().names;
    let parts = checkpoint.parts()?;
    let format = |part: &Part| quantization.format_of(names, &part.name);
    let mut file = WeightsFile::new(&parts, &format);
    refuse_full_disk(out, file.bytes())?;
    let mut report = Report {
        bytes: [checkpoint.weight_bytes(), file.data_bytes()],
        weights: 0,
        kinds: Vec::new(),
    };
    let beside = files.quantised(quantization);
    durable::fill_folder(out, |folder| {
        let fail = |name: &str| {
            let file = out.join(name);
            move |source| durable::Error { file, step: durable::Step::Write, source }
        };
        for (name, bytes) in &beside {
            std::fs::write(folder.join(name), bytes).map_err(fail(name))?;
        }
        file.create(&folder.join(file::NAME)).map_err(fail(file::NAME))?;
        let mut progress = Progress::new("quantize", file.len());
        for i in 0..file.len() {
            let part = file.part(i);
            let damaged = |reason: String| Error::Tensor {
                file: checkpoint.weights_file().to_path_buf(),
                tensor: part.name.clone(),
                reason,
            };
            match part.weight {
                Weight::Vector(data) => {
                    if let Some(at) = (0..data.len()).find(|&at| !data.get(at).is_finite()) {
                        let reason = format!("has a value that is not finite, at {at}");
                        return Err(damaged(reason));
                    }
                    report.weights += data.len() as u64;
                    file.write(i, bytes_of(data)).map_err(fail(file::NAME))?;
                }
                Weight::Matrix(matrix) => {
                    let mut figures = Figures::default();
                    for (piece, first) in pieces(matrix, format(part)) {
                        let packed = pack(piece, format(part), pool)
                            .map_err(|(row, error)| damaged(at_row(error, first + row)))?;
                        figures.add(&packed.1);
                        file.write(i, &packed.0).map_err(fail(file::NAME))?;
                    }
                    report.weights += (matrix.rows() * matrix.cols()) as u64;
                    errors::add(&mut report.kinds, &part.name, format(part), figures);
                }
            }
            progress.advance(1, 0);
        }
        file.finish().map_err(fail(file::NAME))?;
        Ok::<_, Error>(())
    })?;
    Ok(report)
}

/// Runs of rows that make at most [`PIECE`] packed bytes, or one panel, with the first row of each.
fn pieces(matrix: Matrix, format: Format) -> impl Iterator<Item = (Matrix, usize)> {
    let rows = (PIECE / format.panel_bytes(matrix.cols())).max(1) * ROWS;
    (0..matrix.rows())
        .step_by(rows)
        .map(move |from| (matrix.rows_range(from, (from + rows).min(matrix.rows())), from))
}

/// Packs a dense matrix; an error comes with the first row of the panel that it counts from.
fn pack(
    matrix: Matrix,
    format: Format,
    pool: &dyn Pool,
) -> Result<(Vec<u8>, Figures), (usize, quant::Error)> {
    let (rows, cols, panel) = (matrix.rows(), matrix.cols(), format.panel_bytes(matrix.cols()));
    let panels = rows.div_ceil(ROWS);
    let mut bytes = vec![0; panels * panel];
    let mut found = vec![Ok(Figures::default()); panels];
    pairs_mut(pool, (&mut bytes, panel), (&mut found, 1), &|i, bytes, found| {
        let piece = matrix.rows_range(i * ROWS, ((i + 1) * ROWS).min(rows));
        found[0] = pack_panel(piece, format, bytes);
    });
    let mut figures = Figures::default();
    for (i, found) in found.into_iter().enumerate() {
        figures.add(&found.map_err(|error| (i * ROWS, error))?);
    }
    assert_eq!(format.bytes(rows, cols), Some(bytes.len()));
    Ok((bytes, figures))
}

fn pack_panel(matrix: Matrix, format: Format, bytes: &mut [u8]) -> Result<Figures, quant::Error> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let mut figures = Figures::default();
    let Storage::Dense(data) = matrix.storage() else { return Ok(figures) };
    quant::pack(format, data, rows, cols, bytes)?;
    if let Some(packed) = Packed::new(format, bytes, rows, cols) {
        let mut row = vec![0.0; cols];
        for i in 0..rows {
            packed.dequantize(i, 0, &mut row);
            figures.compare(data.slice(i * cols, (i + 1) * cols), &row);
        }
    }
    Ok(figures)
}

/// The error with rows counted from `first`.
fn at_row(error: quant::Error, first: usize) -> String {
    match error {
        quant::Error::NonFinite { row, col } => {
            quant::Error::NonFinite { row: first + row, col }.to_string()
        }
        quant::Error::TooLarge { row } => quant::Error::TooLarge { row: first + row }.to_string(),
    }
}

/// As the file has them.
fn bytes_of(data: Data<'_>) -> &[u8] {
    match data {
        Data::F32(x) => bytemuck::cast_slice(x),
        Data::Bf16(x) => bytemuck::cast_slice(x),
        Data::F16(x) => bytemuck::cast_slice(x),
        Data::I8(x) => bytemuck::cast_slice(x),
    }
}

/// Refuses to write `needed` bytes into `folder` where its disk has less left.
pub(crate) fn refuse_full_disk(folder: &Path, needed: u64) -> Result<(), Error> {
    refuse_little_space(folder, needed, free_bytes(folder))
}

fn refuse_little_space(folder: &Path, needed: u64, free: Option<u64>) -> Result<(), Error> {
    match free {
        Some(free) if free < needed => {
            Err(Error::Space { folder: folder.to_path_buf(), needed, free })
        }
        Some(_) | None => Ok(()),
    }
}

/// What the disk of a folder that is yet to be made has left, if the system tells.
fn free_bytes(folder: &Path) -> Option<u64> {
    let parent = folder.parent().filter(|parent| *parent != Path::new(""));
    let there = rustix::fs::statvfs(parent.unwrap_or(Path::new("."))).ok()?;
    there.f_bavail.checked_mul(there.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_too_little_room_is_told_before_the_work() {
        let refuse = |free| refuse_little_space(Path::new("out"), 1000, free);
        assert!(refuse(Some(1000)).is_ok() && refuse(None).is_ok());
        let error = refuse(Some(999)).expect_err("too little").to_string();
        assert_eq!(error, "out: 1000 bytes are needed, 999 are free on its disk");
        assert!(free_bytes(Path::new("out")).is_some_and(|free| free > 0));
    }
}
