//! `homespun pack`: a model's folder as one [`Image`], for a device without a file system.
//!
//! ```text
//! weights    packed as asked, or f32; norms and biases f32
//! tokenizer  its tables, if they say all that it does
//! template   what stands around each message, if that is all that it does
//! proof      the image renders, decodes and marks dialogues as the folder does
//! ```
//! What cannot be said in an image is refused, and nothing is written.

mod body;
mod proof;
mod samples;
mod template;
mod tokenizer;

use homespun_core::config::Config;
use homespun_kernels::quant::{self, Format};
use homespun_kernels::{Data, Kernels, Matrix, Storage};
use sha2::{Digest, Sha256};

use super::header::{Eos, Header, Kind, PREAMBLE_BYTES, Preamble, Shape, Tensor};
use super::{ALIGN, Image};
use crate::checkpoint::{self, Part, Quantization, Weight};
use crate::engine::Base;
use crate::samples::crc;
use body::Body;

/// Why a model cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The weights.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The chat.
    #[error(transparent)]
    Chat(#[from] crate::chat::Error),
    /// A tensor that cannot be stored so.
    #[error("{model}: tensor `{tensor}` {reason}")]
    Tensor {
        /// The model.
        model: String,
        /// The tensor.
        tensor: String,
        /// Why.
        reason: String,
    },
    /// The tokenizer does what no image can say.
    #[error("{file}: `{field}` {reason}")]
    Tokenizer {
        /// `tokenizer.json`.
        file: String,
        /// The field.
        field: String,
        /// Why.
        reason: String,
    },
    /// The template does what no image can say.
    #[error("{model}: the chat template {reason}")]
    Template {
        /// The model.
        model: String,
        /// Why.
        reason: String,
    },
    /// An image has less than four gigabytes.
    #[error("{model}: its weights have {bytes} bytes; an image has less than 2^32")]
    TooLarge {
        /// The model.
        model: String,
        /// Bytes.
        bytes: u64,
    },
    /// The image does not do what the folder does.
    #[error("{model}: the image differs from the model in {what} of {text:?}")]
    Differs {
        /// The model.
        model: String,
        /// What was compared.
        what: &'static str,
        /// Of what.
        text: String,
    },
}

/// How matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// 32-bit floats.
    F32,
    /// Packed: the linear layers in this format, the embedding and the head in 8 bits.
    Packed(Format),
}

impl Weights {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Weights::F32 => "f32",
            Weights::Packed(format) => format.name(),
        }
    }

    /// That of this name.
    pub fn named(name: &str) -> Option<Self> {
        let packed = || Format::named(name).map(Weights::Packed);
        if name == "f32" { Some(Weights::F32) } else { packed() }
    }

    /// How the matrix `tensor` is packed.
    fn format(self, config: &Config, tensor: &str) -> Option<Format> {
        match self {
            Weights::F32 => None,
            Weights::Packed(format) => {
                let quantization = Quantization { format, head: Format::Q8 };
                Some(quantization.format_of(&config.family.spec().names, tensor))
            }
        }
    }
}

/// An image, and what is in it.
#[derive(Clone, Debug)]
pub struct Packing {
    /// The image.
    pub bytes: Vec<u8>,
    /// Bytes of its tensors.
    pub weight_bytes: u64,
    /// Bytes of the tokenizer's tables.
    pub tokenizer_bytes: u64,
    /// Tensors.
    pub tensors: usize,
    /// Dialogues and texts on which it was compared with the folder.
    pub proved: usize,
    /// SHA-256 of header and body, in hex.
    pub hash: String,
}

