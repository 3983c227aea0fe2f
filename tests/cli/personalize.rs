//! `homespun personalize`: run again it goes on, cut anywhere it loses and repeats nothing.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use homespun_runtime::builtin::{self, Size};
use homespun_runtime::state::{RECORD, Record};

use super::{Place, Run, binary, contents, homespun, names, number, open, opened};

/// Six bins, a round every twelve dialogues, one epoch.
fn arguments(stream: &str, state: &str, options: &[&str]) -> Vec<String> {
    ["personalize", "--model", "builtin", "--stream", stream, "--state", state, "--json"]
        .iter()
        .chain(&["--round", "12", "--epochs", "1", "--batch", "4", "--synth", "1"])
        .chain(options)
        .map(|&arg| arg.to_owned())
        .collect()
}

fn personalize(stream: &str, state: &str, options: &[&str]) -> Run {
    let args = arguments(stream, state, options);
    homespun(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The arrivals in the buffer; none may be there twice.
fn arrivals(state: &str) -> BTreeSet<u64> {
    let rows = homespun(&["buffer", "--state", state, "list", "--json"]).fine().json_lines();
    let all: BTreeSet<u64> =
        rows.iter().map(|row| row["arrival"].as_u64().expect("arrival")).collect();
    assert_eq!(all.len(), rows.len(), "a dialogue is in the buffer twice: {rows:?}");
    all
}

#[test]
fn the_whole_mission_gives_its_figures_and_an_adapter_that_generates() {
    let place = Place::new();
    let user = builtin::stream(7, Size::QUICK);
    let stream = place.dialogues("stream.jsonl", &user.dialogues[..24]);
    let held_out = place.dialogues("held.jsonl", &user.held_out[..2]);
    let state = place.path("state");
    let options = ["--bins", "6", "--held-out", &held_out];
    let run = personalize(&stream, &state, &options).fine();
    let row = run.json();
    for key in
        ["rouge1_before", "rouge1_after", "seconds", "peak_anonymous_bytes", "peak_rss_bytes"]
    {
        assert!(number(&row, key) >= 0.0, "{key}");
    }
    assert_eq!(number(&row, "accepted") + number(&row, "dropped"), 24.0);
    assert_eq!((number(&row, "rounds"), number(&row, "seen")), (2.0, 24.0));
    assert!(number(&row, "annotations") >= 6.0, "{row}");
    let bins = homespun(&["buffer", "--state", &state, "list", "--json"]).fine().json_lines().len();
    let tried = number(&row, "synth_kept") + number(&row, "synth_rejected");
    assert!(tried >= bins as f64, "one try a sample: {row}");

    let again = personalize(&stream, &state, &options).fine().json();
    for key in
        ["seen", "rounds", "annotations", "accepted", "dropped", "rouge1_before", "rouge1_after"]
    {
        assert_eq!(number(&again, key), number(&row, key), "{key}: nothing was left to do");
    }
    let out = place.path("adapter");
    homespun(&["adapter", "export", "--state", &state, "--out", &out]).fine();
    assert_eq!(names(out.as_ref()), ["adapter_config.json", "adapter_model.safetensors"]);
    let generate = ["generate", "--model", "builtin", "--adapter", &out, "--prompt", "What tea?"];
    homespun(&generate).fine();
    // Exported again, it is the same; over something else, it is refused.
    let before = contents(&out);
    homespun(&["adapter", "export", "--state", &state, "--out", &out]).fine();
    assert_eq!(contents(&out), before);
    fs::write(format!("{out}/photo.jpg"), "mine").expect("file");
    homespun(&["adapter", "export", "--state", &state, "--out", &out]).refused(&["photo.jpg"]);
}

#[test]
fn an_adapter_that_goes_on_is_not_taken_for_another_kind() {
    let place = Place::new();
    let state = place.path("state");
    let six = place.stream("six.jsonl", 6);
    let run = |options: &[&str]| personalize(&six, &state, &[&["--bins", "6"], options].concat());
    let first = run(&["--dora"]).fine().json();
    assert_eq!(number(&first, "generation"), 1.0, "{first}");
    let kept = || -> Vec<_> {
        contents(&state).into_iter().filter(|(name, _)| !name.ends_with("/lock")).collect()
    };
    let before = kept();
    run(&["--rslora"]).refused(&["--rslora", "adapters/0001"]);
    run(&["--rank", "3"]).refused(&["--rank", "3", "adapters/0001", "has 8"]);
    assert!(kept() == before, "a refusal changed something");
    run(&["--dora", "--rank", "8"]).fine();
    run(&[]).fine();
}

#[test]
fn the_buffer_can_be_listed_shown_and_exported() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 8);
    let state = place.path("state");
    personalize(&stream, &state, &["--bins", "3"]).fine();
    let rows = homespun(&["buffer", "--state", &state, "list", "--json"]).fine().json_lines();
    assert_eq!(rows.len(), 3);
    for row in &rows {
        for key in ["bin", "arrival", "entropy", "domain_score", "dissimilarity", "tokens"] {
            number(row, key);
        }
        assert_eq!(row["annotation"], "preferred", "the built-in stream prefers something: {row}");
    }
    let list = homespun(&["buffer", "--state", &state, "list"]).fine().stdout;
    assert_eq!(list.lines().count(), 4, "{list}");
    let show = homespun(&["buffer", "--state", &state, "show", "1"]).fine().stdout;
    let question = rows[1]["question"].as_str().expect("question");
    assert!(show.contains(question) && show.contains("preferred"), "{show}");
    homespun(&["buffer", "--state", &state, "show", "3"]).refused(&["bin 3", "3 bins"]);
    let file = place.path("exported.jsonl");
    homespun(&["buffer", "--state", &state, "export", &file]).fine();
    let scored = ["score", "--model", "builtin", "--stream", &file, "--strict", "--json-lines"];
    assert_eq!(homespun(&scored).fine().json_lines().len(), 3, "what is exported is a stream");
    let nowhere = place.path("no/exported.jsonl");
    homespun(&["buffer", "--state", &state, "export", &nowhere]).refused(&["no/exported.jsonl"]);
}

