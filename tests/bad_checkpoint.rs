//! Damaged and foreign checkpoints: each is refused by the name of its file and of what is wrong.

use std::fs;
use std::path::Path;

use homespun_runtime::checkpoint::Checkpoint;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use crate::small_model::{SmallModel, f32_tensor, raw_safetensors, safetensors_file};

/// An error with all its reasons, as the command line prints it.
pub fn chain(error: &dyn core::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(reason) = next {
        text += &format!(": {reason}");
        next = reason.source();
    }
    text
}

/// Opening must fail and the message hold each of `parts`.
fn refused(path: &Path, parts: &[&str]) {
    let message = match Checkpoint::open(path) {
        Ok(_) => panic!("opened, though {parts:?}"),
        Err(error) => chain(&error),
    };
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    assert!(message.len() < 1000, "{message}");
}

#[test]
fn a_sound_folder_opens() {
    let model = SmallModel::new();
    let checkpoint = Checkpoint::open(&model.write()).expect("one file");
    let one = checkpoint.base_hash();
    model.remove("model.safetensors");
    model.write_sharded();
    assert_eq!(Checkpoint::open(model.path()).expect("shards").base_hash(), one);
}

#[test]
fn what_is_absent_is_named() {
    let model = SmallModel::new();
    let path = model.path();
    refused(&path.join("nowhere"), &["nowhere", "No such file"]);
    refused(path, &["config.json", "No such file"]);
    model.put("config.json", model.config.to_string());
    refused(path, &["model.safetensors", "neither"]);
    model.write();
    model.remove("config.json");
    refused(path, &["config.json", "No such file"]);
    refused(&path.join("model.safetensors"), &["model.safetensors", "is no folder"]);
}

#[test]
fn a_folder_in_the_place_of_a_file_is_refused() {
    for name in ["config.json", "model.safetensors"] {
        let model = SmallModel::new();
        model.write();
        model.remove(name);
        fs::create_dir(model.path().join(name)).expect(name);
        refused(model.path(), &[name, "not a regular file"]);
    }
}

#[test]
fn gguf_is_refused_with_the_way_out() {
    let parts = ["GGUF is not read; use the safetensors folder"];
    let model = SmallModel::new();
    model.put("model.Q8_0.GGUF", b"GGUF\x03\0\0\0");
    refused(model.path(), &parts);
    refused(&model.path().join("model.Q8_0.GGUF"), &parts);
    model.put("config.json", model.config.to_string());
    refused(model.path(), &parts);
    model.put("blob", b"GGUF\x03\0\0\0");
    refused(&model.path().join("blob"), &parts);
    model.write();
    model.put("model.safetensors", b"GGUF\x03\0\0\0\0\0\0\0");
    refused(model.path(), &parts);
    model.write();
    Checkpoint::open(model.path()).expect("safetensors beside GGUF");
}

#[test]
fn config_json_that_is_no_object_is_refused() {
    let model = SmallModel::new();
    model.write();
    let deep = "[".repeat(100_000);
    for text in ["", "{", "[]", "null", "{\"hidden_size\": NaN}", "\u{feff}{}", &deep] {
        model.put("config.json", text);
        refused(model.path(), &["config.json"]);
    }
    model.put("config.json", b"{\"model_type\": \"\xff\xfe\"}");
    refused(model.path(), &["config.json", "JSON"]);
    model.write();
    model.put("generation_config.json", "{");
    refused(model.path(), &["generation_config.json", "JSON"]);
}

#[test]
fn config_values_are_refused_by_field_before_any_weight_is_read() {
    for (field, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(-8)),
        ("hidden_size", json!(1_u64 << 62)),
        ("vocab_size", json!(1e99)),
        ("num_hidden_layers", json!(4_000_000_000_u64)),
        ("num_attention_heads", json!(3)),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(3)),
        ("max_position_embeddings", json!(0)),
        ("model_type", json!("mamba")),
        ("architectures", json!(["T5ForConditionalGeneration"])),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        ("sliding_window", json!(8)),
        ("torch_dtype", json!("float8_e5m2")),
        ("quantization_config", json!({"bits": 4})),
        ("hidden_act", json!("relu")),
    ] {
        let mut model = SmallModel::new();
        model.config[field] = value;
        let path = model.write();
        model.remove("model.safetensors");
        model.put("model.safetensors", "");
        refused(&path, &["config.json", field]);
    }
}

#[test]
fn sizes_that_the_weights_do_not_have_name_the_tensor_and_both_shapes() {
    let q = "model.layers.0.self_attn.q_proj.weight";
    for (field, value, parts) in [
        ("vocab_size", 17, ["model.embed_tokens.weight", "[16, 8]", "[17, 8]"]),
        ("intermediate_size", 14, ["mlp.gate_proj.weight", "[12, 8]", "[14, 8]"]),
        ("num_key_value_heads", 1, ["self_attn.k_proj.weight", "[4, 8]", "[2, 8]"]),
        ("head_dim", 4, [q, "[8, 8]", "[16, 8]"]),
        ("num_hidden_layers", 3, ["model.layers.2.input_layernorm.weight", "is missing", ""]),
        ("num_hidden_layers", 1, ["model.layers.1.input_layernorm", "is not expected", ""]),
    ] {
        let mut model = SmallModel::new();
        model.config[field] = json!(value);
        let path = model.write();
        refused(&path, &["model.safetensors"]);
        refused(&path, &parts);
    }
}

