//! An adapter knows its base: another one is refused by every command, unless any will do.

use super::{Place, homespun};

/// An adapter of the built-in model, and a quantised copy of that model.
fn made(place: &Place) -> [String; 2] {
    let (data, adapter, q8) = (place.stream("data.jsonl", 2), place.path("me"), place.path("q8"));
    let train = ["train", "--model", "builtin", "--data", &data, "--out", &adapter, "--steps", "1"];
    homespun(&train).fine();
    homespun(&["quantize", "--model", "builtin", "--to", "q8", "--out", &q8]).fine();
    [adapter, q8]
}

#[test]
fn a_quantised_copy_is_another_base_for_every_command() {
    let place = Place::new();
    let [adapter, q8] = made(&place);
    let (data, folder) = (place.path("data.jsonl"), place.model());
    let (out, logits) = (place.path("out"), place.path("logits"));
    let commands: [&[&str]; 4] = [
        &["generate", "--adapter", &adapter, "--prompt", "Hi", "--max-tokens", "2"],
        &["evaluate", "--adapter", &adapter, "--data", &data, "--max-tokens", "2", "--json"],
        &["logits", "--adapter", &adapter, "--tokens", "1,2", "--out", &logits],
        &["train", "--init", &adapter, "--data", &data, "--out", &out, "--steps", "1"],
    ];
    for command in commands {
        let run = |options: &[&str]| homespun(&[command, options].concat());
        let parts = [
            "me/adapter_model.safetensors",
            "homespun_base",
            "the weights differ",
            "a quantised copy is another base",
            "--any-base",
        ];
        run(&["--model", &q8]).refused(&parts);
        run(&["--model", &q8, "--any-base"]).fine();
        // Whose files lie elsewhere is the same base.
        std::fs::remove_dir_all(&out).ok();
        run(&["--model", &folder]).fine();
    }
    // What was trained on from there belongs to where it was trained.
    std::fs::remove_dir_all(&out).expect("out");
    let train = ["train", "--init", &adapter, "--data", &data, "--out", &out, "--steps", "1"];
    homespun(&[&train[..], &["--model", &q8, "--any-base"]].concat()).fine();
    let talk = ["generate", "--adapter", &out, "--prompt", "Hi", "--max-tokens", "2", "--model"];
    homespun(&[&talk[..], &[&q8]].concat()).fine();
    homespun(&[&talk[..], &[&folder]].concat()).refused(&["the weights differ"]);
}

#[test]
fn another_template_is_another_base_and_is_told_from_other_weights() {
    let place = Place::new();
    let [adapter, _] = made(&place);
    let template = "{% for message in messages %}{{ message.content }}{% endfor %}";
    let file = place.file("other.jinja", template);
    let talk = ["generate", "--model", "builtin", "--adapter", &adapter, "--prompt", "Hi"];
    let talk = [&talk[..], &["--max-tokens", "2", "--template", &file]].concat();
    let run = homespun(&talk).refused(&["the chat template differs", "--any-base"]);
    assert!(!run.stderr.contains("weights differ"), "{run:?}");
    homespun(&[&talk[..], &["--any-base"]].concat()).fine();
}
