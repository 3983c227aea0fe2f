//! Merging an adapter into its base: a plain Hugging Face folder of `W + scale B A`.
//!
//! ```text
//! in/config.json, tokenizer, templates  -> out/, the element type in config.json where it changes
//!    *.safetensors                      -> out/model.safetensors, f32 before 16 bits, no gaps
//!
//! for each tensor: for each piece of some rows:
//!     rows of W as f32 += scale (rows of B) A  -> element type -> file
//!     under DoRA a row is then scaled to its magnitude
//! ```
//! What is held in memory is a piece, whatever the model's size. A tied head stays out, as it was. The
//! new folder appears whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use homespun_core::family::Names;
use homespun_core::lora::Target;
use homespun_kernels::{DType, Data, Kernels, Matrix, Pool};
use serde_json::{Value, json};

use crate::adapter::Adapter;
use crate::checkpoint::header::header_bytes;
use crate::checkpoint::{self, Checkpoint, Object, Part, Weight};
use crate::durable;
use crate::progress::Progress;
use crate::quantize::{self, Files};

/// The weights' file.
const NAME: &str = "model.safetensors";

/// Weights that are held at once, unless a row has more.
const PIECE: usize = 1 << 18;

/// How the merged weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// IEEE binary32.
    F32,
    /// The upper 16 bits of binary32.
    Bf16,
    /// IEEE binary16.
    F16,
}

impl Float {
    /// All of them.
    pub const ALL: [Float; 3] = [Float::F32, Float::Bf16, Float::F16];

    /// The name that options use.
    pub const fn name(self) -> &'static str {
        match self {
            Float::F32 => "f32",
            Float::Bf16 => "bf16",
            Float::F16 => "f16",
        }
    }

    /// The name in `config.json`.
    const fn in_config(self) -> &'static str {
        match self {
            Float::F32 => "float32",
            Float::Bf16 => "bfloat16",
            Float::F16 => "float16",
        }
    }

    /// The name in a safetensors header, and the bytes of an element.
    const fn in_header(self) -> (&'static str, usize) {
        match self {
            Float::F32 => ("F32", 4),
            Float::Bf16 => ("BF16", 2),
            Float::F16 => ("F16", 2),
        }
    }

    /// What a tensor is stored as; packed ones become bf16.
    const fn of(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Float::F32,
            DType::F16 => Float::F16,
            DType::Bf16 | DType::I8 | DType::Q8 | DType::Q4 => Float::Bf16,
        }
    }

    /// Replaces `bytes` by `x`, rounded to even; gives the first place that is not finite then.
    fn store(self, x: &[f32], bytes: &mut Vec<u8>) -> Option<usize> {
        bytes.clear();
        match self {
            Float::F32 => bytes.extend(x.iter().flat_map(|x| x.to_le_bytes())),
            Float::Bf16 => bytes.extend(x.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
            Float::F16 => bytes.extend(x.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
        }
        let finite = |x: f32| match self {
            Float::F32 => x.is_finite(),
            Float::Bf16 => bf16::from_f32(x).is_finite(),
            Float::F16 => f16::from_f32(x).is_finite(),
        };
        x.iter().position(|&x| !finite(x))
    }
}

/// Why a model cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The new folder.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// The disk is too small.
    #[error(transparent)]
    Space(#[from] quantize::Error),
    /// A merged weight that the element type cannot hold.
    #[error(
        "{}: tensor `{tensor}`: merged, its weight {at} is not finite as {}; try another --dtype",
        file.display(),
        float.name()
    )]
    NonFinite {
        /// The base's weights' file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Which weight, counted row by row.
        at: usize,
        /// The element type.
        float: Float,
    },
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Tensors.
    pub tensors: usize,
    /// Those that the adapter changed.
    pub adapted: usize,
    /// Bytes of the weights' file.
    pub bytes: u64,
}

/// Writes `checkpoint` with `adapter` merged into it and the `files` beside it into the folder `out`.
/// Tensors are stored as `float`, or as the base stores them, and packed ones as bf16.
///
/// # Errors
/// If a merged weight is not finite, if `out` holds anything or the disk too little; then nothing is
/// left at `out`. What a killed run left beside it goes first.
///
/// # Panics
/// If the adapter was not opened for a base of this shape.
pub fn merge(
    checkpoint: &Checkpoint,
    adapter: &Adapter,
    files: Files,
    float: Option<Float>,
    out: &Path,
    (kernels, pool): (&'static Kernels, &dyn Pool),
) -> Result<Report, Error> {
    durable::check_folder(out, &[])?;
    durable::sweep_killed(out)?;
    let parts = checkpoint.parts()?;
    let slots = slots(&parts, float);
    let header = header(&slots);
    let bytes = header.len() as u64 + slots.iter().map(Slot::bytes).sum::<u64>();
    quantize::refuse_full_disk(out, bytes)?;
    let unpacked = checkpoint.quantization().map(|_| Float::Bf16);
    let beside = files.dense(float.or(unpacked).map(Float::in_config));
    let mut report = Report { tensors: slots.len(), adapted: 0, bytes };
    durable::fill_folder(out, |folder| {
        let fail = |name: &str| {
            let file = out.join(name);
            move |source| durable::Error { file, step: durable::Step::Write, source }
        };
        for (name, bytes) in &beside {
            std::fs::write(folder.join(name), bytes).map_err(fail(name))?;
        }
        let mut file = create(&folder.join(NAME), &header).map_err(fail(NAME))?;
        let mut progress = Progress::new("merge", slots.len());
        let (mut weights, mut stored) = (Vec::new(), Vec::new());
        for slot in &slots {
            let update = Update::of(slot.part, adapter, checkpoint);
            report.adapted += usize::from(update.is_some());
            let (rows, cols) = slot.matrix();
            let step = (PIECE / cols.max(1)).max(1);
            for from in (0..rows).step_by(step) {
                let piece = from..(from + step).min(rows);
                weights.resize(piece.len() * cols, 0.0);
                slot.widen(kernels, from, &mut weights);
                if let Some(update) = &update {
                    update.add((kernels, pool), from, &mut weights);
                }
                if let Some(at) = slot.float.store(&weights, &mut stored) {
                    return Err(Error::NonFinite {
                        file: checkpoint.weights_file().to_path_buf(),
                        tensor: slot.part.name.clone(),
                        at: from * cols + at,
                        float: slot.float,
                    });
                }
                file.write_all(&stored).map_err(fail(NAME))?;
            }
            progress.advance(1, 0);
        }
        Ok::<_, Error>(())
    })?;
    Ok(report)
}

fn create(file: &Path, header: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(file)?;
    file.write_all(header)?;
    Ok(file)
}

/// A tensor of the new file.
struct Slot<'p, 'a> {
    part: &'p Part<'a>,
    float: Float,
}

/// The tensors in the order of the file: each begins at a multiple of its element's size.
fn slots<'p, 'a>(parts: &'p [Part<'a>], float: Option<Float>) -> Vec<Slot<'p, 'a>> {
    let slot = |part: &'p Part<'a>| {
        let stored = match part.weight {
            Weight::Matrix(matrix) => Float::of(matrix.dtype()),
            Weight::Vector(data) => Float::of(data.dtype()),
        };
        Slot { part, float: float.unwrap_or(stored) }
    };
    let mut slots: Vec<_> = parts.iter().map(slot).collect();
    slots.sort_by_key(|slot| slot.float != Float::F32);
    slots
}