#[test]
fn a_longer_stream_goes_on_and_another_begins_after_it() {
    let place = Place::new();
    let (short, long) = (place.stream("short.jsonl", 5), place.stream("long.jsonl", 9));
    let other = place.dialogues("other.jsonl", &builtin::stream(8, Size::QUICK).dialogues[..4]);
    let state = place.path("state");
    let options = ["--bins", "16", "--synth", "0"];
    let seen = |stream: &str| {
        let row = personalize(stream, &state, &options[..2]).fine().json();
        number(&row, "seen")
    };
    assert_eq!(seen(&short), 5.0);
    assert_eq!(seen(&long), 9.0, "the first five were seen");
    assert_eq!(seen(&other), 13.0, "these are all new");
    assert_eq!(arrivals(&state), (0..13).collect());
}

#[test]
fn one_bin_and_more_bins_than_dialogues_both_work() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 5);
    for (state, bins, held) in [("one", "1", 1), ("many", "40", 5)] {
        let state = place.path(state);
        let row = personalize(&stream, &state, &["--bins", bins]).fine().json();
        assert_eq!(number(&row, "seen"), 5.0);
        assert_eq!(arrivals(&state).len(), held);
    }
}

#[test]
fn every_policy_runs_and_the_same_seed_ends_in_the_same_bytes() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 8);
    for policy in homespun_core::select::policy::ALL {
        let state = |name: &str| place.path(&format!("{}-{name}", policy.name));
        let options = ["--bins", "2", "--policy", policy.name, "--synth", "0", "--round", "100"];
        let brief = ["personalize", "--model", "builtin", "--epochs", "1", "--stream", &stream];
        let twice = ["1", "2"].map(|threads| {
            let state = state(threads);
            let args = [&brief[..], &options, &["--state", &state, "--threads", threads]].concat();
            homespun(&args).fine();
            // All but the hashes of what was seen, whose key is random.
            let hashes = |name: &str| name.ends_with("/seen") || name == RECORD;
            let files = opened(&state).into_iter().filter(|(name, _)| !hashes(name)).collect();
            let record = Record { seen_key: String::new(), ..open(&state).record.clone() };
            let files: Vec<(String, Vec<u8>)> = files;
            (files, record)
        });
        assert!(twice[0] == twice[1], "{}: two runs differ", policy.name);
    }
}

