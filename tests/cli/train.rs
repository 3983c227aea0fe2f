//! `homespun train`: its log, its determinism, what it writes.

use std::fs;

use serde_json::Value;

use super::{Place, contents, homespun, json_lines, names, number};

/// Trains two steps on eight short dialogues and gives the log.
fn train(place: &Place, out: &str, options: &[&str]) -> Vec<Value> {
    let data = place.stream("data.jsonl", 8);
    let (log, out) = (place.path(&format!("{out}.jsonl")), place.path(out));
    let args = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--log", &log];
    let brief = ["--steps", "2", "--batch", "4", "--max-length", "48"];
    homespun(&[&args[..], &brief, options].concat()).fine();
    json_lines(&fs::read_to_string(log).expect("log"))
}

fn losses(log: &[Value]) -> Vec<f64> {
    log.iter().map(|line| number(line, "loss")).collect()
}

fn tokens(log: &[Value]) -> Vec<f64> {
    log.iter().map(|line| number(line, "tokens")).collect()
}

#[test]
fn the_log_has_a_line_a_step_and_out_is_a_plain_adapter() {
    let place = Place::new();
    let log = train(&place, "out", &["--warmup", "2", "--lr", "1e-3", "--schedule", "linear"]);
    assert_eq!(log.len(), 2);
    for (i, line) in log.iter().enumerate() {
        assert_eq!(number(line, "step"), (i + 1) as f64);
        let mut keys: Vec<&String> = line.as_object().expect("object").keys().collect();
        keys.sort();
        assert_eq!(keys, ["grad_norm", "loss", "lr", "seconds", "step", "tokens"]);
        for key in ["loss", "grad_norm", "tokens", "seconds"] {
            assert!(number(line, key) > 0.0, "{key}: {line}");
        }
    }
    assert_eq!((number(&log[0], "lr"), number(&log[1], "lr")), (0.0, 5e-4), "the warm-up");
    let out = place.path("out");
    assert_eq!(names(out.as_ref()), ["adapter_config.json", "adapter_model.safetensors"]);
    let config: Value =
        serde_json::from_slice(&fs::read(format!("{out}/adapter_config.json")).expect("config"))
            .expect("JSON");
    assert_eq!((&config["r"], &config["lora_alpha"]), (&8.into(), &16.into()));
}

#[test]
fn a_finished_out_is_left_as_it_is() {
    let place = Place::new();
    train(&place, "out", &[]);
    let out = place.path("out");
    let before = contents(&out);
    // Not even the data is looked at.
    let args = ["train", "--model", "builtin", "--data", "nowhere.jsonl", "--out", &out];
    let run = homespun(&args).fine();
    assert!(run.stderr.contains("finished already"), "{run:?}");
    assert_eq!(contents(&out), before);
}

