//! Training that is killed, told to stop, or out of time: the same command goes on to the same bits.
//!
//! `cargo test -p homespun-tests -- --ignored kills` kills ten times as often.

use core::time::Duration;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use homespun_core::rng::Rng;
use homespun_kernels::{Isa, Kernels};
use serde_json::Value;

use super::bad_disk::limited;
use super::{LIMIT, Place, binary, contents, homespun, json_lines, names, number};

/// `train` on eight short dialogues, two a step, each a micro-batch of its own.
fn train(place: &Place, out: &str, steps: usize, more: &[&str]) -> Vec<String> {
    let data = place.path("data.jsonl");
    if !Path::new(&data).exists() {
        place.stream("data.jsonl", 8);
    }
    let (log, out) = (place.path(&format!("{out}.jsonl")), place.path(out));
    let args = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--log", &log];
    let brief = ["--batch", "2", "--micro-batch", "1", "--max-length", "48", "--dropout", "0.1"];
    let length = ["--lr", "1e-3", "--rank", "4", "--steps", &steps.to_string()];
    [&args[..], &brief, &length, more].concat().into_iter().map(str::to_owned).collect()
}

fn run(args: &[String]) -> super::Run {
    homespun(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// The end of a child that was told to end, and what it said.
fn end(mut child: Child) -> (ExitStatus, String) {
    let begin = Instant::now();
    while child.try_wait().expect("wait").is_none() {
        if begin.elapsed() > LIMIT {
            child.kill().expect("kill");
            panic!("it goes on in spite of all");
        }
        thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("output");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill");
    assert!(status.success(), "no signal sent");
}

/// Waits until the file is there, or has so many lines.
fn wait_for(path: &str, lines: usize) {
    let begin = Instant::now();
    while fs::read_to_string(path).map_or(true, |text| text.lines().count() < lines) {
        assert!(begin.elapsed() < LIMIT, "{path} never has {lines} lines");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The log without the times.
fn log(place: &Place, out: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(&format!("{out}.jsonl"))).expect("log");
    let mut lines = json_lines(&text);
    assert_eq!(lines.len(), text.lines().count(), "a line is broken: {text}");
    for line in &mut lines {
        line.as_object_mut().expect("object").remove("seconds").expect("seconds");
    }
    lines
}

/// The current adapter of a state.
fn learned(place: &Place, state: &str) -> Vec<u8> {
    let state = super::open(&place.path(state));
    let name = format!("{}/adapter_model.safetensors", state.current_adapter().expect("one"));
    state.vault().read(&name).expect("it opens").expect("it is there").to_vec()
}

fn adapter(place: &Place, out: &str) -> Vec<u8> {
    let file = place.path(&format!("{out}/adapter_model.safetensors"));
    fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Kills trainings at random until `kills` were killed; each ends as the one that was not.
fn kill_training(kills: usize, seed: u64) {
    const STEPS: usize = 40;
    let place = Place::new();
    let often = ["--checkpoint-every", "0s"];
    let begin = Instant::now();
    run(&train(&place, "whole", STEPS, &often)).fine();
    let time = begin.elapsed().as_micros() as u64;
    let (expected, lines) = (adapter(&place, "whole"), log(&place, "whole"));
    assert_eq!(lines.len(), STEPS);
    let mut rng = Rng::new(seed);
    let (mut killed, mut within_a_write, mut resumed, mut ends) = (0, 0, 0, 0);
    while killed < kills {
        let out = format!("out{ends}");
        let folder = place.path(&format!("{out}.training"));
        loop {
            let threads = (1 + rng.below(3)).to_string();
            let args = train(&place, &out, STEPS, &[&often[..], &["--threads", &threads]].concat());
            let mut child = start(binary::command().args(&args));
            let limit = if killed < kills { rng.below(time) } else { u64::MAX };
            // Every other kill waits for a write to begin.
            let sees_a_write = || {
                let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
                entries
                    .map(|entry| entry.path())
                    .any(|path| path.extension() == Some("tmp".as_ref()))
            };
            let into_a_write = killed % 2 == 0;
            let begin = Instant::now();
            while begin.elapsed().as_micros() < u128::from(limit)
                || (into_a_write && !sees_a_write())
            {
                if child.try_wait().expect("wait").is_some() {
                    break;
                }
                if begin.elapsed().as_micros() < u128::from(limit) {
                    thread::sleep(Duration::from_micros(200));
                }
            }
            child.kill().expect("kill");
            let (status, said) = end(child);
            resumed += usize::from(said.contains("going on after step"));
            assert!(!said.contains("damaged"), "a checkpoint is unreadable: {said}");
            if status.signal().is_none() {
                assert!(status.success(), "{said}");
                break;
            }
            killed += 1;
            let left =
                if Path::new(&folder).is_dir() { names(folder.as_ref()) } else { Vec::new() };
            within_a_write += usize::from(left.iter().any(|name| name.ends_with(".tmp")));
        }
        ends += 1;
        assert!(adapter(&place, &out) == expected, "another adapter after {killed} kills");
        assert_eq!(log(&place, &out), lines, "another log after {killed} kills");
        assert!(!Path::new(&folder).exists(), "{folder} stayed");
    }
    assert!(!place.names().iter().any(|name| name.starts_with('.')), "{:?}", place.names());
    assert!(resumed > 0 && within_a_write > 0, "no kill fell where it hurts");
    println!(
        "{killed} kills of {ends} trainings: {resumed} went on from a checkpoint, {within_a_write} \
         were killed within a write, 0 ended otherwise, 0 checkpoints were unreadable"
    );
}

#[test]
fn a_training_that_is_killed_again_and_again_ends_in_the_same_bits() {
    kill_training(20, 1);
}

#[test]
#[ignore = "minutes"]
fn two_hundred_kills_of_trainings_change_no_bit() {
    kill_training(200, 2);
}

#[test]
fn a_first_signal_stops_with_a_checkpoint_and_the_same_command_goes_on() {
    let place = Place::new();
    run(&train(&place, "whole", 300, &["--threads", "1"])).fine();
    let expected = adapter(&place, "whole");
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let args = train(&place, name, 300, &[]);
        let child = start(binary::command().args(&args));
        wait_for(&place.path(&format!("{name}.jsonl")), 3);
        signal(&child, name);
        let (status, said) = end(child);
        assert_eq!(status.code(), Some(code), "{said}");
        for part in [&format!("SIG{name}")[..], &format!("{name}.training"), "same command"] {
            assert!(said.contains(part), "{part:?} is not said: {said}");
        }
        let left = names(place.path(&format!("{name}.training")).as_ref());
        assert_eq!(left, ["checkpoint.0", "lock"]);
        assert!(!Path::new(&place.path(name)).exists(), "an adapter before the end");
        let said = run(&[&args[..], &["--threads".into(), "3".into()]].concat()).fine().stderr;
        assert!(said.contains("going on after step"), "{said}");
        assert!(adapter(&place, name) == expected, "SIG{name} changed the adapter");
        assert_eq!(log(&place, name), log(&place, "whole"));
    }
    assert!(place.names().iter().all(|name| !name.ends_with(".training")));
}

#[test]
fn a_second_signal_ends_it_at_once_and_an_ignored_one_does_nothing() {
    let place = Place::new();
    // One micro-batch that takes longer than this test.
    let mut args = train(&place, "out", 1, &["--threads", "1"]);
    for (option, value) in [("--batch", "1000"), ("--micro-batch", "1000")] {
        let at = args.iter().position(|arg| arg == option).expect(option);
        args[at + 1] = value.into();
    }
    let log = place.path("out.jsonl");
    let script = "trap '' HUP; exec \"$@\"";
    let mut command = binary::at_home(Command::new("sh"));
    let mut child = start(command.args(["-c", script, "sh"]).arg(binary::path()).args(&args));
    wait_for(&log, 0);
    for name in ["HUP", "HUP", "INT"] {
        signal(&child, name);
        thread::sleep(Duration::from_millis(20));
        if child.try_wait().expect("wait").is_some() {
            panic!("SIG{name} ended it: {:?}", end(child));
        }
    }
    signal(&child, "INT");
    let (status, said) = end(child);
    assert_eq!(status.signal(), Some(2), "{said}");
}

#[test]
fn a_deadline_stops_well_and_every_run_comes_one_micro_batch_further() {
    let place = Place::new();
    run(&train(&place, "whole", 3, &[])).fine();
    let args = train(&place, "out", 3, &["--deadline", "0s"]);
    for step in [0, 1, 1, 2, 2, 3] {
        let said = run(&args).fine().stderr;
        assert!(said.contains("stopped (its time was up)") && said.contains("out.training"));
        assert_eq!(log(&place, "out").len(), step, "{said}");
    }
    run(&args).fine();
    assert!(adapter(&place, "out") == adapter(&place, "whole"));
    assert_eq!(log(&place, "out"), log(&place, "whole"));
    for (option, value) in [("--deadline", "5"), ("--checkpoint-every", "0"), ("--max-cpu", "0")] {
        run(&train(&place, "bad", 1, &[option, value])).refused(&[option, value]);
    }
}

#[test]
fn what_was_interrupted_is_never_thrown_away_unasked() {
    let place = Place::new();
    let cut = ["--deadline", "0s"];
    run(&train(&place, "out", 4, &cut)).fine();
    let folder = place.path("out.training");
    let kept = || -> Vec<_> {
        contents(&folder).into_iter().filter(|(name, _)| !name.ends_with("/lock")).collect()
    };
    let before = kept();
    let other = place.stream("other.jsonl", 7);
    for more in [["--seed", "9"], ["--clip", "0.5"]] {
        let args = train(&place, "out", 4, &more);
        run(&args).refused(&["out.training", "other options", "--restart"]);
    }
    run(&train(&place, "out", 5, &[])).refused(&["out.training", "other options", "--restart"]);
    let mut args = train(&place, "out", 4, &[]);
    args[4] = other;
    run(&args).refused(&["out.training", "other data", "--restart"]);
    let isa = ["--isa", "scalar"];
    if Kernels::detect().isa() != Isa::Scalar {
        run(&train(&place, "out", 4, &isa)).refused(&["out.training", "scalar", "--any-isa"]);
    }
    assert!(kept() == before, "a refusal changed something");
    run(&train(&place, "out", 4, &[&isa[..], &["--any-isa"], &cut].concat())).fine();
    // Both damaged: said, and kept.
    for name in ["checkpoint.0", "checkpoint.1"] {
        fs::write(format!("{folder}/{name}"), "homespun").expect(name);
    }
    run(&train(&place, "out", 4, &[])).refused(&["checkpoint.0", "checkpoint.1", "--restart"]);
    run(&train(&place, "out", 4, &["--restart"])).fine();
    run(&train(&place, "whole", 4, &[])).fine();
    assert!(adapter(&place, "out") == adapter(&place, "whole"));
    assert!(!Path::new(&folder).exists());
}

#[test]
fn dora_goes_on_with_another_instruction_set_where_it_is_told_to() {
    if Kernels::detect().isa() == Isa::Scalar {
        return println!("skipped: this machine has the scalar kernels alone");
    }
    let place = Place::new();
    let args = |more: &[&str]| train(&place, "out", 4, &[&["--dora"], more].concat());
    run(&args(&["--deadline", "0s"])).fine();
    run(&args(&["--isa", "scalar"])).refused(&["out.training", "scalar", "--any-isa"]);
    let output = run(&args(&["--isa", "scalar", "--any-isa"]));
    assert!(output.fine().stderr.contains("going on after step 0"));
}

#[test]
fn two_trainings_to_one_place_do_not_mix() {
    let place = Place::new();
    let args = train(&place, "out", 100_000, &[]);
    let child = start(binary::command().args(&args));
    wait_for(&place.path("out.jsonl"), 1);
    let pid = child.id().to_string();
    run(&args).refused(&["out.training", "in use by pid", &pid]);
    signal(&child, "TERM");
    assert_eq!(end(child).0.code(), Some(143));
}

#[test]
fn a_checkpoint_that_does_not_fit_the_disk_loses_nothing() {
    let place = Place::new();
    run(&train(&place, "whole", 4, &[])).fine();
    run(&train(&place, "out", 4, &["--deadline", "0s"])).fine();
    let args = train(&place, "out", 4, &["--checkpoint-every", "1"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    limited(16, &args).refused(&["out.training/checkpoint.1", "write", "File too large"]);
    assert_eq!(names(place.path("out.training").as_ref()), ["checkpoint.0", "lock"]);
    assert!(homespun(&args).fine().stderr.contains("going on after step 0"));
    assert!(adapter(&place, "out") == adapter(&place, "whole"));
    assert_eq!(log(&place, "out"), log(&place, "whole"));
}

/// `personalize` with one round over twelve dialogues, of which some are held out.
fn personalize(place: &Place, state: &str) -> Vec<String> {
    let stream = place.path("stream.jsonl");
    if !Path::new(&stream).exists() {
        place.stream("stream.jsonl", 14);
    }
    let args = ["personalize", "--model", "builtin", "--stream", &stream, "--json"];
    let round =
        ["--bins", "14", "--round", "14", "--synth", "0", "--patience", "2", "--lr", "1e-3"];
    let brief = ["--epochs", "12", "--batch", "4", "--checkpoint-every", "0s"];
    let state = ["--state", &place.path(state)];
    [&args[..], &round, &brief, &state].concat().into_iter().map(str::to_owned).collect()
}

#[test]
fn a_round_that_is_killed_or_told_to_stop_ends_in_the_same_bits() {
    let place = Place::new();
    let row = run(&personalize(&place, "whole")).fine().json();
    assert_eq!((number(&row, "generation"), number(&row, "rounds")), (1.0, 1.0), "{row}");
    let expected = learned(&place, "whole");
    let args = personalize(&place, "state");
    let training = place.path("state/training");
    let checkpoints = || ["0", "1"].map(|i| fs::read(format!("{training}/checkpoint.{i}")).ok());
    let mut rng = Rng::new(3);
    // Each comes at least a checkpoint further than the one before.
    for name in ["KILL", "KILL", "TERM", "KILL", "HUP", "KILL"] {
        let before = checkpoints();
        let mut child = start(binary::command().args(&args));
        while checkpoints() == before {
            assert!(child.try_wait().expect("wait").is_none(), "it ended: {:?}", end(child));
            thread::sleep(Duration::from_millis(1));
        }
        let sealed = |bytes: &Vec<u8>| bytes.starts_with(b"HSSEALED");
        assert!(checkpoints().iter().flatten().all(sealed), "a plain checkpoint");
        thread::sleep(Duration::from_micros(rng.below(9000)));
        signal(&child, name);
        let (status, said) = end(child);
        let code = status.code().or(status.signal());
        let expected = [("KILL", 9), ("TERM", 143), ("HUP", 129)];
        let expected = expected.into_iter().find(|one| one.0 == name).map(|one| one.1);
        assert_eq!(code, expected, "SIG{name}: {said}");
    }
    let row = run(&args).fine().json();
    assert_eq!((number(&row, "generation"), number(&row, "rounds")), (1.0, 1.0), "{row}");
    assert!(learned(&place, "state") == expected, "another adapter");
    assert!(!Path::new(&training).exists(), "{training} stayed");
}
