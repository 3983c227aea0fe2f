//! Encryption at rest: what a state directory shows to who copies it, and what it asks of who opens it.

use core::time::Duration;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use homespun_runtime::builtin::{self, Size};
use homespun_runtime::dialogue::Dialogue;
use homespun_runtime::state::vault::Keys;
use homespun_runtime::state::{QUEUE, SAMPLES, State};

use super::{LIMIT, Place, Run, binary, contents, homespun, number, opened, plain};

/// A run over `stream` with one round, after which a few dialogues wait in the queue.
fn personalize(stream: &str, state: &str, more: &[&str]) -> Run {
    let args = ["personalize", "--model", "builtin", "--stream", stream, "--state", state];
    let round = ["--bins", "12", "--round", "100", "--epochs", "4", "--lr", "1e-2", "--batch", "4"];
    homespun(&[&args[..], &round, &["--synth", "1", "--patience", "0", "--json"], more].concat())
}

fn user() -> Vec<Dialogue> {
    builtin::stream(7, Size::QUICK).dialogues[..12].to_vec()
}

/// What was said, in pieces that do not occur by chance.
fn said(dialogues: &[Dialogue]) -> Vec<String> {
    let texts = dialogues.iter().flat_map(|dialogue| {
        let messages = dialogue.messages.iter().map(|message| message.content.clone());
        messages.chain(dialogue.preferred.clone()).collect::<Vec<_>>()
    });
    let texts = texts.map(|text| text.chars().take(16).collect::<String>());
    texts.filter(|text| text.len() >= 8).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Every file and folder below `folder` with its mode.
fn modes(folder: &Path, into: &mut Vec<(String, u32)>) {
    let mode = fs::metadata(folder).expect("metadata").permissions().mode() & 0o777;
    into.push((folder.display().to_string(), mode));
    if folder.is_dir() {
        for entry in fs::read_dir(folder).expect("folder") {
            modes(&entry.expect("entry").path(), into);
        }
    }
}

#[test]
fn no_file_of_a_state_shows_what_was_said_and_all_are_the_persons_alone() {
    let place = Place::new();
    let (dialogues, state) = (user(), place.path("state"));
    let stream = place.dialogues("stream.jsonl", &dialogues);
    let run = personalize(&stream, &state, &[]).fine();
    assert_eq!(number(&run.json(), "generation"), 1.0, "{run:?}");
    // What waits in the queue, too.
    let more = place.dialogues("more.jsonl", &builtin::stream(9, Size::QUICK).dialogues[..12]);
    personalize(&more, &state, &["--annotate", "queue"]).fine();
    let texts = [said(&dialogues), said(&builtin::stream(9, Size::QUICK).dialogues[..12])].concat();
    assert!(texts.len() > 20);
    let plain = opened(&state);
    let shows = |name: &str, bytes: &[u8]| {
        let found = texts.iter().find(|text| holds(bytes, text));
        found.map(|text| format!("{name}: {text}"))
    };
    assert!(
        plain.iter().any(|(name, bytes)| name == QUEUE && shows(name, bytes).is_some()),
        "the scan sees nothing where there is something: {:?}",
        plain.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    for (name, bytes) in contents(&state) {
        if name.ends_with("/lock") {
            continue;
        }
        assert_eq!(shows(&name, &bytes), None);
        assert!(!holds(&bytes, "base_model") && !holds(&bytes, "stream_hash"), "{name} is plain");
    }
    let mut all = Vec::new();
    modes(state.as_ref(), &mut all);
    for (path, mode) in all {
        let expected = if Path::new(&path).is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{path}: {mode:o}");
    }
    // Nor does what it says on the way.
    assert_eq!(shows("stderr", run.stderr.as_bytes()), None);
}

#[test]
fn a_key_is_made_at_first_use_and_another_one_is_refused() {
    let place = Place::new();
    let stream = place.dialogues("stream.jsonl", &user()[..3]);
    let (state, key) = (place.path("state"), place.path("keys/mine"));
    let run = |key: &str| personalize(&stream, &state, &["--key", key]);
    run(&key).fine();
    assert!(Path::new(&key).exists());
    let other = place.path("other");
    run(&other).refused(&["state.json", "was sealed with the key", &other]);
    let without_lock = || -> Vec<_> {
        contents(&state).into_iter().filter(|(name, _)| !name.ends_with("/lock")).collect()
    };
    let before = without_lock();
    let out = place.path("out");
    let score = ["score", "--model", "builtin", "--stream", &stream, "--state", &state];
    for args in [
        vec!["buffer", "--state", &state, "list"],
        vec!["adapter", "export", "--state", &state, "--out", &out],
        score.to_vec(),
    ] {
        // Before the command of `buffer` and after all else.
        let at = if args[0] == "buffer" { 1 } else { args.len() };
        let with = |key| [&args[..at], &["--key", key], &args[at..]].concat();
        homespun(&with(&other)).refused(&["state.json", "was sealed with the key", &other]);
        homespun(&args).refused(&["state.json", binary::key().to_str().expect("UTF-8")]);
        if args[0] != "adapter" {
            homespun(&with(&key)).fine();
        }
    }
    assert!(!Path::new(&other).exists() && without_lock() == before);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("mode");
    run(&key).refused(&["keys/mine", "0644"]);
}

#[test]
fn a_plain_state_of_the_program_before_goes_on_sealed() {
    let place = Place::new();
    let (dialogues, state) = (user(), place.path("state"));
    let first = place.dialogues("first.jsonl", &dialogues[..8]);
    let all = place.dialogues("all.jsonl", &dialogues);
    personalize(&first, &state, &[]).fine();
    // As it would have been: every file plain, the record of version 1.
    let files = plain(&state);
    for (name, bytes) in files.iter().filter(|(name, _)| name != SAMPLES) {
        fs::write(place.path(&format!("state/{name}")), bytes).expect("file");
    }
    // The image is what a sealing that was cut leaves: sealed with a key that is not the state's yet.
    let mut old = State::open(state.as_ref(), &Keys::Plain).expect("state");
    old.record.version = 1;
    old.save().expect("saved");
    drop(old);
    assert!(holds(&fs::read(place.path("state/state.json")).expect("record"), "\"version\": 1"));
    homespun(&["buffer", "--state", &state, "list"]).fine();
    for (name, bytes) in &files {
        let now = fs::read(place.path(&format!("state/{name}"))).expect("file");
        assert!(name == SAMPLES || (now != *bytes && now.starts_with(b"HSSEALED")), "{name}");
    }
    let record = |name: &str| name == "state.json";
    let kept = |files: &[(String, Vec<u8>)]| -> Vec<_> {
        files.iter().filter(|(name, _)| !record(name)).cloned().collect()
    };
    assert!(kept(&plain(&state)) == kept(&files), "something else was sealed");
    let row = personalize(&all, &state, &[]).fine().json();
    assert_eq!(number(&row, "seen"), 12.0, "it goes on where it stood");
}

#[test]
fn a_crash_leaves_no_image_of_the_memory() {
    let mut chat = binary::command()
        .args(["chat", "--model", "builtin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let (file, begin) = (format!("/proc/{}/limits", chat.id()), Instant::now());
    let none = || {
        let limits = fs::read_to_string(&file).unwrap_or_default();
        let line = limits.lines().find(|line| line.starts_with("Max core file size"));
        line.is_some_and(|line| line.split_whitespace().skip(4).take(2).eq(["0", "0"]))
    };
    while !none() {
        assert!(begin.elapsed() < LIMIT, "{:?}", fs::read_to_string(&file));
        thread::sleep(Duration::from_millis(2));
    }
    chat.kill().expect("kill");
    chat.wait().expect("wait");
}
