//! A model as one image that is used where it lies, in flash or in a map: no file system, no heap.
//!
//! ```text
//! image    [ preamble, 64 bytes ][ header: postcard ][ body: sections, each at a multiple of 64 ]
//! header   version, shape, end tokens, tokenizer, template, then the table of tensors
//! body     tensors as the kernels read them, the tokenizer's tables
//! ```
//! [`header`] draws the bytes; `homespun pack` writes them. Numbers are little-endian.

pub mod bpe;
mod error;
pub mod header;
#[cfg(feature = "std")]
pub mod pack;
pub mod template;

pub use error::Error;
pub use header::{Header, Tensor};

use homespun_core::config::Config;
use homespun_core::weights::TensorSource;
use homespun_kernels::Data;
use homespun_kernels::quant::{Format, Packed};

use crate::samples::crc;
use bpe::Bpe;
use header::{Kind, Preamble, Section};
use template::Template;

/// Where the image and every section begins: a multiple of this many bytes.
pub const ALIGN: usize = 64;

/// An image that was looked over: what it lends is where it says.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    preamble: Preamble,
    header: Header<'a>,
    config: Config,
    bpe: Bpe<'a>,
    table: &'a [u8],
    body: &'a [u8],
}

impl<'a> Image<'a> {
    /// The image in `bytes`, which may go on behind it. Reads the header and no weight:
    /// [`verify`](Self::verify) reads all.
    ///
    /// # Errors
    /// If there is none, it is cut short, of another version or damaged, or `bytes` are not aligned.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        let preamble = Preamble::read(bytes)?;
        if !(bytes.as_ptr() as usize).is_multiple_of(ALIGN) {
            return Err(Error::Misaligned);
        }
        let (needed, available) = (preamble.bytes(), bytes.len());
        if needed > available as u64 {
            return Err(Error::Short { needed, available });
        }
        let (start, length) = (header::PREAMBLE_BYTES, preamble.header_bytes as usize);
        let stored = &bytes[start..start + length];
        if crc::of(stored) != preamble.header_crc {
            return Err(Error::Damaged { part: "header" });
        }
        let (header, table) =
            postcard::take_from_bytes::<Header>(stored).map_err(|_| Error::Header)?;
        let body = &bytes[preamble.body_at as usize..][..preamble.body_bytes as usize];
        let config = header.shape.config()?;
        let bpe = Bpe::new(&header.tokenizer, |part| section(body, part));
        let bpe = bpe.ok_or(Error::Tokenizer)?;
        let image = Image { preamble, header, config, bpe, table, body };
        image.check()?;
        Ok(image)
    }

    /// That every section lies in the body, and every tensor has its bytes.
    fn check(&self) -> Result<(), Error> {
        let mut count = 0;
        for tensor in self.tensors() {
            let bytes = section(self.body, tensor.section).ok_or(Error::Header)?;
            let (rows, cols) = (tensor.rows as usize, tensor.cols as usize);
            let expected = tensor.kind.dtype().matrix_bytes(rows, cols);
            if expected != Some(bytes.len()) {
                return Err(Error::Tensor);
            }
            count += 1;
        }
        if count != self.header.tensors as usize {
            return Err(Error::Header);
        }
        Ok(())
    }

    /// The tensors in the order of the table.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'a>> + use<'a> {
        let (mut rest, mut left) = (self.table, self.header.tensors);
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (tensor, after) = postcard::take_from_bytes(rest).ok()?;
            rest = after;
            Some(tensor)
        })
    }

    /// Reads every byte of the body.
    ///
    /// # Errors
    /// If one is not what was packed.
    pub fn verify(&self) -> Result<(), Error> {
        if crc::of(self.body) == self.preamble.body_crc {
            Ok(())
        } else {
            Err(Error::Damaged { part: "body" })
        }
    }

    /// What the header says.
    pub const fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// The model's shape.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// SHA-256 of header and body: what an adapter and a sample buffer belong to.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.preamble.hash
    }

    /// Bytes of the whole image.
    pub const fn bytes(&self) -> u64 {
        self.preamble.bytes()
    }

    /// Its tokenizer.
    pub const fn tokenizer(&self) -> Bpe<'a> {
        self.bpe
    }

    /// Its chat template.
    pub const fn template(&self) -> Template<'a> {
        self.header.template
    }

    /// Whether `id` ends a reply.
    pub fn is_eos(&self, id: u32) -> bool {
        self.header.eos.contains(&id)
    }

    fn find(&self, name: &str) -> Option<(Tensor<'a>, &'a [u8])> {
        let tensor = self.tensors().find(|tensor| tensor.name == name)?;
        Some((tensor, section(self.body, tensor.section)?))
    }
}

/// A part of the body, if it is there.
fn section(body: &[u8], section: Section) -> Option<&[u8]> {
    let from = section.at as usize;
    body.get(from..from.checked_add(section.bytes as usize)?)
}

impl<'a> TensorSource<'a> for Image<'a> {
    type Error = Error;

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Option<Data<'a>>, Error> {
        let Some((tensor, bytes)) = self.find(name) else { return Ok(None) };
        let (rows, cols) = (tensor.rows as usize, tensor.cols as usize);
        let same = match *shape {
            [len] => rows == 1 && cols == len,
            [n, k] => (rows, cols) == (n, k),
            _ => false,
        };
        if tensor.kind != Kind::F32 {
            return Ok(None);
        }
        match bytemuck::try_cast_slice(bytes) {
            Ok(floats) if same => Ok(Some(Data::F32(floats))),
            _ => Err(Error::Tensor),
        }
    }

    fn packed(&self, name: &str, rows: usize, cols: usize) -> Result<Option<Packed<'a>>, Error> {
        let Some((tensor, bytes)) = self.find(name) else { return Ok(None) };
        let format = match tensor.kind {
            Kind::Q8 => Format::Q8,
            Kind::Q4 => Format::Q4,
            Kind::F32 => return Ok(None),
        };
        if (tensor.rows as usize, tensor.cols as usize) != (rows, cols) {
            return Err(Error::Tensor);
        }
        Packed::new(format, bytes, rows, cols).ok_or(Error::Tensor).map(Some)
    }
}
