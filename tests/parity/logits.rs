//! Logits of every golden model and of every adapter on it, with every kernel table.

use super::golden::{self, Golden, relative_error};
use super::gradients::adapter;
use homespun_core::arena::Arena;
use homespun_core::cache::{KvCache, KvType};
use homespun_core::compute::Compute;
use homespun_core::config::{Config, RopeScaling};
use homespun_core::lora::{Lora, Target};
use homespun_core::model::{Model, inference_bytes};
use homespun_kernels::{Data, Kernels, Matrix};
use homespun_runtime::adapter::Adapter;
use homespun_runtime::checkpoint::Checkpoint;

/// The bar: `max |ours - theirs| / max |theirs|`.
const BAR: f64 = 1e-4;

/// `logits (T, V)` of one sequence, in pieces of `piece` tokens.
fn logits(
    model: &Model,
    kernels: &'static Kernels,
    lora: Option<Lora>,
    tokens: &[u32],
    piece: usize,
) -> Vec<f32> {
    let (config, compute) = (&model.config, Compute::serial(kernels));
    let mut memory = vec![u32::MAX; KvCache::words(config, KvType::F32, tokens.len())];
    let mut cache = KvCache::new(config, KvType::F32, &mut memory).expect("cache");
    let mut bytes = vec![0; inference_bytes(config, lora.as_ref().map(|l| &l.config), piece)];
    let mut arena = Arena::new(&mut bytes);
    let mut states = vec![0.0; tokens.len() * config.dim];
    let pieces = tokens.chunks(piece).zip(states.chunks_mut(piece * config.dim));
    for (tokens, states) in pieces {
        model.forward(compute, lora, tokens, &mut cache, &mut arena, states).expect("forward");
    }
    let mut normed = vec![0.0; states.len()];
    model.final_norm(compute, &states, &mut normed).expect("norm");
    let mut logits = vec![0.0; tokens.len() * config.vocab];
    model.logits(compute, &normed, &mut Arena::new(&mut []), &mut logits).expect("logits");
    logits
}

/// How far the logits of all sequences are from `expected`.
fn error(
    model: &Model,
    kernels: &'static Kernels,
    lora: Option<Lora>,
    golden: &Golden,
    expected: &str,
    piece: usize,
) -> f64 {
    let sequences = golden.sequences();
    let ours: Vec<f32> = sequences
        .iter()
        .flat_map(|(tokens, _)| logits(model, kernels, lora, tokens, piece))
        .collect();
    relative_error(&ours, &golden.f32(expected))
}

#[test]
fn every_model_and_adapter_gives_the_logits_of_transformers_and_peft() {
    for name in golden::ALL {
        let golden = Golden::open(name);
        let checkpoint = Checkpoint::open(&golden.folder).expect(name);
        let layers = checkpoint.layers().expect(name);
        let model = golden::model(&checkpoint, &layers);
        for kernels in Kernels::available() {
            let isa = kernels.isa().name();
            // In one piece, and token by token through the cache.
            for piece in [1000, 1] {
                let base = error(&model, kernels, None, &golden, "logits", piece);
                println!("{name} {isa} pieces of {piece}: {base:.1e}");
                assert!(base <= BAR, "{name} {isa} pieces of {piece}: {base:.1e}");
                for key in golden.adapters() {
                    let adapter = adapter(&golden, &key, &model);
                    let expected = format!("{key}.logits");
                    let lora = Some(adapter.lora());
                    let adapted = error(&model, kernels, lora, &golden, &expected, piece);
                    println!("{name} {key} {isa} pieces of {piece}: {adapted:.1e}");
                    assert!(adapted <= BAR, "{name} {key} {isa} pieces of {piece}: {adapted:.1e}");
                }
            }
        }
    }
}

