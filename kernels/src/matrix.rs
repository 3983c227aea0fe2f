//! Borrowed weights: a storage type, a slice of it, and a matrix over such a slice.

use half::{bf16, f16};

use crate::quant::{Format, Packed};

/// How a tensor's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// The upper 16 bits of binary32.
    Bf16,
    /// IEEE binary16.
    F16,
    /// Signed integers of 8 bits; their scale is kept elsewhere.
    I8,
    /// Packed panels with 8 bits a weight.
    Q8,
    /// Packed panels with 4 bits a weight.
    Q4,
}

impl DType {
    /// The name that options use.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::I8 => "i8",
            DType::Q8 => "q8",
            DType::Q4 => "q4",
        }
    }

    /// Bytes of a matrix `(rows, cols)`, `None` where that is no number.
    pub const fn matrix_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        let element = match self {
            DType::F32 => 4,
            DType::Bf16 | DType::F16 => 2,
            DType::I8 => 1,
            DType::Q8 => return Format::Q8.bytes(rows, cols),
            DType::Q4 => return Format::Q4.bytes(rows, cols),
        };
        match rows.checked_mul(cols) {
            Some(elements) => elements.checked_mul(element),
            None => None,
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
    /// Integers, taken as they are.
    I8(&'a [i8]),
}

impl<'a> Data<'a> {
    /// The number of elements.
    pub const fn len(&self) -> usize {
        match self {
            Data::F32(x) => x.len(),
            Data::Bf16(x) => x.len(),
            Data::F16(x) => x.len(),
            Data::I8(x) => x.len(),
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
            Data::I8(_) => DType::I8,
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
            Data::I8(x) => Data::I8(&x[from..to]),
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
            Data::I8(x) => f32::from(x[i]),
        }
    }
}

/// How a matrix's weights lie.
#[derive(Clone, Copy, Debug)]
pub enum Storage<'a> {
    /// Row after row.
    Dense(Data<'a>),
    /// Quantised, in panels.
    Packed(Packed<'a>),
}

/// A matrix `(rows, cols)`: a linear layer's weight is `(outputs, inputs)`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    storage: Storage<'a>,
    rows: usize,
    cols: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix over `data`.
    ///
    /// # Panics
    /// If `data` does not hold `rows * cols` elements.
    pub fn new(data: Data<'a>, rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix data and shape differ");
        Self { storage: Storage::Dense(data), rows, cols }
    }

    /// A quantised matrix.
    pub const fn packed(packed: Packed<'a>) -> Self {
        let (rows, cols) = (packed.rows(), packed.cols());
        Self { storage: Storage::Packed(packed), rows, cols }
    }

    /// Outputs.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// How the weights lie.
    pub const fn storage(&self) -> Storage<'a> {
        self.storage
    }

    /// How the weights are stored.
    pub const fn dtype(&self) -> DType {
        match &self.storage {
            Storage::Dense(data) => data.dtype(),
            Storage::Packed(packed) => match packed.format() {
                Format::Q8 => DType::Q8,
                Format::Q4 => DType::Q4,
            },
        }
    }

    /// Element `(row, col)` as f32; slow.
    ///
    /// # Panics
    /// If it is not in the matrix.
    pub fn get(&self, row: usize, col: usize) -> f32 {
        assert!(row < self.rows && col < self.cols, "element outside the matrix");
        match self.storage {
            Storage::Dense(data) => data.get(row * self.cols + col),
            Storage::Packed(packed) => {
                let mut one = [0.0];
                packed.dequantize(row, col, &mut one);
                one[0]
            }
        }
    }

    /// Rows `from..to` as a matrix; of a packed one `from` is a multiple of 16.
    ///
    /// # Panics
    /// If it is not, or the range is not inside the matrix.
    pub fn rows_range(&self, from: usize, to: usize) -> Matrix<'a> {
        match self.storage {
            Storage::Dense(data) => {
                Matrix::new(data.slice(from * self.cols, to * self.cols), to - from, self.cols)
            }
            Storage::Packed(packed) => Matrix::packed(packed.rows_range(from, to)),
        }
    }
}
