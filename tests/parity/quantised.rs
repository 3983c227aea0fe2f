//! PEFT on dequantised weights, against ours on the packed ones: the weights themselves, logits, loss,
//! gradients and ten steps of AdamW.

use super::adamw::{self, CLIP, OPTIMISER, RATE, ten_steps};
use super::golden::{Golden, relative_error};
use super::gradients::{self, LOSS_BAR, adapter, examples, mean_loss, worst};
use crate::quantised::{Q4, Q8, copy};
use homespun_core::cache::KvType;
use homespun_core::compute::Compute;
use homespun_core::model::Model;
use homespun_core::train::training_bytes;
use homespun_kernels::Kernels;
use homespun_runtime::checkpoint::{Checkpoint, Quantization, Weight};
use homespun_runtime::engine;

/// Every golden of a quantised copy; a test holds this list against the folder.
const ALL: [(&str, Quantization); 3] =
    [("llama-head100", Q8), ("llama-head100", Q4), ("qwen3", Q4)];

/// Lends a golden, and the packed copy that is held against it.
fn each(job: impl Fn(&str, &Golden, &Checkpoint)) {
    for (name, quantization) in ALL {
        let format = quantization.format.name();
        let golden = Golden::quantised(name, format);
        let (_place, packed) = copy(&golden.folder, quantization);
        job(&format!("{name} {format}"), &golden, &packed);
    }
}

/// The values of each packed matrix, by name.
fn values(packed: &Checkpoint) -> Vec<(String, Vec<f32>)> {
    let parts = packed.parts().expect("parts").into_iter();
    let mut values: Vec<_> = parts
        .filter_map(|part| match part.weight {
            Weight::Vector(_) => None,
            Weight::Matrix(m) => {
                let all = (0..m.rows() * m.cols()).map(|i| m.get(i / m.cols(), i % m.cols()));
                Some((part.name, all.collect()))
            }
        })
        .collect();
    values.sort_by(|a: &(String, _), b| a.0.cmp(&b.0));
    values
}

#[test]
fn every_packed_weight_is_the_one_that_numpy_makes() {
    each(|what, golden, packed| {
        let values = values(packed);
        let names: Vec<_> = values.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, golden.quantised_names(), "{what}");
        for (name, ours) in values {
            let theirs = golden.dequantised(&name);
            assert_eq!(ours.len(), theirs.len(), "{what} {name}");
            let differ = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
            assert_eq!(differ, 0, "{what} {name}: of {} weights", ours.len());
        }
    });
}

/// Lends a golden, and the packed model that is held against it.
fn with_models(job: impl Fn(&str, &Golden, &Model)) {
    each(|what, golden, packed| {
        let layers = packed.layers().expect("layers");
        job(what, golden, &packed.model(&layers).expect("model"));
    });
}

#[test]
fn logits_over_packed_weights_are_those_of_transformers_and_peft() {
    with_models(|what, golden, model| {
        let adapter = adapter(golden, "adapter", model);
        for (lora, expected) in [(None, "logits"), (Some(adapter.lora()), "adapter.logits")] {
            for kernels in Kernels::available() {
                let compute = Compute::serial(kernels);
                let mut ours = Vec::new();
                for (tokens, _) in golden.sequences() {
                    let new = engine::logits(model, compute, KvType::F32, lora, &tokens);
                    ours.extend(new.expect("logits"));
                }
                let error = relative_error(&ours, &golden.f32(expected));
                let isa = kernels.isa().name();
                println!("{what} {expected} {isa}: {error:.1e}");
                assert!(error <= 1e-4, "{what} {expected} {isa}: {error:.1e}");
            }
        }
    });
}

/// The worst gradient and the loss's error of `model`.
fn errors(
    golden: &Golden,
    model: &Model,
    kernels: &'static Kernels,
    bytes: gradients::ArenaBytes,
) -> (f64, f64) {
    let sequences = golden.sequences();
    let adapter = adapter(golden, "adapter", model);
    let mut ours = vec![0.0; adapter.config.trainable(&model.config)];
    let loss = mean_loss(model, kernels, adapter.lora(), &examples(&sequences), bytes, &mut ours);
    let (error, _) = worst(golden, "adapter", model, &adapter.config, &ours);
    (error, (loss - f64::from(golden.f32("adapter.loss")[0])).abs())
}

#[test]
fn gradients_over_packed_weights_are_those_of_peft() {
    with_models(|what, golden, model| {
        for kernels in Kernels::available() {
            for bytes in [training_bytes, gradients::all, gradients::inputs, gradients::least] {
                let (gradient, loss) = errors(golden, model, kernels, bytes);
                let isa = kernels.isa().name();
                println!("{what} {isa}: loss {loss:.1e}, gradient {gradient:.1e}");
                assert!(loss <= LOSS_BAR, "{what} {isa}: loss {loss:.1e}");
                assert!(gradient <= gradients::BAR, "{what} {isa}: gradient {gradient:.1e}");
            }
        }
    });
}

#[test]
fn ten_losses_over_packed_weights_are_those_of_torch() {
    with_models(|what, golden, model| {
        for kernels in Kernels::available() {
            let mut adapter = adapter(golden, "adapter", model);
            let how = (OPTIMISER, RATE, CLIP);
            let (loss, norm) = ten_steps(golden, "adapter", model, &mut adapter, kernels, how);
            let isa = kernels.isa().name();
            println!("{what} {isa}: losses {loss:.1e}, norms {norm:.1e}");
            assert!(loss <= adamw::BAR && norm <= 1e-3, "{what} {isa}: {loss:.1e} {norm:.1e}");
        }
    });
}

#[test]
fn the_dense_weights_in_place_of_the_packed_ones_are_seen() {
    for (name, quantization) in ALL {
        let golden = Golden::quantised(name, quantization.format.name());
        let checkpoint = Checkpoint::open(&golden.folder).expect(name);
        let layers = checkpoint.layers().expect(name);
        let model = checkpoint.model(&layers).expect(name);
        let (gradient, loss) = errors(&golden, &model, Kernels::detect(), training_bytes);
        assert!(gradient > gradients::BAR && loss > LOSS_BAR, "{name}: {gradient:.1e} {loss:.1e}");
    }
}

#[test]
fn the_list_names_every_golden_of_a_quantised_copy() {
    let folders = std::fs::read_dir(super::golden::models()).expect("golden folder");
    let mut found = 0;
    for folder in folders {
        let files = std::fs::read_dir(folder.expect("entry").path()).expect("folder");
        let name = |file: std::io::Result<std::fs::DirEntry>| file.expect("entry").file_name();
        found += files.map(name).filter(is_of_a_copy).count();
    }
    assert_eq!(found, ALL.len());
}

fn is_of_a_copy(file: &std::ffi::OsString) -> bool {
    file.to_string_lossy().starts_with("expected-")
}