#[test]
fn each_missing_misshapen_or_unreadable_tensor_is_named() {
    let names: Vec<_> = SmallModel::new().tensors.keys().cloned().collect();
    assert_eq!(names.len(), 20);
    for name in &names {
        let mut model = SmallModel::new();
        model.tensors.remove(name);
        refused(&model.write(), &["model.safetensors", name, "is missing"]);

        let mut model = SmallModel::new();
        let mut shape = model.tensor(name).1.clone();
        shape[0] += 1;
        *model.tensor(name) = f32_tensor(&shape);
        refused(&model.write(), &["model.safetensors", name, &format!("{shape:?}")]);

        let mut model = SmallModel::new();
        let (_, shape, bytes) = model.tensor(name).clone();
        model.tensors.insert(name.clone(), (Dtype::I32, shape, bytes));
        refused(&model.write(), &["model.safetensors", name, "I32"]);

        let mut model = SmallModel::new();
        let tensor = model.tensors.remove(name).expect("there");
        model.tensors.insert(format!("{name}.extra"), tensor);
        refused(&model.write(), &[name, "is not expected"]);
    }
}

#[test]
fn biases_that_the_configuration_does_not_know_are_refused() {
    let mut model = SmallModel::new();
    let bias = "model.layers.0.self_attn.q_proj.bias";
    model.tensors.insert(bias.to_owned(), f32_tensor(&[8]));
    refused(&model.write(), &[bias, "is not expected"]);
    model.config["attention_bias"] = json!(true);
    refused(&model.write(), &["model.layers.0.self_attn.k_proj.bias", "is missing"]);
}

#[test]
fn files_that_are_not_safetensors_are_refused() {
    let model = SmallModel::new();
    model.write();
    let entry = |dtype: &str, shape: &str, from: usize, to: usize| {
        format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    let lies = |header: &str| raw_safetensors(header.as_bytes(), &[0; 16]);
    let max = usize::MAX;
    for bytes in [
        vec![],
        vec![0; 7],
        vec![0; 8],
        vec![0xff; 64],
        b"PK\x03\x04 a zip file of pytorch, not safetensors".to_vec(),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n".to_vec(),
        lies("{"),
        lies("[]"),
        lies("null"),
        raw_safetensors(b"{\"\xff\": 1}", &[0; 16]),
        lies(&entry("F32", "[4]", 0, 8)),
        lies(&entry("F32", "[4]", 0, 32)),
        lies(&entry("F32", "[4]", 8, 24)),
        lies(&entry("F32", "[4]", 16, 0)),
        lies(&entry("F32", "[8]", 0, 16)),
        lies(&entry("F32", "[2]", 0, 8)),
        lies(&entry("Q4_0", "[4]", 0, 16)),
        lies(&entry("F32", "[-4]", 0, 16)),
        lies(&entry("F32", &format!("[{max}, {max}]"), 0, 16)),
        lies(&entry("F32", "[4]", 0, max)),
        lies(&entry("F32", "[4]", max, max)),
    ] {
        model.put("model.safetensors", &bytes);
        refused(model.path(), &["model.safetensors"]);
    }
    let long = [&(1_u64 << 40).to_le_bytes()[..], &[b' '; 64]].concat();
    model.put("model.safetensors", long);
    refused(model.path(), &["model.safetensors", "header of 1099511627776 bytes"]);
}

#[test]
fn two_tensors_in_one_place_are_refused() {
    let model = SmallModel::new();
    model.write();
    let entry = json!({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]});
    let header = json!({"a": entry, "b": entry}).to_string();
    model.put("model.safetensors", raw_safetensors(header.as_bytes(), &[0; 16]));
    refused(model.path(), &["model.safetensors", "offset"]);
}

#[test]
fn a_damaged_index_is_refused() {
    let model = SmallModel::new();
    let sound = model.write_sharded();
    let file = "model.safetensors.index.json";
    let name = "model.norm.weight";
    let broken = |change: fn(&mut Value)| {
        let mut index = sound.clone();
        change(&mut index["weight_map"]);
        model.put(file, index.to_string());
    };
    broken(|map| *map = json!([]));
    refused(model.path(), &[file, "weight_map"]);
    broken(|map| *map = json!({}));
    refused(model.path(), &[file, "weight_map", "empty"]);
    for outside in [json!("../model.safetensors"), json!("/etc/passwd"), json!(""), json!(7)] {
        let mut index = sound.clone();
        index["weight_map"][name] = outside;
        model.put(file, index.to_string());
        refused(model.path(), &[file, name]);
    }
    broken(|map| map["model.norm.weight"] = json!("model-00003-of-00002.safetensors"));
    refused(model.path(), &["model-00003-of-00002.safetensors", "No such file"]);
    broken(|map| {
        let other = match map["model.norm.weight"].as_str() {
            Some("model-00001-of-00002.safetensors") => "model-00002-of-00002.safetensors",
            _ => "model-00001-of-00002.safetensors",
        };
        map["model.norm.weight"] = json!(other);
    });
    refused(model.path(), &["model-0000", name, "as the index says"]);
    broken(|map| map["lm_head.weight"] = json!("model-00001-of-00002.safetensors"));
    refused(model.path(), &[file, "lm_head.weight", "as the index says"]);
    model.put(file, sound.to_string());
    model.put("model-00002-of-00002.safetensors", safetensors_file(&model.tensors));
    refused(model.path(), &["model-0000", "is also in"]);
    model.put(file, "{");
    refused(model.path(), &[file, "JSON"]);
}