/// Packs `base`, and compares the image with it.
///
/// # Errors
/// If a part of it cannot be said in an image, or the image does not do the same.
pub fn pack(base: &Base, weights: Weights) -> Result<Packing, Error> {
    let model = || base.name().to_owned();
    let config = base.config();
    let mut body = Body::default();
    let tokenizer = tokenizer::pack(base.tokenizer(), &mut body)?;
    let tokenizer_bytes = body.len();
    let parts = base.checkpoint().parts()?;
    let mut table = Vec::new();
    for part in &parts {
        let (kind, rows, cols, bytes) = tensor(base.name(), config, weights, part)?;
        let section = body.push(&bytes);
        let (rows, cols) = (rows as u32, cols as u32);
        let row = Tensor { name: &part.name, kind, rows, cols, section };
        table.extend(encoded(&row));
    }
    let bytes = body.len();
    if bytes >= 1 << 32 {
        return Err(Error::TooLarge { model: model(), bytes });
    }
    let template = template::Pieces::of(base)?;
    let eos = base.tokenizer().eos();
    let header = Header {
        name: base.name().rsplit('/').next().unwrap_or_default(),
        shape: Shape::of(config),
        bos: base.tokenizer().bos(),
        eos: Eos::new(eos).ok_or_else(|| Error::Tokenizer {
            file: base.tokenizer().path().display().to_string(),
            field: "eos_token_id".into(),
            reason: format!("has {} tokens; an image has room for 8", eos.len()),
        })?,
        tokenizer,
        template: template.borrow(),
        tensors: parts.len() as u32,
    };
    let header = [encoded(&header), table].concat();
    let bytes = whole(&header, &body.into_bytes());
    let aligned = Aligned::new(&bytes);
    let image = Image::open(aligned.bytes()).map_err(|error| Error::Template {
        model: model(),
        reason: format!("or another part makes an image that does not open: {error}"),
    })?;
    let proved = proof::prove(base, &image)?;
    Ok(Packing {
        weight_bytes: image.tensors().map(|tensor| u64::from(tensor.section.bytes)).sum(),
        tokenizer_bytes,
        tensors: parts.len(),
        proved,
        hash: image.hash().iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes,
    })
}

/// Preamble, header and body.
fn whole(header: &[u8], body: &[u8]) -> Vec<u8> {
    let body_at = (PREAMBLE_BYTES + header.len()).next_multiple_of(ALIGN);
    let preamble = Preamble {
        header_bytes: header.len() as u32,
        header_crc: crc::of(header),
        body_bytes: body.len() as u32,
        body_crc: crc::of(body),
        body_at: body_at as u32,
        hash: Sha256::new().chain_update(header).chain_update(body).finalize().into(),
    };
    let mut bytes = Vec::with_capacity(body_at + body.len());
    bytes.extend_from_slice(&preamble.to_bytes());
    bytes.extend_from_slice(header);
    bytes.resize(body_at, 0);
    bytes.extend_from_slice(body);
    bytes
}

fn encoded(value: &impl serde::Serialize) -> Vec<u8> {
    // Nothing in an image is of a kind that postcard refuses.
    postcard::to_stdvec(value).unwrap_or_default()
}

/// A tensor's kind, shape and bytes.
fn tensor(
    model: &str,
    config: &Config,
    weights: Weights,
    part: &Part<'_>,
) -> Result<(Kind, usize, usize, Vec<u8>), Error> {
    let fail = |reason: String| Error::Tensor {
        model: model.to_owned(),
        tensor: part.name.clone(),
        reason,
    };
    let matrix = match part.weight {
        Weight::Vector(data) => {
            return Ok((Kind::F32, 1, data.len(), floats(data)));
        }
        Weight::Matrix(matrix) => matrix,
    };
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let format = weights.format(config, &part.name);
    let kind = match format {
        None => Kind::F32,
        Some(Format::Q8) => Kind::Q8,
        Some(Format::Q4) => Kind::Q4,
    };
    let bytes = match (matrix.storage(), format) {
        (Storage::Dense(data), None) => floats(data),
        (Storage::Dense(data), Some(format)) => {
            let bytes = format.bytes(rows, cols).ok_or_else(|| fail("is too large".into()))?;
            let mut bytes = vec![0; bytes];
            quant::pack(format, data, rows, cols, &mut bytes)
                .map_err(|error| fail(error.to_string()))?;
            bytes
        }
        (Storage::Packed(packed), Some(format)) if packed.format() == format => {
            packed.bytes().to_vec()
        }
        (Storage::Packed(packed), _) => {
            let found = packed.format().name();
            return Err(fail(format!(
                "is {found} already; give the model that it was made from, or its own format"
            )));
        }
    };
    Ok((kind, rows, cols, bytes))
}

/// The values as 32-bit floats, in bytes.
fn floats(data: Data<'_>) -> Vec<u8> {
    let mut wide = vec![0.0_f32; data.len()];
    Kernels::detect().widen_row(Matrix::new(data, 1, data.len()), 0, &mut wide);
    wide.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Bytes at a multiple of [`ALIGN`].
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Aligned {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut room = vec![0; bytes.len() + ALIGN];
        let from = room.as_ptr().align_offset(ALIGN);
        room[from..from + bytes.len()].copy_from_slice(bytes);
        Aligned { bytes: room, from, len: bytes.len() }
    }

    /// They.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..][..self.len]
    }
}

#[cfg(test)]
mod tests;