fn header(slots: &[Slot]) -> Vec<u8> {
    let mut json = Object::new();
    json.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut from = 0;
    for slot in slots {
        let shape = match slot.part.weight {
            Weight::Matrix(matrix) => vec![matrix.rows(), matrix.cols()],
            Weight::Vector(data) => vec![data.len()],
        };
        let (to, dtype) = (from + slot.bytes(), slot.float.in_header().0);
        let info: Value = json!({"dtype": dtype, "shape": shape, "data_offsets": [from, to]});
        json.insert(slot.part.name.clone(), info);
        from = to;
    }
    header_bytes(json)
}

impl Slot<'_, '_> {
    /// Its rows and columns; a vector is one row.
    fn matrix(&self) -> (usize, usize) {
        match self.part.weight {
            Weight::Matrix(matrix) => (matrix.rows(), matrix.cols()),
            Weight::Vector(data) => (1, data.len()),
        }
    }

    fn bytes(&self) -> u64 {
        let (rows, cols) = self.matrix();
        (rows * cols * self.float.in_header().1) as u64
    }

    /// `out` = the base's rows from row `from` on.
    fn widen(&self, kernels: &Kernels, from: usize, out: &mut [f32]) {
        match self.part.weight {
            Weight::Vector(data) => kernels.widen(data, out),
            Weight::Matrix(matrix) => {
                for (i, out) in out.chunks_exact_mut(matrix.cols()).enumerate() {
                    kernels.widen_row(matrix, from + i, out);
                }
            }
        }
    }
}

/// What an adapter adds to a matrix `(N, K)`.
struct Update<'a> {
    a: Matrix<'a>,
    /// `(N, R)`.
    b: &'a [f32],
    scale: f32,
    /// DoRA's m, `(N)`.
    magnitude: Option<&'a [f32]>,
}

impl<'a> Update<'a> {
    /// That of the tensor `part`, if it is adapted.
    fn of(part: &Part, adapter: &'a Adapter, checkpoint: &Checkpoint) -> Option<Self> {
        let (config, base) = (&adapter.config, checkpoint.config());
        let names = &base.family.spec().names;
        let rest = part.name.strip_prefix(names.layer)?.strip_suffix(".weight")?;
        let (layer, module) = rest.split_once('.')?;
        let target = Target::ALL.into_iter().find(|&target| module_of(names, target) == module)?;
        let from = config.offset(base, layer.parse().ok()?, target)?;
        let (outputs, inputs) = target.shape(base);
        let (a, rest) = adapter.parameters[from..].split_at(config.rank * inputs);
        let (b, rest) = rest.split_at(outputs * config.rank);
        let a = Matrix::new(Data::F32(a), config.rank, inputs);
        let magnitude = config.dora.then(|| &rest[..outputs]);
        Some(Self { a, b, scale: config.scale(), magnitude })
    }

    /// Adds its rows from row `from` on to `weights`.
    fn add(&self, (kernels, pool): (&Kernels, &dyn Pool), from: usize, weights: &mut [f32]) {
        let (rank, cols) = (self.a.rows(), self.a.cols());
        let b = &self.b[from * rank..][..weights.len() / cols * rank];
        let mut update = vec![0.0; weights.len()];
        kernels.matmul_backward(pool, b, self.a, false, &mut update);
        kernels.axpy(self.scale, &update, weights);
        let Some(magnitude) = self.magnitude else { return };
        for (row, m) in weights.chunks_exact_mut(cols).zip(&magnitude[from..]) {
            let norm = row.iter().map(|&w| f64::from(w) * f64::from(w)).sum::<f64>().sqrt();
            kernels.scale((f64::from(*m) / norm) as f32, row);
        }
    }
}

/// The name of a linear layer below its block.
const fn module_of(names: &Names, target: Target) -> &'static str {
    match target {
        Target::Q => names.q_proj,
        Target::K => names.k_proj,
        Target::V => names.v_proj,
        Target::O => names.o_proj,
        Target::Gate => names.gate_proj,
        Target::Up => names.up_proj,
        Target::Down => names.down_proj,
    }
}
