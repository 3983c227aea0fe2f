//! `homespun quantize` and `homespun verify` as a user runs them, and what each refuses.

use std::fs;

use serde_json::{Value, json};

use super::bad_disk::limited;
use super::{Place, contents, homespun, number};
use crate::small_model::SmallModel;

/// Quantises the built-in model into `place` and gives the folder.
fn built_in(place: &Place, options: &[&str]) -> String {
    let out = place.path("out");
    homespun(&[&["quantize", "--model", "builtin", "--out", &out], options].concat()).fine();
    out
}

#[test]
fn a_quantised_folder_serves_every_command() {
    let place = Place::new();
    let out = place.path("out");
    let args = ["quantize", "--model", "builtin", "--to", "q4", "--out", &out, "--json"];
    let report = homespun(&args).fine().json();
    assert!(number(&report, "weight_bytes") < 0.4 * number(&report, "source_bytes"), "{report}");
    assert_eq!((&report["format"], &report["head"]), (&json!("q4"), &json!("q8")));
    let kinds = report["kinds"].as_array().expect("kinds");
    assert_eq!(kinds.len(), 8, "{report}");
    assert!(kinds.iter().all(|kind| number(kind, "relative_rms_error") < 0.12), "{report}");
    let say = |options: &[&str]| {
        let prompt = ["generate", "--model", &out, "--prompt", "What should I cook tonight?"];
        homespun(&[&prompt[..], options].concat()).fine().stdout
    };
    assert!(say(&[]).split_whitespace().count() > 2);
    assert_eq!(say(&["--activations", "f32"]), say(&["--activations", "f32", "--threads", "1"]));
    let mut replies = Vec::new();
    for precision in [&[][..], &["--kv", "i8"]] {
        let [one, three] =
            ["1", "3"].map(|threads| say(&[precision, &["--threads", threads]].concat()));
        assert_eq!(one, three, "threads change the reply: {precision:?}");
        replies.push(one);
    }
    assert!(replies.iter().all(|reply| !reply.trim().is_empty()), "{replies:?}");
    let data = place.stream("data.jsonl", 4);
    let adapter = place.path("adapter");
    let train = ["train", "--model", &out, "--data", &data, "--out", &adapter, "--steps", "2"];
    let told = homespun(&train).fine().stderr;
    let line = told.lines().find(|line| line.contains("with int8 activations")).expect("told");
    let losses: Vec<f64> = line
        .split([' ', ',', '(', ')'])
        .filter(|word| word.contains('.'))
        .map(|word| word.parse().expect("a loss"))
        .collect();
    let [exact, int8, apart] = losses[..] else { panic!("{line}") };
    assert!(exact > 0.0 && apart != 0.0 && apart.abs() < 0.05 * exact, "{line}");
    assert!((int8 - exact - apart).abs() < 2e-4, "{line}");
    homespun(&["generate", "--model", &out, "--adapter", &adapter, "--prompt", "Hi"]).fine();
    let run = homespun(&["verify", "--model", &out, "--json"]).fine().json();
    assert_eq!((&run["sound"], &run["hashes"]), (&json!(true), &json!("agree")), "{run}");
}

#[test]
fn a_table_of_errors_is_printed_for_a_person() {
    let place = Place::new();
    let out = place.path("out");
    let run = homespun(&["quantize", "--model", "builtin", "--to", "q8", "--out", &out]).fine();
    for part in ["embed_tokens", "down_proj", "RMS error", "bits a weight"] {
        assert!(run.stdout.contains(part), "{part}: {run:?}");
    }
    assert_eq!(place.names(), ["out"]);
}

#[test]
fn what_a_killed_run_left_beside_the_folder_is_removed() {
    let place = Place::new();
    for left in [".out.71.0.tmp", ".other.71.0.tmp"] {
        fs::create_dir(place.path(left)).expect(left);
        fs::write(place.path(&format!("{left}/model.safetensors")), b"half").expect(left);
    }
    built_in(&place, &["--to", "q8"]);
    assert_eq!(place.names(), [".other.71.0.tmp", "out"]);
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    let of = |threads: &str| {
        let place = Place::new();
        let out = built_in(&place, &["--to", "q4", "--head", "q4", "--threads", threads]);
        let name = |(path, bytes): (String, Vec<u8>)| (path.replace(&out, ""), bytes);
        contents(&out).into_iter().map(name).collect::<Vec<_>>()
    };
    assert!(of("1") == of("3"), "threads change the file");
}

