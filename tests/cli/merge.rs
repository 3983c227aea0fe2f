//! `homespun merge` as a user runs it.

use super::{Place, homespun};

#[test]
fn a_merged_model_talks_like_its_base_with_the_adapter() {
    merged("--rslora");
}

#[test]
fn so_does_one_with_magnitudes() {
    merged("--dora");
}

fn merged(variant: &str) {
    let place = Place::new();
    let (data, adapter) = (place.stream("data.jsonl", 4), place.path("adapter"));
    let train = ["train", "--model", "builtin", "--data", &data, "--out", &adapter, "--lr", "1e-2"];
    homespun(&[&train[..], &["--steps", "4", variant]].concat()).fine();
    let merged = place.path("merged");
    let merge = ["merge", "--adapter", &adapter, "--model"];
    let run = homespun(&[&merge[..], &["builtin", "--dtype", "f32", "--out", &merged]].concat());
    assert!(run.fine().stdout.contains("adapted"));
    let say = |options: &[&str]| {
        let exactly = ["--kv", "f32", "--activations", "f32", "--max-tokens", "12"];
        let args = [&["generate", "--prompt", "What tea do you like?"], options, &exactly].concat();
        homespun(&args).fine().stdout
    };
    let adapted = say(&["--model", "builtin", "--adapter", &adapter]);
    assert_eq!(say(&["--model", &merged]), adapted);
    assert_ne!(say(&["--model", "builtin"]), adapted, "the adapter changes nothing");
    // A quantised base is unpacked, and said to be.
    let (q8, unpacked) = (place.path("q8"), place.path("unpacked"));
    homespun(&["quantize", "--model", "builtin", "--to", "q8", "--out", &q8]).fine();
    let onto_q8 = [&merge[..], &[&q8, "--out", &unpacked]].concat();
    homespun(&onto_q8).refused(&["the weights differ", "--any-base"]);
    let run = homespun(&[&onto_q8[..], &["--any-base"]].concat()).fine();
    assert!(run.stderr.contains("unpacked to bf16"), "{run:?}");
    say(&["--model", &unpacked]);
    let bad = [&merge[..], &["builtin", "--out", "nowhere", "--dtype", "q8"]].concat();
    homespun(&bad).refused(&["--dtype", "\"q8\" is not f32, bf16 or f16"]);
    homespun(&[&merge[..], &["builtin", "--out", &merged]].concat()).refused(&["merged"]);
}