#[test]
fn an_adapter_written_by_us_gives_the_same_logits_when_it_is_read_again() {
    for name in golden::ALL {
        let golden = Golden::open(name);
        let checkpoint = Checkpoint::open(&golden.folder).expect(name);
        let layers = checkpoint.layers().expect(name);
        let model = golden::model(&checkpoint, &layers);
        for key in golden.adapters() {
            let theirs = Adapter::open(&golden.folder.join(&key), &model.config).expect(&key);
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("adapter");
            theirs.save(&path, &model.config).expect("save");
            let mut ours = Adapter::open(&path, &model.config).expect("open");
            assert_eq!(theirs, ours, "{name} {key}");
            ours.prepare(&model, Compute::serial(Kernels::detect())).expect("norms");
            let expected = format!("{key}.logits");
            let kernels = Kernels::detect();
            let again = error(&model, kernels, Some(ours.lora()), &golden, &expected, 16);
            assert!(again <= BAR, "{name} {key}: {again:.1e}");
        }
    }
}

/// The error of the golden `name` once `bend` has changed the shape or the layers.
fn bent(name: &str, bend: impl FnOnce(&mut Config)) -> f64 {
    let golden = Golden::open(name);
    let checkpoint = Checkpoint::open(&golden.folder).expect(name);
    let layers = checkpoint.layers().expect(name);
    let mut model = golden::model(&checkpoint, &layers);
    bend(&mut model.config);
    error(&model, Kernels::detect(), None, &golden, "logits", 1000)
}

#[test]
fn a_planted_change_of_the_shape_is_seen() {
    assert!(bent("llama", |_| ()) <= BAR);
    assert!(bent("llama", |c| c.rope_theta *= 1.01) > BAR);
    assert!(bent("llama", |c| c.norm_eps = 1e-3) > BAR);
    assert!(bent("llama-rope3", |c| c.rope_scaling = RopeScaling::None) > BAR);
    let wider = |c: &mut Config| {
        let RopeScaling::Llama3 { high_freq_factor, .. } = &mut c.rope_scaling else {
            panic!("llama-rope3 is not scaled")
        };
        *high_freq_factor *= 1.5;
    };
    assert!(bent("llama-rope3", wider) > BAR);
}

/// A copy of `matrix` in f32 whose rows are those of the next kv head.
fn next_head(matrix: Matrix, head_dim: usize) -> Vec<f32> {
    let mut rows: Vec<f32> = (0..matrix.rows() * matrix.cols())
        .map(|i| matrix.get(i / matrix.cols(), i % matrix.cols()))
        .collect();
    rows.rotate_left(head_dim * matrix.cols());
    rows
}

#[test]
fn a_planted_wrong_mapping_of_kv_heads_is_seen() {
    let golden = Golden::open("llama");
    let checkpoint = Checkpoint::open(&golden.folder).expect("llama");
    let config = *checkpoint.config();
    assert!(config.kv_heads == 2 && config.heads == 4);
    let mut layers = checkpoint.layers().expect("llama");
    let (k, v) = (layers[1].k_proj.weight, layers[1].v_proj.weight);
    let moved = [k, v].map(|m| next_head(m, config.head_dim));
    layers[1].k_proj.weight = Matrix::new(Data::F32(&moved[0]), k.rows(), k.cols());
    layers[1].v_proj.weight = Matrix::new(Data::F32(&moved[1]), v.rows(), v.cols());
    let model = golden::model(&checkpoint, &layers);
    assert!(error(&model, Kernels::detect(), None, &golden, "logits", 1000) > BAR);
}

#[test]
fn a_planted_swap_of_two_adapter_tensors_is_seen() {
    let golden = Golden::open("llama");
    let checkpoint = Checkpoint::open(&golden.folder).expect("llama");
    let layers = checkpoint.layers().expect("llama");
    let model = golden::model(&checkpoint, &layers);
    let config = &model.config;
    let mut adapter = Adapter::open(&golden.folder.join("adapter"), config).expect("adapter");
    let at = |target, layer| adapter.config.offset(config, layer, target).expect("adapted");
    // A of gate and of up in layer 0 have one shape.
    let (gate, up) = (at(Target::Gate, 0), at(Target::Up, 0));
    for i in 0..adapter.config.rank * config.dim {
        adapter.parameters.swap(gate + i, up + i);
    }
    let lora = Some(adapter.lora());
    let swapped = error(&model, Kernels::detect(), lora, &golden, "adapter.logits", 1000);
    assert!(swapped > BAR, "{swapped:.1e}");
}
