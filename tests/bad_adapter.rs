//! Damaged and foreign adapters: each is refused by the name of its file and of what is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use homespun_core::config::Config;
use homespun_core::lora::{LoraConfig, Target, Targets};
use homespun_runtime::adapter::Adapter;
use homespun_runtime::checkpoint::Checkpoint;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bad_checkpoint::chain;
use crate::small_model::{SmallModel, Tensor, put, safetensors_file};

/// A sound adapter of rank 2 on q, v and down, in a folder of its own.
struct Sound {
    base: Config,
    folder: TempDir,
    config: Value,
    tensors: BTreeMap<String, Tensor>,
}

const A: &str = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight";

impl Sound {
    fn new() -> Self {
        let base = *Checkpoint::open(&SmallModel::new().write()).expect("base").config();
        let targets = Targets::NONE.with(Target::Q).with(Target::V).with(Target::Down);
        let config = LoraConfig::new(2, 4.0, 0.0, targets);
        let parameters = (0..config.parameters(&base)).map(|i| i as f32 * 0.01).collect();
        let [json, bytes] = Adapter { config, parameters, base: None, trained_on: None }
            .files(&base)
            .expect("files");
        let config = serde_json::from_slice(&json).expect("JSON");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensors = tensors
            .tensors()
            .into_iter()
            .map(|(n, t)| (n, (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
            .collect();
        let folder = tempfile::tempdir().expect("folder");
        Self { base, folder, config, tensors }
    }

    fn put(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        put(self.folder.path(), name, contents);
        self.folder.path().join(name)
    }

    fn open(&self) -> Result<Adapter, String> {
        self.put("adapter_config.json", self.config.to_string());
        self.put("adapter_model.safetensors", safetensors_file(&self.tensors));
        self.open_as_it_is()
    }

    fn open_as_it_is(&self) -> Result<Adapter, String> {
        Adapter::open(self.folder.path(), &self.base).map_err(|e| chain(&e))
    }
}

fn holds(result: Result<Adapter, String>, parts: &[&str]) {
    let message = result.expect_err(&format!("opened, though {parts:?}"));
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn each_unsupported_field_is_refused_by_its_name() {
    for (field, value) in [
        ("peft_type", json!("IA3")),
        ("peft_type", json!(null)),
        ("task_type", json!("SEQ_CLS")),
        ("bias", json!("all")),
        ("use_dora", json!(1)),
        ("use_rslora", json!("yes")),
        ("fan_in_fan_out", json!(true)),
        ("lora_bias", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("layers_to_transform", json!([0])),
        ("layers_to_transform", json!(0)),
        ("rank_pattern", json!({"q_proj": 4})),
        ("alpha_pattern", json!({"q_proj": 4})),
        ("exclude_modules", json!("k_proj")),
        ("init_lora_weights", json!("pissa")),
        ("r", json!(0)),
        ("r", json!(-2)),
        ("r", json!(1_u64 << 40)),
        ("r", json!(null)),
        ("lora_alpha", json!("16")),
        ("lora_alpha", json!(1e300)),
        ("lora_dropout", json!(1.0)),
        ("lora_dropout", json!(-0.1)),
        ("target_modules", json!(null)),
        ("target_modules", json!([])),
        ("target_modules", json!(["q_proj", "embed_tokens"])),
        ("target_modules", json!(["mlp.q_proj"])),
        ("target_modules", json!([7])),
        ("target_modules", json!(7)),
        ("target_modules", json!("all-linear")),
        ("target_modules", json!(r".*layers\.[0-3]\..*q_proj")),
        ("target_modules", json!(r".*mlp\.(q_proj|down_proj)")),
        ("target_modules", json!("q_proj|v_proj")),
        ("base_model_name_or_path", json!(["a"])),
    ] {
        let mut adapter = Sound::new();
        adapter.config[field] = value;
        holds(adapter.open(), &["adapter_config.json", field]);
    }
}

#[test]
fn targets_come_as_names_paths_or_plain_patterns() {
    let expected = Sound::new().open().expect("sound");
    for targets in [
        json!(["v_proj", "q_proj", "down_proj"]),
        json!(["self_attn.v_proj", "self_attn.q_proj", "mlp.down_proj"]),
        json!(r".*\.(q_proj|v_proj|down_proj)"),
        json!(r"^.*(?:q_proj|v_proj|down_proj)$"),
    ] {
        let mut adapter = Sound::new();
        adapter.config["target_modules"] = targets;
        assert_eq!(adapter.open().expect("plain"), expected);
    }
    let mut adapter = Sound::new();
    adapter.config["target_modules"] = json!(r".*self_attn\.(q_proj|v_proj)");
    holds(adapter.open(), &["adapter_model.safetensors", "down_proj", "is not expected"]);
}

#[test]
fn damaged_files_are_named() {
    let adapter = Sound::new();
    adapter.open().expect("sound");
    adapter.put("adapter_config.json", "{");
    holds(adapter.open_as_it_is(), &["adapter_config.json", "JSON"]);
    adapter.put("adapter_config.json", adapter.config.to_string());
    let file = adapter.put("adapter_model.safetensors", "not safetensors at all");
    holds(adapter.open_as_it_is(), &["adapter_model.safetensors"]);
    fs::remove_file(&file).expect("remove");
    holds(adapter.open_as_it_is(), &["adapter_model.safetensors", "No such file"]);
    adapter.put("adapter_model.bin", "PK");
    holds(adapter.open_as_it_is(), &["adapter_model.bin", "is not read"]);
    fs::remove_file(adapter.folder.path().join("adapter_config.json")).expect("remove");
    holds(adapter.open_as_it_is(), &["adapter_config.json", "No such file"]);
}

#[test]
fn each_missing_misshapen_or_broken_tensor_is_named() {
    let names: Vec<_> = Sound::new().tensors.keys().cloned().collect();
    assert_eq!(names.len(), 12);
    let broken = |name: &str, change: &dyn Fn(&mut Tensor), parts: &[&str]| {
        let mut adapter = Sound::new();
        change(adapter.tensors.get_mut(name).expect(name));
        holds(adapter.open(), &[&["adapter_model.safetensors", name], parts].concat());
    };
    for name in &names {
        let mut adapter = Sound::new();
        adapter.tensors.remove(name);
        holds(adapter.open(), &["adapter_model.safetensors", name, "is missing"]);
        let grow = |t: &mut Tensor| {
            t.1[0] *= 2;
            t.2 = t.2.repeat(2);
        };
        broken(name, &grow, &["another base"]);
        broken(name, &|t| t.0 = Dtype::I32, &["I32"]);
        for bad in [f32::NAN, f32::INFINITY] {
            let spoil = |t: &mut Tensor| t.2[4..8].copy_from_slice(&bad.to_le_bytes());
            broken(name, &spoil, &[&bad.to_string(), "element 1"]);
        }
        let mut adapter = Sound::new();
        let extra = adapter.tensors[name].clone();
        adapter.tensors.insert(name.replace("layers", "towers"), extra);
        holds(adapter.open(), &["towers", "is not expected"]);
    }
}

#[test]
fn an_adapter_for_another_base_names_both_shapes() {
    let mut adapter = Sound::new();
    adapter.base.hidden = 24;
    let parts = ["adapter_model.safetensors", "another base", "down_proj", "[2, 12]", "[2, 24]"];
    holds(adapter.open(), &parts);
}

#[test]
fn half_precision_adapters_are_read() {
    let expected = Sound::new().open().expect("sound");
    type Convert = fn(f32) -> [u8; 2];
    let to_bf16: Convert = |x| half::bf16::from_f32(x).to_le_bytes();
    let to_f16: Convert = |x| half::f16::from_f32(x).to_le_bytes();
    for (dtype, convert, error) in [(Dtype::BF16, to_bf16, 4e-3), (Dtype::F16, to_f16, 5e-4)] {
        let mut adapter = Sound::new();
        for tensor in adapter.tensors.values_mut() {
            let floats = tensor.2.chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("4")));
            tensor.2 = floats.flat_map(convert).collect();
            tensor.0 = dtype;
        }
        let read = adapter.open().expect("half precision");
        for (x, y) in read.parameters.iter().zip(&expected.parameters) {
            assert!((x - y).abs() <= error * y.abs(), "{x} for {y}");
        }
    }
}

#[test]
fn a_name_in_the_config_is_never_followed() {
    let mut adapter = Sound::new();
    adapter.config["base_model_name_or_path"] = json!("/etc/passwd");
    assert_eq!(adapter.open().expect("sound").base.as_deref(), Some("/etc/passwd"));
    assert!(adapter.tensors.contains_key(A));
}
