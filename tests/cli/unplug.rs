//! `homespun demo --unplug` and `chat --demo`: what is shown to who has never seen it, checked, and that
//! nothing stays of it.

use core::time::Duration;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use super::{LIMIT, Place, binary, names, number, run};

/// The command with its temporary folders in `place`.
fn command(place: &Place, args: &[&str]) -> Command {
    let mut command = binary::command();
    command.args(args).env("TMPDIR", place.path(""));
    command
}

#[track_caller]
fn assert_nothing_is_left(place: &Place) {
    assert!(place.names().is_empty(), "{:?} is left", place.names());
}

#[test]
fn five_kills_change_no_bit_and_what_is_said_of_it_was_measured() {
    let place = Place::new();
    let run = run(&mut command(&place, &["demo", "--unplug", "--quick", "--json"])).fine();
    let row = run.json();
    assert_eq!((number(&row, "kills"), number(&row, "corrections")), (5.0, 3.0), "{row}");
    assert_eq!(number(&row, "learned_from"), 3.0, "{row}");
    assert_eq!(row["moments_ms"].as_array().map(Vec::len), Some(5), "{row}");
    let steps = row["steps_at_kills"].as_array().expect("steps");
    let steps: Vec<u64> = steps.iter().filter_map(serde_json::Value::as_u64).collect();
    assert!(steps.is_sorted() && steps.len() == 5, "it began anew: {row}");
    assert!((steps[4] as f64) < number(&row, "steps"), "{row}");
    let hash = row["sha256_killed"].as_str().expect("a hash");
    assert!(hash.len() == 64 && row["sha256_unbroken"] == hash, "{row}");
    assert_eq!(run.stdout.matches("SIGKILL").count(), 5, "{run:?}");
    assert!(run.stdout.matches(hash).count() >= 2, "both are printed: {run:?}");
    assert!(number(&row, "rouge1_after") > number(&row, "rouge1_before"), "{row}");
    let (peak, budget) = (number(&row, "peak_anonymous_bytes"), number(&row, "budget_bytes"));
    assert!(peak > 4e6 && peak <= budget, "{row}");
    assert_eq!(number(&row, "connections"), 0.0, "{row}");
    // Where there is no namespace to be had, none is claimed.
    let claimed = run.stdout.contains("network connections: 0 (in a network namespace");
    assert_eq!(Some(claimed), row["namespace"].as_bool(), "{run:?}");
    assert_eq!(row["packets"] == 0, claimed, "{row}");
    assert_nothing_is_left(&place);
}

#[test]
fn another_end_after_a_kill_fails_the_demo() {
    let place = Place::new();
    let run = run(&mut command(&place, &["demo", "--unplug", "--quick", "--json", "--spoil"]));
    assert!(run.stdout.contains("in one go") && run.stdout.contains("killed 5x"), "{run:?}");
    run.refused(&["ended in other bits"]);
    assert_nothing_is_left(&place);
}

#[test]
fn ctrl_c_ends_the_demo_and_removes_its_folder() {
    let place = Place::new();
    let mut child = command(&place, &["demo", "--unplug", "--quick"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // In the middle of a training.
    let trains = || {
        let mut folders = place.names().into_iter();
        folders.any(|name| {
            let state = place.path(&format!("{name}/unbroken/training"));
            std::path::Path::new(&state).exists()
        })
    };
    let begin = Instant::now();
    while !trains() {
        assert!(begin.elapsed() < LIMIT, "it never trains");
        assert!(child.try_wait().expect("wait").is_none(), "it ended before it trained");
        thread::sleep(Duration::from_millis(1));
    }
    let killed = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill").success());
    let output = child.wait_with_output().expect("output");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("SIGINT"), "{output:?}");
    assert_nothing_is_left(&place);
}

#[test]
fn a_visitor_corrects_the_built_in_model_and_leaves_nothing_behind() {
    let place = Place::new();
    let mut child = command(&place, &["chat", "--demo"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let question = "Which tea should I drink on a rainy day?";
    let better = "Smoked fennel tea with two cloves.";
    let lines = [question, &format!("/better {better}"), "/learn", question, "/exit"];
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all((lines.join("\n") + "\n").as_bytes()).expect("write");
    drop(stdin);
    let output = child.wait_with_output().expect("run");
    assert!(output.status.success(), "{output:?}");
    let [said, told] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
    let said: Vec<&str> = said.lines().collect();
    assert!(said.len() == 2 && said[0] != better && said[1] == better, "{said:?} {told}");
    for part in
        ["food", "breakfast", "/better TEXT", "/good", "/learn", "/new", "/exit", "a new adapter"]
    {
        assert!(told.contains(part), "{part:?} is not said: {told}");
    }
    assert_nothing_is_left(&place);
    run(&mut command(&place, &["chat", "--demo", "--state", "me"])).refused(&["--state", "--demo"]);
    run(&mut command(&place, &["chat"])).refused(&["--model"]);
    assert_eq!(names(place.path("").as_ref()), place.names());
}
