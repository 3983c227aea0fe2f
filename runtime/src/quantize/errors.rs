//! How far packed weights are from the dense ones, by kind of matrix.
//!
//! ```text
//! relative RMS error = sqrt( sum (w - packed w)^2 / sum w^2 )      largest = max |w - packed w|
//! ```

use homespun_kernels::Data;
use homespun_kernels::quant::Format;

/// Sums over some weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// How many.
    pub weights: u64,
    /// Sum of the squared errors.
    pub squared_error: f64,
    /// Sum of the squared weights.
    pub squared: f64,
    /// The largest error.
    pub largest: f32,
}

impl Figures {
    /// Counts weights and what became of them.
    pub(super) fn compare(&mut self, dense: Data, packed: &[f32]) {
        for (i, packed) in packed.iter().enumerate() {
            let w = dense.get(i);
            let off = (w - packed).abs();
            self.squared_error += f64::from(off).powi(2);
            self.squared += f64::from(w).powi(2);
            self.largest = self.largest.max(off);
        }
        self.weights += packed.len() as u64;
    }

    /// Counts what `other` has counted.
    pub(super) fn add(&mut self, other: &Figures) {
        self.weights += other.weights;
        self.squared_error += other.squared_error;
        self.squared += other.squared;
        self.largest = self.largest.max(other.largest);
    }

    /// Relative RMS error; 0 where all weights are 0.
    pub fn relative_rms(&self) -> f64 {
        if self.squared == 0.0 { 0.0 } else { (self.squared_error / self.squared).sqrt() }
    }
}

/// All matrices of one name: the q of every layer, the embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// The module's name: `q_proj`, `embed_tokens`.
    pub name: String,
    /// How they are packed.
    pub format: Format,
    /// How many.
    pub tensors: usize,
    /// Their errors.
    pub figures: Figures,
}

/// Adds the figures of the matrix `tensor` to its kind's.
pub(super) fn add(kinds: &mut Vec<Kind>, tensor: &str, format: Format, figures: Figures) {
    let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
    let name = module.rsplit('.').next().unwrap_or(module);
    match kinds.iter_mut().find(|kind| kind.name == name) {
        Some(kind) => {
            kind.tensors += 1;
            kind.figures.add(&figures);
        }
        None => kinds.push(Kind { name: name.to_owned(), format, tensors: 1, figures }),
    }
}