#[test]
fn the_size_of_micro_batches_does_not_change_the_losses() {
    let place = Place::new();
    let one = losses(&train(&place, "one", &["--micro-batch", "1", "--dropout", "0.1"]));
    let four = losses(&train(&place, "four", &["--micro-batch", "4", "--dropout", "0.1"]));
    assert!(one[0] != one[1], "a step changes nothing: {one:?}");
    for (a, b) in one.iter().zip(&four) {
        assert!((a - b).abs() <= 1e-5 * a, "{one:?} {four:?}");
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit_and_the_seed_does() {
    let place = Place::new();
    let adapter = |out: &str, options: &[&str]| {
        train(&place, out, options);
        fs::read(place.path(&format!("{out}/adapter_model.safetensors"))).expect("adapter")
    };
    let one = adapter("one", &["--threads", "1", "--seed", "3"]);
    let three = adapter("three", &["--threads", "3", "--seed", "3"]);
    assert!(one == three, "one thread and three end differently");
    let other = adapter("other", &["--threads", "1", "--seed", "4"]);
    assert!(one != other, "the seed changes nothing");
}

#[test]
fn without_shuffling_dialogues_come_in_the_files_order_and_wrap_round() {
    let place = Place::new();
    let data = place.stream("eight.jsonl", 8);
    let length = |line: &str| {
        let file = place.file("one.json", line);
        let run = homespun(&["render", "--model", "builtin", "--messages", &file, "--json"]).fine();
        run.json()["ids"].as_array().expect("ids").len() as f64
    };
    let text = fs::read_to_string(&data).expect("data");
    let lengths: Vec<f64> = text.lines().map(length).collect();
    let sum = |range: core::ops::Range<usize>| range.map(|i| lengths[i % 8]).sum::<f64>();
    let options = ["--no-shuffle", "--batch", "3", "--steps", "4", "--max-length", "512"];
    let data = place.stream("data.jsonl", 8);
    let (out, log) = (place.path("out"), place.path("log"));
    let args = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--log", &log];
    homespun(&[&args[..], &options].concat()).fine();
    let log = json_lines(&fs::read_to_string(log).expect("log"));
    assert_eq!(tokens(&log), [sum(0..3), sum(3..6), sum(6..9), sum(9..12)]);
}

#[test]
fn init_goes_on_from_an_adapter_with_its_own_shape() {
    let place = Place::new();
    let options = ["--rank", "3", "--alpha", "12", "--targets", "q_proj,down_proj", "--lr", "1e-2"];
    let first = losses(&train(&place, "first", &[&options[..], &["--no-shuffle"]].concat()));
    let from = place.path("first");
    let second = losses(&train(&place, "second", &["--init", &from, "--no-shuffle"]));
    assert!(second[0] < first[0], "it does not begin where the first ended: {first:?} {second:?}");
    let config = |out: &str| -> Value {
        let bytes = fs::read(place.path(&format!("{out}/adapter_config.json"))).expect("config");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let (first, second) = (config("first"), config("second"));
    for key in ["r", "lora_alpha", "target_modules"] {
        assert_eq!(first[key], second[key], "{key}");
    }
    assert_eq!(second["r"], 3);
}

#[test]
fn rslora_and_a_frozen_a_reach_the_adapter() {
    let place = Place::new();
    let read = |out: &str, file: &str| fs::read(place.path(&format!("{out}/{file}"))).expect(file);
    let scaled = |out: &str| -> Value {
        let config: Value =
            serde_json::from_slice(&read(out, "adapter_config.json")).expect("JSON");
        config["use_rslora"].clone()
    };
    let plain = losses(&train(&place, "plain", &["--lr", "1e-2"]));
    let stable = losses(&train(&place, "stable", &["--lr", "1e-2", "--rslora"]));
    assert_eq!((scaled("plain"), scaled("stable")), (false.into(), true.into()));
    // B is zero at first, so the scale shows from the second step on.
    assert!(plain[0] == stable[0] && plain[1] != stable[1], "{plain:?} {stable:?}");
    train(&place, "start", &["--lr", "0"]);
    train(&place, "frozen", &["--lr", "1e-2", "--freeze-a"]);
    let tensors = ["start", "frozen"].map(|out| read(out, "adapter_model.safetensors"));
    let [start, frozen] = tensors
        .each_ref()
        .map(|bytes| safetensors::SafeTensors::deserialize(bytes).expect("safetensors"));
    for (name, tensor) in start.tensors() {
        let same = frozen.tensor(&name).expect("tensor").data() == tensor.data();
        assert_eq!(same, name.contains("lora_A"), "{name}");
    }
}

#[test]
fn dora_writes_magnitudes_that_are_read_again() {
    let place = Place::new();
    let options =
        ["--dora", "--lr", "1e-2", "--no-shuffle", "--dropout", "0", "--targets", "v_proj"];
    let first = losses(&train(&place, "first", &options));
    let from = place.path("first");
    let second = losses(&train(&place, "second", &["--init", &from, "--no-shuffle"]));
    assert!(second[0] < first[0], "it does not begin where the first ended: {first:?} {second:?}");
    let bytes = fs::read(format!("{from}/adapter_model.safetensors")).expect("adapter");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let kinds = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"];
    let of_kind = |kind: &str| tensors.names().iter().filter(|name| name.ends_with(kind)).count();
    assert_eq!(kinds.map(of_kind), [tensors.len() / 3; 3]);
}