#[test]
fn what_cannot_be_quantised_is_refused_and_nothing_is_left() {
    let place = Place::new();
    let out = place.path("out");
    let quantize = |model: &str, options: &[&str]| {
        homespun(&[&["quantize", "--model", model, "--out", &out], options].concat())
    };
    quantize("builtin", &[]).refused(&["--to"]);
    quantize("builtin", &["--to", "q5"]).refused(&["--to", "\"q5\" is not q8 or q4"]);
    quantize("builtin", &["--to", "q4", "--head", "f32"]).refused(&["--head", "is not q8 or q4"]);
    quantize("nowhere", &["--to", "q8"]).refused(&["nowhere", "No such file"]);
    let gguf = place.file("model.gguf", b"GGUF\x03\0\0\0");
    quantize(&gguf, &["--to", "q8"]).refused(&["model.gguf", "use the safetensors folder"]);
    let mut model = SmallModel::new();
    let name = "model.layers.1.self_attn.v_proj.weight";
    model.tensor(name).2[44..48].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let folder = model.write();
    let folder = folder.to_str().expect("UTF-8");
    quantize(folder, &["--to", "q4"]).refused(&[
        "model.safetensors",
        name,
        "not finite, in row 1, column 3",
    ]);
    model.tensor(name).2[44..48].copy_from_slice(&1e9_f32.to_le_bytes());
    model.write();
    quantize(folder, &["--to", "q8"]).refused(&[name, "in row 1 that is too large"]);
    limited(64, &["quantize", "--model", "builtin", "--to", "q8", "--out", &out]).refused(&[
        "out",
        "cannot be written",
        "File too large",
    ]);
    let parent = place.path("no/out");
    homespun(&["quantize", "--model", "builtin", "--to", "q8", "--out", &parent])
        .refused(&["no/out", "No such file"]);
    assert_eq!(place.names(), ["model.gguf"]);
}

#[test]
fn a_folder_that_holds_something_is_never_replaced() {
    let place = Place::new();
    let mine = place.path("mine");
    fs::create_dir(&mine).expect("folder");
    let to = |out: &str| homespun(&["quantize", "--model", "builtin", "--to", "q8", "--out", out]);
    to(&mine).fine();
    let before = contents(&mine);
    to(&mine).refused(&["mine", "which is not to be replaced"]);
    to(&place.file("file", "text")).refused(&["file", "Not a directory"]);
    homespun(&["quantize", "--model", &mine, "--to", "q4", "--out", &place.path("again")])
        .refused(&["mine/config.json", "quantization_config", "quantised already"]);
    assert!(contents(&mine) == before);
    assert_eq!(place.names(), ["file", "mine"]);
}

/// Changes a field of the folder's `quantization_config`.
fn set(folder: &str, field: &str, value: Value) {
    let file = format!("{folder}/config.json");
    let mut config: Value =
        serde_json::from_slice(&fs::read(&file).expect("config")).expect("JSON");
    config["quantization_config"][field] = value;
    fs::write(file, config.to_string()).expect("config");
}

#[test]
fn a_configuration_that_does_not_fit_the_weights_is_named() {
    let place = Place::new();
    let out = built_in(&place, &["--to", "q4"]);
    let verify = || homespun(&["verify", "--model", &out]);
    for (field, wrong, right, parts) in [
        ("quant_method", json!("awq"), json!("homespun"), ["quantization_config", "awq"]),
        ("version", json!(2), json!(1), ["quantization_config.version", "is 2"]),
        ("format", json!("q3"), json!("q4"), ["quantization_config.format", "q3"]),
        ("format", json!("q8"), json!("q4"), ["_proj.weight", "as q8 of shape"]),
        ("head", json!("q4"), json!("q8"), ["model.embed_tokens.weight", "as q4 of shape"]),
    ] {
        set(&out, field, wrong);
        verify().refused(&parts);
        set(&out, field, right);
    }
    verify().fine();
    let file = format!("{out}/model.safetensors");
    let whole = fs::read(&file).expect("file");
    fs::write(&file, &whole[..whole.len() - 1]).expect("file");
    verify().refused(&["model.safetensors"]);
    fs::remove_file(&file).expect("remove");
    verify().refused(&["holds neither model.safetensors"]);
}

