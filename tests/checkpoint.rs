//! Checkpoints as they are found: every golden, every shared model, askew and tied weights.

use std::fs;
use std::path::{Path, PathBuf};

use homespun_kernels::{DType, Data, Matrix, Storage};
use homespun_runtime::adapter::Adapter;
use homespun_runtime::checkpoint::Checkpoint;
use serde_json::json;

use crate::small_model::{SmallModel, f32_tensor, raw_safetensors, safetensors_file};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).expect("folder").map(|e| e.expect("entry").path());
    let mut folders: Vec<_> = entries.filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

fn matrix_values(matrix: Matrix<'_>) -> Vec<f32> {
    let cols = matrix.cols();
    (0..matrix.rows() * cols).map(|i| matrix.get(i / cols, i % cols)).collect()
}

fn values(data: Data<'_>) -> Vec<f32> {
    (0..data.len()).map(|i| data.get(i)).collect()
}

#[test]
fn every_golden_opens_the_same_in_both_styles_with_its_adapters() {
    let folders = folders(&here("golden/models"));
    assert!(folders.len() >= 9, "{folders:?}");
    for folder in folders {
        let checkpoint = Checkpoint::open(&folder).unwrap_or_else(|e| panic!("{e}"));
        let other = tempfile::tempdir().expect("folder");
        for entry in fs::read_dir(&folder).expect("folder") {
            let file = entry.expect("entry").path();
            let name = file.file_name().expect("name").to_owned();
            match name.to_str().expect("utf-8") {
                "config.json" => {}
                expected if expected.starts_with("expected") => {}
                "config-other.json" => drop(fs::copy(&file, other.path().join("config.json"))),
                _ if file.is_dir() => {
                    let adapter = Adapter::open(&file, checkpoint.config());
                    let adapter = adapter.unwrap_or_else(|e| panic!("{e}"));
                    let copy = other.path().join(&name);
                    adapter.save(&copy, checkpoint.config()).expect("save");
                    assert_eq!(Adapter::open(&copy, checkpoint.config()).expect("own"), adapter);
                }
                _ => drop(fs::copy(&file, other.path().join(&name))),
            }
        }
        let same = Checkpoint::open(other.path()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(same.config(), checkpoint.config(), "{}", folder.display());
        assert_eq!(same.base_hash(), checkpoint.base_hash());
    }
}

#[test]
fn every_shared_model_with_weights_opens() {
    let shared = here("../../shared/models");
    if !shared.exists() {
        eprintln!("skipped: no shared models beside the repository");
        return;
    }
    let mut opened = 0;
    for folder in folders(&shared).iter().filter(|f| f.join("model.safetensors").exists()) {
        let checkpoint = Checkpoint::open(folder).unwrap_or_else(|e| panic!("{e}"));
        let layers = checkpoint.layers().expect("layers");
        let weights = checkpoint.weights(&layers).expect("weights");
        assert_eq!(weights.layers.len(), checkpoint.config().layers);
        assert!(!checkpoint.special_tokens().eos.is_empty(), "{}", folder.display());
        opened += 1;
    }
    assert!(opened >= 3);
}

#[test]
fn weights_are_borrowed_from_the_file_in_their_stored_type() {
    let checkpoint = Checkpoint::open(&here("golden/models/qwen2")).expect("qwen2");
    let layers = checkpoint.layers().expect("layers");
    let weights = checkpoint.weights(&layers).expect("weights");
    assert_eq!(weights.embed.dtype(), DType::Bf16);
    assert!(layers[0].q_proj.bias.is_some() && layers[0].o_proj.bias.is_none());
    let Storage::Dense(Data::Bf16(embed)) = weights.embed.storage() else { panic!("not bf16") };
    let Storage::Dense(Data::Bf16(head)) = weights.head.storage() else { panic!("not bf16") };
    assert_eq!(embed.as_ptr(), head.as_ptr(), "a tied head is not the embedding");
}

#[test]
fn a_tensor_that_lies_askew_has_the_same_values() {
    let mut model = SmallModel::new();
    let norm = model.tensor("model.norm.weight");
    let halves = (0..8u16).flat_map(|i| (0x3c00 + i).to_le_bytes()).collect();
    *norm = (safetensors::Dtype::F16, vec![8], halves);
    let path = model.write();
    let file = safetensors_file(&model.tensors);
    let length = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    let (header, data) = (&file[8..8 + length], &file[8 + length..]);
    let straight = Checkpoint::open(&path).expect("straight");
    let straight_layers = straight.layers().expect("layers");
    let expected = straight.weights(&straight_layers).expect("weights");
    for shift in 1..4 {
        let padded = [header, &b"   "[..shift]].concat();
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("config.json"), model.config.to_string()).expect("config");
        let askew = raw_safetensors(&padded, data);
        fs::write(folder.path().join("model.safetensors"), askew).expect("weights");
        let checkpoint = Checkpoint::open(folder.path()).expect("askew");
        let layers = checkpoint.layers().expect("layers");
        let weights = checkpoint.weights(&layers).expect("weights");
        assert_eq!(values(weights.norm), values(expected.norm));
        assert_eq!(matrix_values(weights.embed), matrix_values(expected.embed));
        let down = |l: &[homespun_core::weights::Layer<'_>]| matrix_values(l[1].down_proj.weight);
        assert_eq!(down(&layers), down(&straight_layers));
        assert_eq!(checkpoint.base_hash(), straight.base_hash());
    }
}

#[test]
fn a_decoded_token_reads_the_head_once_however_often_it_is_stored() {
    let mut model = SmallModel::new();
    let open = |model: &SmallModel| Checkpoint::open(&model.write()).expect("model");
    let read = |checkpoint: &Checkpoint| checkpoint.decode_bytes().expect("parts");
    let tied = open(&model);
    assert_eq!(read(&tied), tied.weight_bytes());
    let embed = model.tensor("model.embed_tokens.weight").clone();
    model.tensors.insert("lm_head.weight".to_owned(), embed.clone());
    let twice = open(&model);
    assert_eq!(twice.weight_bytes(), tied.weight_bytes() + embed.2.len() as u64);
    assert_eq!(read(&twice), read(&tied));
    // Untied: a row of the embedding, which does not count, and the whole head.
    model.tensor("lm_head.weight").2[0] ^= 1;
    assert_eq!(read(&open(&model)), read(&tied));
}

#[test]
fn a_head_is_tied_when_the_weights_are() {
    let mut model = SmallModel::new();
    let embed = model.tensor("model.embed_tokens.weight").clone();
    // Both stored and equal: tied.
    model.tensors.insert("lm_head.weight".to_owned(), embed.clone());
    assert!(Checkpoint::open(&model.write()).expect("equal").config().tied);
    // Both stored and different: untied, as transformers 5 does.
    model.tensor("lm_head.weight").2[0] ^= 1;
    let checkpoint = Checkpoint::open(&model.write()).expect("different");
    assert!(!checkpoint.config().tied);
    let layers = checkpoint.layers().expect("layers");
    let weights = checkpoint.weights(&layers).expect("weights");
    assert_ne!(matrix_values(weights.head), matrix_values(weights.embed));
    // Only the head stored: the embedding is the head.
    model.tensors.remove("model.embed_tokens.weight");
    let checkpoint = Checkpoint::open(&model.write()).expect("head only");
    let layers = checkpoint.layers().expect("layers");
    let weights = checkpoint.weights(&layers).expect("weights");
    assert_eq!(matrix_values(weights.head), matrix_values(weights.embed));
    // Untied by config.json: both must be there.
    model.config["tie_word_embeddings"] = json!(false);
    let error = Checkpoint::open(&model.write()).expect_err("no embedding").to_string();
    assert!(error.contains("model.embed_tokens.weight"), "{error}");
}

#[test]
fn a_checkpoint_in_the_program_is_the_same_as_in_a_folder() {
    let model = SmallModel::new();
    let opened = Checkpoint::open(&model.write()).expect("folder");
    let config = model.config.to_string().into_bytes().leak();
    let file = safetensors_file(&model.tensors).leak();
    let embedded = Checkpoint::from_static(config, file).expect("embedded");
    assert_eq!(embedded.config(), opened.config());
    assert_eq!(embedded.special_tokens(), opened.special_tokens());
    assert_eq!(embedded.base_hash(), opened.base_hash());
    assert_eq!(embedded.weight_bytes(), opened.weight_bytes());
    let layers = embedded.layers().expect("layers");
    let model = embedded.model(&layers).expect("model");
    assert_eq!(model.config, *opened.config());
    let error = Checkpoint::from_static(config, &file[..100]).expect_err("cut").to_string();
    assert!(error.contains("built-in/model.safetensors"), "{error}");
    let error = Checkpoint::from_static(b"{}", file).expect_err("empty").to_string();
    assert!(error.contains("built-in/config.json"), "{error}");
}

#[test]
fn old_rotary_buffers_are_passed_over() {
    let mut model = SmallModel::new();
    let name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    model.tensors.insert(name.to_owned(), f32_tensor(&[1]));
    Checkpoint::open(&model.write()).expect("inv_freq is no weight");
}

#[test]
fn the_base_hash_tells_bases_apart() {
    let mut model = SmallModel::new();
    let hash = |model: &SmallModel| Checkpoint::open(&model.write()).expect("open").base_hash();
    let first = hash(&model);
    assert_eq!(hash(&model), first);
    model.config["torch_dtype"] = json!("float32");
    assert_eq!(hash(&model), first, "a field without effect changed the hash");
    model.config["rope_theta"] = json!(20000.0);
    assert_ne!(hash(&model), first);
    model.config["rope_theta"] = json!(10000.0);
    for name in SmallModel::new().tensors.keys() {
        let last = model.tensor(name).2.len() - 1;
        model.tensor(name).2[last] ^= 1;
        assert_ne!(hash(&model), first, "{name}");
        model.tensor(name).2[last] ^= 1;
    }
    assert_eq!(hash(&model), first);
}
