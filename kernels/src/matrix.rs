//! Borrowed weights: a storage type, a slice of it, and a matrix over such a slice.

use half::{bf16, f16};

/// How a tensor's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// The upper 16 bits of binary32.
    Bf16,
    /// IEEE binary16.
    F16,
}

impl DType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 | DType::F16 => 2,
        }
    }
}

/// The elements of a tensor, borrowed from a memory map, from flash or from a test's vector.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// Half precision.
    F16(&'a [f16]),
}

impl<'a> Data<'a> {
    /// The number of elements.
    pub const fn len(&self) -> usize {
        match self {
            Data::F32(x) => x.len(),
            Data::Bf16(x) => x.len(),
            Data::F16(x) => x.len(),
        }
    }

    /// Whether there is no element.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the elements are stored.
    pub const fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::Bf16(_) => DType::Bf16,
            Data::F16(_) => DType::F16,
        }
    }

    /// Elements `from..to`.
    ///
    /// # Panics
    /// If the range is not inside the data.
    pub fn slice(&self, from: usize, to: usize) -> Data<'a> {
        match self {
            Data::F32(x) => Data::F32(&x[from..to]),
            Data::Bf16(x) => Data::Bf16(&x[from..to]),
            Data::F16(x) => Data::F16(&x[from..to]),
        }
    }

    /// Element `i` as f32.
    ///
    /// # Panics
    /// If `i` is out of range.
    pub fn get(&self, i: usize) -> f32 {
        match self {
            Data::F32(x) => x[i],
            Data::Bf16(x) => x[i].to_f32(),
            Data::F16(x) => x[i].to_f32(),
        }
    }
}

/// A row-major matrix `(rows, cols)`: a linear layer's weight is `(outputs, inputs)`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: Data<'a>,
    rows: usize,
    cols: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix over `data`.
    ///
    /// # Panics
    /// If `data` does not hold `rows * cols` elements.
    pub fn new(data: Data<'a>, rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix data and shape differ");
        Self { data, rows, cols }
    }

    /// Outputs.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// All elements, row after row.
    pub const fn data(&self) -> Data<'a> {
        self.data
    }

    /// Row `i`, `(cols)`.
    ///
    /// # Panics
    /// If `i` is out of range.
    pub fn row(&self, i: usize) -> Data<'a> {
        self.data.slice(i * self.cols, (i + 1) * self.cols)
    }

    /// Rows `from..to` as a matrix.
    ///
    /// # Panics
    /// If the range is not inside the matrix.
    pub fn rows_range(&self, from: usize, to: usize) -> Matrix<'a> {
        Matrix::new(self.data.slice(from * self.cols, to * self.cols), to - from, self.cols)
    }
}
