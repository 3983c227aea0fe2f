//! A person moves: to another device with the same base, and to another base.

use std::fs;

use serde_json::Value;

use super::{Place, Run, homespun, number, opened};

fn personalize(place: &Place, state: &str, model: &str, stream: &str, more: &[&str]) -> Run {
    let stream = place.path(stream);
    let args = ["personalize", "--model", model, "--stream", &stream, "--state", state];
    let round =
        ["--round", "8", "--epochs", "4", "--lr", "5e-3", "--batch", "4", "--patience", "0"];
    homespun(&[&args[..], &round, &["--synth", "1", "--json"], more].concat())
}

/// A state that has learned, and what opens its export.
fn exported(place: &Place) -> (String, String, String) {
    place.stream("stream.jsonl", 8);
    let (state, file) = (place.path("state"), place.path("me.homespun"));
    personalize(place, &state, "builtin", "stream.jsonl", &["--bins", "6"]).fine();
    let row = homespun(&["state", "export", &file, "--state", &state, "--json"]).fine().json();
    (state, file, row["code"].as_str().expect("a code").to_owned())
}

fn import(file: &str, code: &str, state: &str, more: &[&str]) -> Run {
    let args = ["state", "import", file, "--state", state, "--code", code, "--json"];
    homespun(&[&args[..], more].concat())
}

