//! Disks that are full, folders that cannot be written, states that are somebody else's.
//!
//! A full disk is played three ways: `/dev/full`, which takes no byte; a limit on the size of files,
//! at which a write fails as on a full disk once so much is written (its signal is ignored); and,
//! in `durable`'s own tests, a double that fails each step of a write.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use super::{Place, binary, contents, homespun, names, number, opened, run};

/// `homespun ARGS` where no file may grow beyond `kib` KiB.
pub fn limited(kib: u32, args: &[&str]) -> super::Run {
    // The unit of `ulimit -f` is 512 bytes in a plain shell.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", 2 * kib);
    let mut shell = binary::at_home(Command::new("sh"));
    run(shell.args(["-c", &script, "sh"]).arg(binary::path()).args(args))
}

#[test]
fn a_log_on_a_full_disk_stops_training_and_leaves_no_adapter() {
    let place = Place::new();
    let data = place.stream("data.jsonl", 2);
    let out = place.path("out");
    let train = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--steps", "1"];
    homespun(&[&train[..], &["--log", "/dev/full"]].concat()).refused(&["/dev/full", "No space"]);
    let log = place.path("no/log.jsonl");
    homespun(&[&train[..], &["--log", &log]].concat()).refused(&["no/log.jsonl", "No such file"]);
    assert_eq!(place.names(), ["data.jsonl"]);
}

#[test]
fn a_full_standard_output_is_an_error_and_no_panic() {
    let place = Place::new();
    let data = place.stream("data.jsonl", 1);
    let pairs = place.file("pairs.jsonl", "{\"reference\":\"a\",\"candidate\":\"a\"}");
    for args in [
        vec!["rouge", "--pairs", &pairs],
        vec!["render", "--model", "builtin", "--messages", &data],
        vec!["score", "--model", "builtin", "--stream", &data, "--json-lines"],
        vec!["evaluate", "--model", "builtin", "--data", &data, "--max-tokens", "1", "--json"],
        vec!["generate", "--model", "builtin", "--prompt", "Hi", "--max-tokens", "1"],
    ] {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let output = binary::command()
            .args(&args)
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .expect("run");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("No space") && !stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}

#[test]
fn an_adapter_that_does_not_fit_the_disk_leaves_nothing() {
    let place = Place::new();
    let data = place.stream("data.jsonl", 2);
    let out = place.path("out");
    let train = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--steps", "1"];
    limited(8, &train).refused(&["out", "cannot be written", "File too large"]);
    assert_eq!(place.names(), ["data.jsonl"]);
    let logits = place.path("logits.safetensors");
    limited(1, &["logits", "--model", "builtin", "--tokens", "1,2,3", "--out", &logits])
        .refused(&["logits.safetensors", "File too large"]);
    assert_eq!(place.names(), ["data.jsonl"]);
}

#[test]
fn an_out_folder_that_cannot_be_written_is_told_before_training() {
    let place = Place::new();
    let data = place.stream("data.jsonl", 2);
    let file = place.file("file", "");
    let mine = place.path("mine");
    fs::create_dir(&mine).expect("folder");
    fs::write(format!("{mine}/photo.jpg"), "mine").expect("file");
    let train = ["train", "--model", "builtin", "--data", &data, "--steps", "1000000"];
    for (out, parts) in [
        (place.path("no/such/out"), ["no/such/out", "No such file"]),
        (format!("{file}/out"), ["file/out", "Not a directory"]),
        (file.clone(), ["file", "Not a directory"]),
        (mine.clone(), ["mine", "photo.jpg"]),
        ("/proc/out".into(), ["/proc/out", "cannot be written"]),
    ] {
        homespun(&[&train[..], &["--out", &out]].concat()).refused(&parts);
    }
    assert_eq!(place.names(), ["data.jsonl", "file", "mine"]);
    assert_eq!(names(mine.as_ref()), ["photo.jpg"]);
}

/// `homespun personalize` of the built-in model, quickly.
fn personalize(stream: &str, state: &str) -> Vec<String> {
    ["personalize", "--model", "builtin", "--stream", stream, "--state", state]
        .into_iter()
        .chain(["--bins", "2", "--round", "4", "--epochs", "1", "--synth", "0", "--json"])
        .map(str::to_owned)
        .collect()
}

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 2);
    let file = place.file("file", "");
    for (state, part) in [
        (file.clone(), "file"),
        (format!("{file}/state"), "file/state"),
        ("/proc/state".to_owned(), "/proc/state"),
    ] {
        homespun(&refs(&personalize(&stream, &state))).refused(&[part]);
    }
    for args in [vec!["list"], vec!["show", "0"], vec!["annotate"], vec!["export", "x"]] {
        let nowhere = place.path("nowhere");
        homespun(&[&["buffer", "--state", &nowhere][..], &args].concat())
            .refused(&["nowhere/state.json", "no state here"]);
    }
    assert_eq!(place.names(), ["file", "stream.jsonl"]);
}

