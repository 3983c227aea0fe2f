//! Every weight that the model asks for, in the order in which it does.
//!
//! Core's own loader walks the model; a source that listens to it knows each name, each shape and
//! which tensors are matrices, for every family.

use core::cell::RefCell;

use homespun_core::weights::TensorSource;
use homespun_kernels::quant::Packed;
use homespun_kernels::{DType, Data, Matrix};

use super::tensors::Tensors;
use super::{Checkpoint, Error};

/// One tensor of a model.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// Its name.
    pub name: String,
    /// Its values.
    pub weight: Weight<'a>,
}

/// A tensor's values.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// A linear layer's, the embedding or the head.
    Matrix(Matrix<'a>),
    /// A norm or a bias.
    Vector(Data<'a>),
}

impl Part<'_> {
    /// How it is stored.
    pub fn dtype(&self) -> DType {
        match self.weight {
            Weight::Matrix(matrix) => matrix.dtype(),
            Weight::Vector(data) => data.dtype(),
        }
    }

    /// Its bytes as stored.
    pub fn bytes(&self) -> u64 {
        let (rows, cols) = match self.weight {
            Weight::Matrix(matrix) => (matrix.rows(), matrix.cols()),
            Weight::Vector(data) => (1, data.len()),
        };
        // It lies in memory, so it has so many.
        self.dtype().matrix_bytes(rows, cols).unwrap_or(0) as u64
    }
}

impl Checkpoint {
    /// Bytes of weights that one decoded token reads: each of the model's once, whatever else is
    /// stored, but of an embedding that is not the head only a row, which does not count.
    ///
    /// # Errors
    /// None that [`Checkpoint::open`] has not seen.
    pub fn decode_bytes(&self) -> Result<u64, Error> {
        let embed = self.config.family.spec().names.embed;
        let read = |part: &&Part| self.config.tied || part.name != embed;
        Ok(self.parts()?.iter().filter(read).map(Part::bytes).sum())
    }

    /// Every tensor that the model uses, once; a tied head is left out.
    ///
    /// # Errors
    /// None that [`Checkpoint::open`] has not seen.
    pub fn parts(&self) -> Result<Vec<Part<'_>>, Error> {
        let source = Listener { tensors: &self.tensors, parts: RefCell::default() };
        let mut layers = self.empty_layers();
        homespun_core::weights::load(&source, &self.config, &mut layers)
            .map_err(|e| self.tensors.error(e))?;
        Ok(source.parts.into_inner())
    }
}

struct Listener<'a> {
    tensors: &'a Tensors,
    parts: RefCell<Vec<Part<'a>>>,
}

impl<'a> Listener<'a> {
    fn hear(&self, name: &str, weight: Weight<'a>) {
        self.parts.borrow_mut().push(Part { name: name.to_owned(), weight });
    }
}

impl<'a> TensorSource<'a> for Listener<'a> {
    type Error = Error;

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Option<Data<'a>>, Error> {
        let data = self.tensors.tensor(name, shape)?;
        match (data, shape) {
            (Some(data), &[rows, cols]) => {
                self.hear(name, Weight::Matrix(Matrix::new(data, rows, cols)));
            }
            (Some(data), _) => self.hear(name, Weight::Vector(data)),
            (None, _) => {}
        }
        Ok(data)
    }

    fn packed(&self, name: &str, rows: usize, cols: usize) -> Result<Option<Packed<'a>>, Error> {
        let packed = self.tensors.packed(name, rows, cols)?;
        if let Some(packed) = packed {
            self.hear(name, Weight::Matrix(Matrix::packed(packed)));
        }
        Ok(packed)
    }
}