/// A state's files without what is of a device: the record's own random numbers.
fn person(state: &str) -> Vec<(String, String)> {
    let text = |name: &str, bytes: Vec<u8>| {
        if name != "state.json" {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        let record: Value = serde_json::from_slice(&bytes).expect("a record");
        record.to_string()
    };
    opened(state).into_iter().map(|(name, bytes)| (name.clone(), text(&name, bytes))).collect()
}

#[test]
fn a_person_moves_to_another_device_whole() {
    let place = Place::new();
    let (state, file, code) = exported(&place);
    let other = place.path("there/state");
    fs::create_dir(place.path("there")).expect("folder");
    let row = import(&file, &code, &other, &["--key", &place.path("there/key")]).fine().json();
    assert_eq!((number(&row, "generation"), number(&row, "seen")), (1.0, 8.0), "{row}");
    assert_eq!(
        place.names(),
        ["file", "me.homespun", "state", "stream.jsonl", "there"]
            .into_iter()
            .filter(|name| *name != "file")
            .collect::<Vec<_>>()
    );
    // Under the key of this test again, to look into it.
    let back = place.path("back");
    let again = place.path("again.homespun");
    let export = ["state", "export", &again, "--state", &other, "--json"];
    let key = ["--key", &place.path("there/key")];
    let row = homespun(&[&export[..], &key].concat()).fine().json();
    import(&again, row["code"].as_str().expect("a code"), &back, &[]).fine();
    assert!(person(&back) == person(&state), "something was lost on the way");
    // And it goes on there as it would have here.
    place.stream("stream.jsonl", 16);
    let ends = [&state, &back].map(|state| {
        let row =
            personalize(&place, state, "builtin", "stream.jsonl", &["--bins", "6"]).fine().json();
        assert_eq!((number(&row, "seen"), number(&row, "generation")), (16.0, 2.0), "{row}");
        person(state)
    });
    assert!(ends[0] == ends[1], "the two go on differently");
}

#[test]
fn an_export_is_of_no_use_without_its_code_and_never_half_imported() {
    let place = Place::new();
    let (state, file, code) = exported(&place);
    let other = place.path("other");
    let bytes = fs::read(&file).expect("file");
    assert!(bytes.starts_with(b"HSSEALED"));
    let wrong = code.replace(|digit: char| digit.is_ascii_digit(), "7");
    import(&file, &wrong, &other, &[]).refused(&["me.homespun", "--code"]);
    import(&file, "1234", &other, &[]).refused(&["--code", "64"]);
    import(&place.path("stream.jsonl"), &code, &other, &[])
        .refused(&["stream.jsonl", "no exported"]);
    import(&file, &code, &state, &[]).refused(&["state", "something already"]);
    let mut damaged = bytes.clone();
    let at = bytes.len() / 2;
    damaged[at] ^= 1;
    let damaged = place.file("damaged", damaged);
    import(&damaged, &code, &other, &[]).refused(&["damaged"]);
    let cut = place.file("cut", &bytes[..bytes.len() - 20]);
    import(&cut, &code, &other, &[]).refused(&["cut"]);
    let names = place.names();
    assert!(!names.iter().any(|name| name.contains("other")), "{names:?}");
    import(&file, &code, &other, &[]).fine();
}

#[test]
fn a_person_moves_to_another_base_and_learns_anew_there() {
    let place = Place::new();
    let (state, file, code) = exported(&place);
    let (q8, other) = (place.path("q8"), place.path("other"));
    homespun(&["quantize", "--model", "builtin", "--to", "q8", "--out", &q8]).fine();
    import(&file, &code, &other, &["--model", &q8]).refused(&["base.weights"]);
    let train = ["--lr", "5e-3", "--epochs", "4", "--batch", "4"];
    let rebase = ["--rebase", "--model", &q8];
    let row = import(&file, &code, &other, &[&rebase[..], &train].concat()).fine().json();
    assert_eq!(
        (&row["rebased"], &row["relearned"]),
        (&Value::Bool(true), &Value::Bool(true)),
        "{row}"
    );
    assert_eq!(number(&row, "generation"), 2.0, "a generation never comes twice");
    let texts = |state: &str| {
        let rows = homespun(&["buffer", "--state", state, "list", "--json"]).fine().json_lines();
        let text =
            |row: &Value| (row["bin"].clone(), row["question"].clone(), row["annotation"].clone());
        (rows.iter().map(text).collect::<Vec<_>>(), rows)
    };
    let (before, scores_before) = texts(&state);
    let (after, scores_after) = texts(&other);
    assert_eq!(before, after, "texts and annotations stay");
    let entropy =
        |rows: &[Value]| rows.iter().map(|row| row["entropy"].clone()).collect::<Vec<_>>();
    assert_ne!(entropy(&scores_before), entropy(&scores_after), "they are scored by the new base");
    // The state is of the new base now.
    place.stream("stream.jsonl", 12);
    personalize(&place, &other, &q8, "stream.jsonl", &["--bins", "6"]).fine();
    personalize(&place, &other, "builtin", "stream.jsonl", &["--bins", "6"])
        .refused(&["base.weights"]);
}

#[test]
fn an_image_is_inspected_and_verified_with_and_without_its_key() {
    let place = Place::new();
    place.stream("stream.jsonl", 8);
    let (state, none) = (place.path("state"), place.path("no/key"));
    personalize(&place, &state, "builtin", "stream.jsonl", &["--bins", "4"]).fine();
    let image = format!("{state}/samples.img");
    let look = |command: &str, more: &[&str]| {
        homespun(&[&["buffer", command, &image, "--json"], more].concat())
    };
    let row = look("inspect", &[]).fine().json();
    assert_eq!(
        (number(&row, "bins"), number(&row, "used"), number(&row, "slots")),
        (4.0, 4.0, 5.0)
    );
    assert_eq!((&row["sealed"], &row["readable"]), (&Value::Bool(true), &Value::Bool(true)));
    assert!(number(&row, "most_erases") >= number(&row, "least_erases"));
    for entry in row["entries"].as_array().expect("entries") {
        for key in ["generation", "arrival", "age", "entropy", "domain_score", "dissimilarity"] {
            number(entry, key);
        }
        assert!(entry["domain"].is_string());
    }
    let blind = |command: &str| {
        homespun(&["buffer", "--key", &none, command, &image, "--json"]).fine().json()
    };
    let row = blind("inspect");
    assert_eq!((&row["sealed"], &row["readable"]), (&Value::Bool(true), &Value::Bool(false)));
    assert!(row["entries"][0]["domain"].is_null() && number(&row, "used") == 4.0);
    assert_eq!(number(&look("verify", &[]).fine().json(), "checked"), 4.0);
    assert_eq!(blind("verify")["opened"], false);
    homespun(&["buffer", "inspect", &image]).fine();
    // One record damaged: the others are fine, and it is named.
    let mut bytes = fs::read(&image).expect("image");
    let at = 4096 + 32 + 192 + 5;
    bytes[at] ^= 1;
    let damaged = place.file("damaged.img", &bytes);
    let run = homespun(&["buffer", "verify", &damaged]);
    assert!(run.code == Some(1) && run.stderr.contains("damaged.img"), "{run:?}");
    assert_eq!(fs::read(&damaged).expect("image"), bytes, "looking changes nothing");
    homespun(&["buffer", "inspect", &place.path("stream.jsonl")]).refused(&["stream.jsonl"]);
    homespun(&["buffer", "list"]).refused(&["--state"]);
}
