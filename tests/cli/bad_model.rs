//! Models and adapters that cannot be used: the file and the field are named, nothing is written.

use std::fs;

use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use super::{Place, Run, homespun};
use crate::small_model::{SmallModel, f32_tensor, raw_safetensors, safetensors_file};

/// `homespun logits` of the small model, which must be refused and write nothing.
#[track_caller]
fn refused(model: &SmallModel, parts: &[&str]) {
    let place = Place::new();
    let folder = model.path().to_str().expect("UTF-8");
    let out = place.path("logits.safetensors");
    homespun(&["logits", "--model", folder, "--tokens", "1,2,3", "--out", &out]).refused(parts);
    assert_eq!(place.names(), Vec::<String>::new());
}

/// `homespun train` of the folder `model`, which must be refused and write nothing.
#[track_caller]
fn untrained(place: &Place, model: &str, parts: &[&str]) -> Run {
    let data = place.stream("data.jsonl", 2);
    let before = place.names();
    let out = place.path("out");
    let args = ["train", "--model", model, "--data", &data, "--out", &out, "--steps", "1"];
    let run = homespun(&args).refused(parts);
    assert_eq!(place.names(), before);
    run
}

#[test]
fn a_small_model_that_is_sound_gives_logits() {
    let (model, place) = (SmallModel::new(), Place::new());
    let (folder, out) = (model.write(), place.path("logits.safetensors"));
    let folder = folder.to_str().expect("UTF-8");
    homespun(&["logits", "--model", folder, "--tokens", "1,2,3", "--out", &out]).fine();
    assert_eq!(place.names(), ["logits.safetensors"]);
}

#[test]
fn weights_that_are_missing_cut_short_or_something_else_are_named() {
    let model = SmallModel::new();
    model.put("config.json", model.config.to_string());
    refused(&model, &["model.safetensors", "neither"]);
    let whole = safetensors_file(&model.tensors);
    for length in [0, 7, 100, whole.len() - 1] {
        model.put("model.safetensors", &whole[..length]);
        refused(&model, &["model.safetensors"]);
    }
    model.put("model.safetensors", b"PK\x03\x04 a zip file of pytorch, not safetensors");
    refused(&model, &["model.safetensors"]);
}

#[test]
fn a_header_that_lies_is_refused() {
    let model = SmallModel::new();
    model.write();
    let entry = |shape: Value, end: u64| {
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [0, end]});
        json!({"model.norm.weight": entry}).to_string()
    };
    for (header, data) in [
        (entry(json!([8]), 32), 16),
        (entry(json!([9]), 32), 32),
        (entry(json!([u64::MAX, u64::MAX]), 32), 32),
        (entry(json!([-8]), 32), 32),
    ] {
        model.put("model.safetensors", raw_safetensors(header.as_bytes(), &vec![0; data]));
        refused(&model, &["model.safetensors"]);
    }
    let long = [&(1_u64 << 40).to_le_bytes()[..], &[b' '; 64]].concat();
    model.put("model.safetensors", long);
    refused(&model, &["model.safetensors", "header"]);
}

#[test]
fn sizes_architectures_and_types_that_cannot_be_are_named_by_field() {
    for (field, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(-8)),
        ("hidden_size", json!(1_u64 << 62)),
        ("num_attention_heads", json!(3)),
        ("num_key_value_heads", json!(3)),
        ("num_hidden_layers", json!(4_000_000_000_u64)),
        ("intermediate_size", json!("twelve")),
        ("vocab_size", json!(null)),
        ("model_type", json!("mamba")),
        ("architectures", json!(["T5ForConditionalGeneration"])),
        ("torch_dtype", json!("float8_e5m2")),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        ("sliding_window", json!(8)),
    ] {
        let mut model = SmallModel::new();
        model.config[field] = value;
        model.write();
        refused(&model, &["config.json", field]);
    }
    let model = SmallModel::new();
    model.write();
    model.put("config.json", "{\"hidden_size\": 8,");
    refused(&model, &["config.json", "JSON", "line 1"]);
}

#[test]
fn tensors_that_are_missing_misshapen_or_of_an_unknown_type_are_named() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let mut model = SmallModel::new();
    model.tensors.remove(name);
    model.write();
    refused(&model, &["model.safetensors", name, "is missing"]);
    let mut model = SmallModel::new();
    *model.tensor(name) = f32_tensor(&[8, 12]);
    model.write();
    refused(&model, &["model.safetensors", name, "[8, 12]", "[12, 8]"]);
    let mut model = SmallModel::new();
    model.tensor(name).0 = Dtype::I32;
    model.write();
    refused(&model, &["model.safetensors", name, "I32"]);
}

#[test]
fn an_activation_that_is_not_finite_is_named_with_its_tensor_and_layer() {
    let mut model = SmallModel::new();
    let tensor = model.tensor("model.layers.1.mlp.down_proj.weight");
    tensor.2 = f32::MAX.to_le_bytes().repeat(tensor.2.len() / 4);
    model.write();
    let folder = model.path().to_str().expect("UTF-8");
    refused(&model, &[folder, "layer 1", "mlp.down_proj", "not finite"]);
}

#[test]
fn gguf_is_refused_with_the_way_out() {
    let place = Place::new();
    let file = place.file("model.Q8_0.gguf", b"GGUF\x03\0\0\0");
    let run = homespun(&["generate", "--model", &file, "--prompt", "Hello"]);
    run.refused(&["model.Q8_0.gguf", "not read; use the safetensors folder"]);
}

#[test]
fn a_tokenizer_that_is_missing_empty_invalid_or_too_large_is_named() {
    let place = Place::new();
    let model = place.model();
    let file = format!("{model}/tokenizer.json");
    for text in ["", "{", "[]", "{\"model\": {}}"] {
        fs::write(&file, text).expect("file");
        untrained(&place, &model, &["tokenizer.json"]);
    }
    let mut json: Value = serde_json::from_slice(homespun_runtime::builtin::TOKENIZER)
        .expect("the built-in tokenizer");
    json["model"]["vocab"]["tea!"] = json!(70_000);
    fs::write(&file, json.to_string()).expect("file");
    untrained(&place, &model, &["tokenizer.json", "70000", "vocab_size 1024"]);
    fs::remove_file(&file).expect("remove");
    untrained(&place, &model, &["tokenizer.json", "not found"]);
}

#[test]
fn a_template_that_is_missing_or_broken_is_named() {
    let place = Place::new();
    let bad = place.file("bad.jinja", "{% for message in messages %}");
    for (template, parts) in
        [(bad.as_str(), ["bad.jinja", ""]), ("nowhere.jinja", ["nowhere.jinja", "no such file"])]
    {
        let args = ["generate", "--model", "builtin", "--template", template, "--prompt", "Hi"];
        homespun(&args).refused(&parts);
    }
}

#[test]
fn an_adapter_for_another_base_is_refused() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/models/llama/adapter");
    let place = Place::new();
    let data = place.stream("data.jsonl", 2);
    let out = place.path("out");
    let parts = ["adapter_model.safetensors", "another base"];
    let base = ["--model", "builtin"];
    homespun(&[&["generate"], &base[..], &["--adapter", golden, "--prompt", "Hi"]].concat())
        .refused(&parts);
    homespun(
        &[&["evaluate"], &base[..], &["--adapter", golden, "--data", &data, "--json"]].concat(),
    )
    .refused(&parts);
    homespun(
        &[&["train"], &base[..], &["--init", golden, "--data", &data, "--out", &out]].concat(),
    )
    .refused(&parts);
    assert_eq!(place.names(), ["data.jsonl"]);
}
