//! The weights' file, written tensor by tensor.
//!
//! ```text
//! 0        8                                8 + n, a multiple of 64
//! | n: u64 | JSON, spaces up to there        | packed matrices | f32 | bf16, f16 |
//!            {"__metadata__": {"format": "pt", "sha256:NAME": hex, ...},
//!             NAME: {"dtype": "U8", "shape": [panels, panel bytes], "data_offsets": [from, to)}, ...}
//! ```
//! A packed matrix is a multiple of 64 bytes long, so each begins at one, as safetensors allows no
//! holes. Hashes are known last: the header is written twice, first with those of
//! nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use homespun_kernels::DType;
use homespun_kernels::quant::{Format, ROWS};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::checkpoint::header::{HASH, header_bytes};
use crate::checkpoint::{Object, Part, Weight};

/// Its name in a folder.
pub(super) const NAME: &str = "model.safetensors";

/// A weights' file to be.
pub(super) struct WeightsFile<'p, 'a> {
    slots: Vec<Slot<'p, 'a>>,
    out: Option<File>,
}

struct Slot<'p, 'a> {
    part: &'p Part<'a>,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: u64,
    hash: Sha256,
}

impl<'p, 'a> WeightsFile<'p, 'a> {
    /// Lays the tensors out; `format` tells how a matrix is packed.
    pub(super) fn new(parts: &'p [Part<'a>], format: &dyn Fn(&Part) -> Format) -> Self {
        let mut slots: Vec<_> = parts.iter().map(|part| Slot::new(part, format(part))).collect();
        slots.sort_by_key(|slot| match slot.dtype {
            "U8" => 0,
            "F32" => 1,
            _ => 2,
        });
        Self { slots, out: None }
    }

    /// The number of tensors.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The tensor that is written as number `i`.
    pub(super) fn part(&self, i: usize) -> &'p Part<'a> {
        self.slots[i].part
    }

    /// Bytes of the tensors.
    pub(super) fn data_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.bytes).sum()
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.header().len() as u64 + self.data_bytes()
    }

    /// Makes `file`, its header first.
    pub(super) fn create(&mut self, file: &Path) -> io::Result<()> {
        let mut out = OpenOptions::new().write(true).create_new(true).open(file)?;
        out.write_all(&self.header())?;
        self.out = Some(out);
        Ok(())
    }

    /// Appends bytes of tensor `i`; tensors come in their order.
    pub(super) fn write(&mut self, i: usize, bytes: &[u8]) -> io::Result<()> {
        self.slots[i].hash.update(bytes);
        match &mut self.out {
            Some(out) => out.write_all(bytes),
            None => Err(io::Error::other("it was not created")),
        }
    }

    /// Writes the hashes.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let header = self.header();
        let Some(mut out) = self.out.take() else { return Ok(()) };
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&header)
    }

    /// All that comes before the tensors; its length does not depend on what was written.
    fn header(&self) -> Vec<u8> {
        let mut metadata = Object::new();
        metadata.insert("format".to_owned(), json!("pt"));
        let mut json = Object::new();
        let mut from = 0;
        for slot in &self.slots {
            let hash = slot.hash.clone().finalize();
            metadata.insert(format!("{HASH}{}", slot.part.name), json!(format!("{hash:x}")));
            let to = from + slot.bytes;
            let info = json!({
                "dtype": slot.dtype, "shape": slot.shape, "data_offsets": [from, to],
            });
            json.insert(slot.part.name.clone(), info);
            from = to;
        }
        json.insert("__metadata__".to_owned(), Value::Object(metadata));
        header_bytes(json)
    }
}

impl<'p, 'a> Slot<'p, 'a> {
    fn new(part: &'p Part<'a>, format: Format) -> Self {
        let (dtype, shape, size) = match part.weight {
            Weight::Matrix(matrix) => {
                let panel = format.panel_bytes(matrix.cols());
                ("U8", vec![matrix.rows().div_ceil(ROWS), panel], 1)
            }
            Weight::Vector(data) => {
                let (dtype, size) = match data.dtype() {
                    DType::F32 => ("F32", 4),
                    DType::Bf16 => ("BF16", 2),
                    DType::F16 => ("F16", 2),
                    DType::I8 | DType::Q8 | DType::Q4 => {
                        unreachable!("a checkpoint opens with floats for vectors alone")
                    }
                };
                (dtype, vec![data.len()], size)
            }
        };
        let bytes = (shape.iter().product::<usize>() * size) as u64;
        Self { part, dtype, shape, bytes, hash: Sha256::new() }
    }
}