#[test]
fn damage_is_named_and_ends_in_failure() {
    let place = Place::new();
    let out = built_in(&place, &["--to", "q8"]);
    let file = format!("{out}/model.safetensors");
    let mut bytes = fs::read(&file).expect("file");
    let last = bytes.len() - 1;
    bytes[last] ^= 0x10;
    fs::write(&file, bytes).expect("file");
    homespun(&["verify", "--model", &out]).refused(&["model.norm.weight", "SHA-256"]);
    let run = homespun(&["verify", "--model", &out, "--json"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let report = run.json();
    assert_eq!((&report["sound"], &report["hashes"]), (&json!(false), &json!("differ")));
    assert_eq!(report["damage"][0]["tensor"], "model.norm.weight");
}

#[test]
fn a_folder_without_hashes_has_them_printed() {
    let run = homespun(&["verify", "--model", "builtin"]).fine();
    assert!(run.stdout.contains("  model.embed_tokens.weight\n"), "{run:?}");
    assert!(run.stdout.contains("hashes in the file: none"), "{run:?}");
}

#[test]
fn a_model_is_measured_against_the_one_that_it_was_made_from() {
    let place = Place::new();
    let out = built_in(&place, &["--to", "q8"]);
    let verify = ["verify", "--model", &out, "--against"];
    let args = ["builtin", "--tokens", "300", "--json"];
    let report = homespun(&[&verify[..], &args].concat()).fine().json();
    let rows = report["against"].as_array().expect("rows");
    let kinds: Vec<_> = rows.iter().map(|row| &row["activations"]).collect();
    assert_eq!(kinds, ["f32", "i8"], "{report}");
    for row in rows {
        assert_eq!(number(row, "tokens"), 300.0);
        assert!(number(row, "excess").abs() < 0.05 && number(row, "agreement") > 0.9, "{row}");
    }
    let again = homespun(&[&verify[..], &args].concat()).fine().json();
    assert_eq!(again, report, "the same seed gives other text");
    let other = homespun(&[&verify[..], &args, &["--seed", "5"]].concat()).fine().json();
    assert_ne!(other, report, "the seed draws nothing");
    let small = SmallModel::new();
    let small = small.write();
    let other = ["--tokens", "10"];
    homespun(&[&verify[..], &[small.to_str().expect("UTF-8")], &other].concat()).refused(&[
        "vocab_size",
        "1024",
        "16",
    ]);
    homespun(&[&verify[..], &["builtin", "--tokens", "0"]].concat()).refused(&["--tokens"]);
    homespun(&["verify", "--model", &out, "--tokens", "5"]).refused(&["--against"]);
    homespun(&["verify", "--model", "nowhere"]).refused(&["nowhere", "No such file"]);
}

#[test]
fn a_reference_without_room_for_two_tokens_is_refused() {
    let mut model = SmallModel::new();
    model.config["max_position_embeddings"] = json!(1);
    let folder = model.write();
    let folder = folder.to_str().expect("UTF-8");
    let verify = ["verify", "--model", folder, "--against", folder, "--tokens", "5"];
    homespun(&verify).refused(&["config.json", "`max_position_embeddings` is 1"]);
    model.config["max_position_embeddings"] = json!(2);
    model.write();
    homespun(&verify).fine();
}

#[test]
fn a_state_of_the_dense_model_is_not_that_of_its_quantised_copy() {
    let place = Place::new();
    let out = built_in(&place, &["--to", "q8"]);
    let (stream, state) = (place.stream("stream.jsonl", 2), place.path("state"));
    let learn = ["--stream", &stream, "--state", &state, "--round", "100", "--synth", "0"];
    homespun(&[&["personalize", "--model", "builtin"], &learn[..]].concat()).fine();
    homespun(&[&["personalize", "--model", &out], &learn[..]].concat()).refused(&[
        "state.json",
        "base.weights",
        "quantised copy is another model",
    ]);
}