#[test]
fn a_full_disk_leaves_an_old_state_as_it_was() {
    let place = Place::new();
    let (first, more) = (place.stream("first.jsonl", 4), place.stream("more.jsonl", 12));
    let state = place.path("state");
    limited(8, &refs(&personalize(&first, &state)))
        .refused(&["state/samples.img", "File too large"]);
    assert!(!names(state.as_ref()).contains(&"samples.img".to_owned()), "half a buffer stayed");
    homespun(&refs(&personalize(&first, &state))).fine();
    let (before, files) = (opened(&state), contents(&state).len());
    limited(2, &refs(&personalize(&more, &state))).refused(&["state/", "File too large"]);
    assert_eq!(contents(&state).len(), files, "a temporary stayed");
    for ((name, old), (_, new)) in before.iter().zip(&opened(&state)) {
        assert!(old == new || name == "state.json", "{name}");
    }
    let run = homespun(&refs(&personalize(&more, &state))).fine();
    assert_eq!(number(&run.json(), "seen"), 12.0, "it goes on once there is room");
}

#[test]
fn a_state_of_another_base_or_of_other_settings_is_refused_and_kept() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 4);
    let state = place.path("state");
    homespun(&refs(&personalize(&stream, &state))).fine();
    let before = contents(&state);
    let template = place.file("other.jinja", "{{ messages[0].content }}");
    for (options, field) in [
        (["--template", &template], "base.template"),
        (["--policy", "random"], "policy"),
        (["--seed", "9"], "seed"),
    ] {
        let args = personalize(&stream, &state);
        homespun(&[&refs(&args)[..], &options].concat()).refused(&["state.json", field]);
    }
    let mut args = personalize(&stream, &state);
    let bins = args.iter().position(|arg| arg == "--bins").expect("--bins");
    args[bins + 1] = "3".into();
    homespun(&refs(&args)).refused(&["state.json", "bins", "2", "3"]);
    let score = ["score", "--model", "builtin", "--stream", &stream, "--state", &state];
    homespun(&[&score[..], &["--template", &template, "--json-lines"]].concat())
        .refused(&["state.json", "base.template"]);
    let unlocked = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
        files.into_iter().filter(|(name, _)| !name.ends_with("/lock")).collect()
    };
    assert_eq!(unlocked(contents(&state)), unlocked(before));
}

#[test]
fn a_damaged_state_is_named_by_file() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 4);
    let state = place.path("state");
    homespun(&refs(&personalize(&stream, &state))).fine();
    for (file, bytes, part) in [
        ("samples.img", &b"no flash image"[..], "samples.img"),
        ("state.json", b"{\n\"version\": 1,", "line 2"),
        ("state.json", b"{\"version\": 99}", "state.json"),
    ] {
        let path = format!("{state}/{file}");
        let good = fs::read(&path).expect("file");
        fs::write(&path, bytes).expect("file");
        homespun(&["buffer", "--state", &state, "list"]).refused(&[file, part]);
        homespun(&refs(&personalize(&stream, &state))).refused(&[file, part]);
        assert_eq!(fs::read(&path).expect("file"), bytes, "it is left as it is");
        fs::write(&path, good).expect("file");
    }
    homespun(&["buffer", "--state", &state, "list"]).fine();
}

#[test]
fn a_state_in_use_is_refused_by_the_users_pid() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 4);
    let state = place.path("state");
    homespun(&refs(&personalize(&stream, &state))).fine();
    // This test is the other process.
    let mine = super::open(&state);
    let parts = ["state: in use by pid", &std::process::id().to_string()];
    homespun(&refs(&personalize(&stream, &state))).refused(&parts);
    homespun(&["buffer", "--state", &state, "list"]).refused(&parts);
    homespun(&["adapter", "export", "--state", &state, "--out", &place.path("out")])
        .refused(&parts);
    drop(mine);
    homespun(&["buffer", "--state", &state, "list"]).fine();
}
