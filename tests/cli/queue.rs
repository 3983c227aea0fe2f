//! `--annotate queue` and `ask`: what is asked, what is answered, what is counted.

use std::process::Command;

use homespun_runtime::state::QUEUE;
use serde_json::{Value, json};

use super::{Place, Run, binary, homespun, json_lines, number, open, run};

/// An everyday run whose person answers in the queue; a round once four dialogues wait.
fn personalize(place: &Place, stream: &str, annotate: &str) -> Run {
    let state = place.path("state");
    let args = ["personalize", "--model", "builtin", "--stream", stream, "--state", &state];
    let options = ["--annotate", annotate, "--bins", "24", "--epochs", "1", "--synth", "0"];
    homespun(&[&args[..], &options, &["--batch", "4", "--json"]].concat())
}

fn requests(place: &Place) -> Vec<Value> {
    let bytes = open(&place.path("state")).vault().read(QUEUE).expect("it opens").expect("queue");
    json_lines(core::str::from_utf8(&bytes).expect("UTF-8"))
}

fn put(place: &Place, rows: &[Value]) {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    open(&place.path("state")).vault().write(QUEUE, lines.join("\n").as_bytes()).expect("queue");
}

fn annotations(place: &Place) -> Vec<Value> {
    let list = ["buffer", "--state", &place.path("state"), "list", "--json"];
    homespun(&list).fine().json_lines().iter().map(|row| row["annotation"].clone()).collect()
}

#[test]
fn requests_wait_in_the_queue_are_counted_once_and_answered_at_the_next_run() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 20);
    let first = personalize(&place, &stream, "queue").fine();
    let row = first.json();
    let asked = requests(&place);
    assert_eq!(number(&row, "annotations"), asked.len() as f64);
    assert_eq!(number(&row, "generation"), 0.0, "nobody answered, so nothing was learned");
    assert!(asked.iter().all(|request| request["answer"].is_null()));
    let rounds = first.stderr.matches("nothing to learn from").count();
    assert!(rounds <= 3, "waiting requests start a round at every dialogue: {}", first.stderr);

    let mut answered = asked.clone();
    answered[0]["answer"] = json!("accept");
    answered[1]["answer"] = json!("skip");
    answered[2]["answer"] = json!({"preferred": "Mint tea, as ever."});
    put(&place, &answered);
    let row = personalize(&place, &stream, "queue").fine().json();
    assert_eq!(number(&row, "annotations"), asked.len() as f64, "an answer is no new request");
    assert_eq!(number(&row, "rounds"), 1.0);
    let states = annotations(&place);
    for state in ["accepted", "skipped", "preferred"] {
        assert_eq!(states.iter().filter(|s| **s == state).count(), 1, "{states:?}");
    }
    // Nothing new is answered: nothing new is learned.
    let again = personalize(&place, &stream, "queue").fine();
    assert!(again.stderr.contains("no new annotations"), "{again:?}");
    assert_eq!(number(&again.json(), "rounds"), 1.0);
    assert_eq!(number(&again.json(), "annotations"), asked.len() as f64);

    let mut wrong = requests(&place);
    wrong[1]["answer"] = json!("perhaps");
    put(&place, &wrong);
    personalize(&place, &stream, "queue").refused(&["queue.jsonl", "line 2"]);
}

#[test]
fn nobody_at_the_terminal_is_nobodys_consent() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 20);
    let row = personalize(&place, &stream, "ask").fine().json();
    assert_eq!((number(&row, "annotations"), number(&row, "rounds")), (0.0, 0.0));
    assert!(annotations(&place).iter().all(|state| state == "waiting"));
    let state = place.path("state");
    homespun(&["buffer", "--state", &state, "annotate"]).fine();
    assert!(annotations(&place).iter().all(|state| state == "waiting"));
    // Later somebody is there: the stream's own preferences.
    let row = personalize(&place, &stream, "replay").fine().json();
    assert_eq!(number(&row, "seen"), 20.0);
}

#[test]
fn an_earlier_streams_dialogues_are_not_answered_by_a_later_one() {
    let place = Place::new();
    let first = place.stream("first.jsonl", 3);
    let row = personalize(&place, &first, "replay").fine().json();
    assert_eq!(number(&row, "annotations"), 0.0, "three are too few for a round");
    let user = homespun_runtime::builtin::stream(9, homespun_runtime::builtin::Size::QUICK);
    let second = place.dialogues("second.jsonl", &user.dialogues[..16]);
    personalize(&place, &second, "replay").fine();
    let list = ["buffer", "--state", &place.path("state"), "list", "--json"];
    for row in homespun(&list).fine().json_lines() {
        // The round came when sixteen waited, three of them the first stream's.
        let answered = (3..16).contains(&row["arrival"].as_u64().expect("arrival"));
        assert_eq!(row["annotation"] != "waiting", answered, "{row}");
    }
}

#[test]
fn answers_given_to_buffer_annotate_are_learned_at_the_next_run_and_counted_once() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 20);
    let asked = number(&personalize(&place, &stream, "queue").fine().json(), "annotations");
    assert!(asked >= 16.0, "{asked}");
    // Enter accepts.
    let accept = "yes '' | head -n 50 | exec \"$0\" buffer --state \"$1\" annotate";
    let state = place.path("state");
    let mut shell = binary::at_home(Command::new("sh"));
    run(shell.arg("-c").arg(accept).arg(binary::path()).arg(&state)).fine();
    assert!(annotations(&place).iter().all(|state| state == "accepted"));
    let row = personalize(&place, &stream, "ask").fine().json();
    assert_eq!(number(&row, "rounds"), 1.0, "{row}");
    let waited_for_the_first_time = annotations(&place).len() as f64 - asked;
    assert_eq!(number(&row, "annotations"), asked + waited_for_the_first_time);
    // All is learned now.
    let row = personalize(&place, &stream, "ask").fine().json();
    assert_eq!(number(&row, "rounds"), 1.0, "{row}");
}
