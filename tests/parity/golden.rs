//! A golden folder as `tests/oracle/models.py` writes it, and the measure by which it is compared.

use homespun_core::model::Model;
use homespun_core::weights::Layer;
use homespun_kernels::quant::BLOCK;
use homespun_runtime::checkpoint::Checkpoint;
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// Every golden model; a test holds this list against the folder.
pub const ALL: [&str; 9] = [
    "llama",
    "llama-biases",
    "llama-head100",
    "llama-rope3",
    "llama-sharded",
    "mistral-sharded",
    "qwen2",
    "qwen3",
    "qwen3-biases",
];

/// `tests/golden/models`.
pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/models")
}

/// One model's folder and what is expected of it.
pub struct Golden {
    /// Where `config.json`, the weights and the adapters are.
    pub folder: PathBuf,
    expected: Vec<u8>,
}

impl Golden {
    pub fn open(name: &str) -> Golden {
        Golden::of_file(name, "expected.safetensors")
    }

    /// What is expected of the model's quantised copy, `format` q8 or q4.
    pub fn quantised(name: &str, format: &str) -> Golden {
        Golden::of_file(name, &format!("expected-{format}.safetensors"))
    }

    fn of_file(name: &str, file: &str) -> Golden {
        let folder = models().join(name);
        let expected = std::fs::read(folder.join(file)).expect("golden file");
        Golden { folder, expected }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.expected).expect("golden file")
    }

    /// The f32 tensor `name`, flat.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        words(view.data(), f32::from_le_bytes)
    }

    /// The matrix `tensor` as numpy quantised it: its values, quant times scale.
    pub fn dequantised(&self, tensor: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let quants = tensors.tensor(&format!("quants.{tensor}")).expect("quants");
        let scales = tensors.tensor(&format!("scales.{tensor}")).expect("scales");
        assert_eq!((quants.dtype(), scales.dtype()), (Dtype::I8, Dtype::F16), "{tensor}");
        let [cols, blocks] = [quants.shape()[1], scales.shape()[1]];
        let scale = |row, block: usize| {
            let at = 2 * (row * blocks + block);
            half::f16::from_le_bytes([scales.data()[at], scales.data()[at + 1]]).to_f32()
        };
        let quants = quants.data().iter().map(|byte| f32::from(byte.cast_signed()));
        quants.enumerate().map(|(i, q)| q * scale(i / cols, i % cols / BLOCK)).collect()
    }

    /// The names of the matrices that numpy quantised.
    pub fn quantised_names(&self) -> Vec<String> {
        let tensors = self.tensors();
        let names = tensors.names().into_iter().filter_map(|name| name.strip_prefix("quants."));
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort();
        names
    }

    fn i32(&self, name: &str) -> Vec<usize> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(view.dtype(), Dtype::I32, "{name}");
        words(view.data(), i32::from_le_bytes).into_iter().map(|x| x as usize).collect()
    }

    /// The sequences: `(tokens, targets)` of each.
    pub fn sequences(&self) -> Vec<(Vec<u32>, Vec<bool>)> {
        let tokens: Vec<u32> = self.i32("tokens").into_iter().map(|x| x as u32).collect();
        let tensors = self.tensors();
        let targets = tensors.tensor("targets").expect("targets").data().to_vec();
        let mut from = 0;
        let cut = self.i32("lengths").into_iter().map(|n| {
            let range = from..from + n;
            from += n;
            (tokens[range.clone()].to_vec(), targets[range].iter().map(|&t| t != 0).collect())
        });
        let sequences: Vec<_> = cut.collect();
        assert_eq!(from, tokens.len());
        sequences
    }

    /// The adapters of the folder, by name.
    pub fn adapters(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.folder)
            .expect("golden folder")
            .map(|entry| entry.expect("entry"))
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        assert!(!names.is_empty());
        names
    }
}

/// The model of an open checkpoint, with layers that a test may have bent.
pub fn model<'a>(checkpoint: &'a Checkpoint, layers: &'a [Layer<'a>]) -> Model<'a> {
    let weights = checkpoint.weights(layers).expect("weights");
    Model { config: *checkpoint.config(), weights }
}

fn words<T>(bytes: &[u8], read: fn([u8; 4]) -> T) -> Vec<T> {
    bytes.as_chunks::<4>().0.iter().map(|&b| read(b)).collect()
}

/// `max |ours - theirs| / max |theirs|`; infinite if a length differs or ours is not finite.
pub fn relative_error(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() || ours.iter().any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let largest = theirs.iter().fold(0.0, |m: f64, &x| m.max(f64::from(x).abs()));
    let apart = ours.iter().zip(theirs).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs());
    apart.fold(0.0, f64::max) / largest
}

#[test]
fn the_list_names_every_folder() {
    let mut found: Vec<String> = std::fs::read_dir(models())
        .expect("golden folder")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .collect();
    found.sort();
    assert_eq!(found, ALL);
}

#[test]
fn the_measure_sees_a_nan_a_shift_and_a_missing_element() {
    assert_eq!(relative_error(&[1.0, -2.0], &[1.0, -2.0]), 0.0);
    assert_eq!(relative_error(&[1.0, -1.5], &[1.0, -2.0]), 0.25);
    assert_eq!(relative_error(&[1.0, f32::NAN], &[1.0, -2.0]), f64::INFINITY);
    assert_eq!(relative_error(&[1.0], &[1.0, -2.0]), f64::INFINITY);
}