/// Runs and kills it after `time`; whether it had ended by itself.
fn cut(args: &[String], time: Duration) -> bool {
    let mut child = binary::command()
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start");
    thread::sleep(time);
    let ended = child.try_wait().expect("wait").is_some();
    child.kill().expect("kill");
    child.wait().expect("wait");
    ended
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 36);
    let options = ["--bins", "5"];
    let whole = place.path("whole");
    let expected = personalize(&stream, &whole, &options).fine().json();
    let state = place.path("state");
    let args = arguments(&stream, &state, &options);
    let (mut time, mut cuts) = (Duration::from_millis(40), 0);
    // Each run gets a little longer, so that the cuts fall everywhere, rounds included.
    while !cut(&args, time) {
        cuts += 1;
        time += Duration::from_millis(if cuts < 12 { 37 } else { 400 });
        let left: Vec<String> =
            if Path::new(&state).exists() { names(state.as_ref()) } else { Vec::new() };
        assert!(left.iter().filter(|name| name.ends_with(".tmp")).count() <= cuts, "{left:?}");
        if left.contains(&"samples.img".to_owned()) {
            arrivals(&state);
        }
    }
    assert!(cuts > 0, "nothing was cut");
    let row = personalize(&stream, &state, &options).fine().json();
    for key in ["seen", "accepted", "dropped"] {
        assert_eq!(number(&row, key), number(&expected, key), "{key} after {cuts} cuts");
    }
    assert_eq!(arrivals(&state), arrivals(&whole), "after {cuts} cuts");
    let files = |state: &str| -> Vec<String> {
        contents(state).into_iter().map(|(name, _)| name.replace(state, "")).collect()
    };
    assert!(files(&state).iter().all(|name| !name.contains(".tmp")), "{:?}", files(&state));
    assert!(number(&row, "generation") >= 1.0, "{row}");
}

#[test]
fn the_figure_before_is_the_bases_even_if_it_is_asked_for_late() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 12);
    let user = builtin::stream(7, Size::QUICK);
    let held_out = place.dialogues("held.jsonl", &user.held_out[..4]);
    let run = |held_out: &[&str]| {
        let state = place.path("state");
        let args = ["personalize", "--model", "builtin", "--stream", &stream, "--state", &state];
        let options = ["--bins", "8", "--round", "12", "--epochs", "12", "--lr", "1e-2", "--json"];
        let more = ["--batch", "2", "--synth", "0", "--patience", "0"];
        homespun(&[&args[..], &options, &more, held_out].concat()).fine().json()
    };
    assert_eq!(number(&run(&[]), "generation"), 1.0);
    let late = run(&["--held-out", &held_out]);
    let data = ["evaluate", "--model", "builtin", "--data", &held_out, "--json"];
    let base = homespun(&data).fine().json();
    assert_eq!(late["rouge1_before"], base["rouge1"], "{late}");
    assert_ne!(late["rouge1_after"], base["rouge1"], "the round taught nothing: {late}");
    // Other dialogues have another figure.
    let other = place.dialogues("other.jsonl", &user.dialogues[20..24]);
    let other = run(&["--held-out", &other]);
    assert_ne!(other["rouge1_before"], late["rouge1_before"]);
}

#[test]
fn a_cut_while_the_image_is_made_leaves_a_state_that_goes_on() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 6);
    let state = place.path("state");
    let args = ["personalize", "--model", "builtin", "--stream", &stream, "--state", &state];
    let run = || homespun(&[&args[..], &["--bins", "4", "--round", "99"]].concat()).fine();
    run();
    fs::remove_file(place.path("state/samples.img")).expect("image");
    place.file("state/.samples.img.1.tmp", [0xFF; 5000]);
    run();
    assert!(!names(Path::new(&state)).iter().any(|name| name.ends_with(".tmp")));
}

#[test]
fn a_state_scored_one_way_is_refused_the_other() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 4);
    let state = place.path("state");
    let args = ["personalize", "--model", "builtin", "--stream", &stream, "--state", &state];
    homespun(&args).fine();
    homespun(&[&args[..], &["--entropy", "token-norm"]].concat())
        .refused(&["state.json", "scoring"]);
}
