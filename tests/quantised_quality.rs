//! What quantising costs real weights, on text that the dense model itself wrote at temperature 1.
//!
//! Every change is tested on a smaller sample than `verify --against` takes: 3000 tokens, not 20,000.

use std::path::Path;

use homespun_core::compute::Compute;
use homespun_core::model::Model;
use homespun_kernels::{Data, Kernels, Matrix, Pool, Storage};
use homespun_runtime::checkpoint::{Checkpoint, Quantization};
use homespun_runtime::pool::Threads;
use homespun_runtime::quantize::{self, Comparison, Text};

use crate::quantised::{Q4, Q8, copy};

/// A real model, the text that it wrote, and what computes.
struct Writer {
    checkpoint: Checkpoint,
    pool: Threads,
    texts: Vec<Text>,
}

impl Writer {
    /// `None`, told aloud, where the shared models are not there.
    fn open(name: &str, tokens: usize) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models").join(name);
        if !folder.exists() {
            eprintln!("skipped: {} is not there", folder.display());
            return None;
        }
        let checkpoint = Checkpoint::open(&folder).expect(name);
        let pool = Threads::new(2).expect("threads");
        let texts = with(&checkpoint, &pool, |model, compute| {
            quantize::write(&checkpoint, model, compute, tokens, 1).expect("write")
        });
        Some(Self { checkpoint, pool, texts })
    }

    fn against(&self, other: &Checkpoint, int8: bool) -> Comparison {
        with(&self.checkpoint, &self.pool, |model, compute| {
            with(other, &self.pool, |ours, _| {
                let int8 = compute.with_int8(int8);
                quantize::compare((model, compute), (ours, int8), &self.texts).expect("compare")
            })
        })
    }

    fn quantised(&self, quantization: Quantization, int8: bool) -> Comparison {
        let (_place, packed) = copy(self.checkpoint.path(), quantization);
        self.against(&packed, int8)
    }
}

fn with<T>(checkpoint: &Checkpoint, pool: &dyn Pool, job: impl FnOnce(&Model, Compute) -> T) -> T {
    let layers = checkpoint.layers().expect("layers");
    let model = checkpoint.model(&layers).expect("model");
    job(&model, Compute::new(Kernels::detect(), pool))
}

#[test]
fn a_real_model_of_five_million_weights_loses_little() {
    let Some(writer) = Writer::open("dialogue-5m", 3000) else { return };
    let same = writer.against(&writer.checkpoint, false);
    assert_eq!((same.tokens, same.excess(), same.agreement), (3000, 0.0, 1.0));
    for int8 in [false, true] {
        let q8 = writer.quantised(Q8, int8);
        println!("q8, int8 activations {int8}: {q8:?}, excess {:.5}", q8.excess());
        assert!(q8.excess().abs() <= 0.005 && q8.agreement >= 0.97, "{q8:?}");
        let q4 = writer.quantised(Q4, int8);
        println!("q4, int8 activations {int8}: {q4:?}, excess {:.5}", q4.excess());
        assert!(q4.excess().abs() <= 0.08 && q4.agreement < q8.agreement, "{q4:?}");
    }
}

#[test]
fn a_planted_error_in_one_matrix_is_seen() {
    let Some(writer) = Writer::open("dialogue-5m", 1000) else { return };
    let (_place, packed) = copy(writer.checkpoint.path(), Q8);
    let sound = writer.against(&packed, false);
    let mut layers = packed.layers().expect("layers");
    // The rows of one o_proj in another order by one.
    let matrix = layers[2].o_proj.weight;
    assert!(matches!(matrix.storage(), Storage::Packed(_)));
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let moved: Vec<f32> =
        (0..rows * cols).map(|i| matrix.get((i / cols + 1) % rows, i % cols)).collect();
    layers[2].o_proj.weight = Matrix::new(Data::F32(&moved), rows, cols);
    let bent = packed.model(&layers).expect("model");
    let found = with(&writer.checkpoint, &writer.pool, |model, compute| {
        quantize::compare((model, compute), (&bent, compute), &writer.texts).expect("compare")
    });
    assert!(sound.excess().abs() <= 0.01, "{sound:?}");
    assert!(found.excess() > 0.02 && found.agreement < 0.97, "{found:?}");
}
