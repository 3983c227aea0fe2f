//! The server as it learns: by itself when nobody talks, halted by a forgetting, looked on from outside.

use core::time::Duration;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::serve::Server;
use super::{LIMIT, Place, homespun, number};

fn correct(server: &Server, what: &str) -> Value {
    let body = json!({
        "messages": [
            {"role": "user", "content": format!("Which {what} should I take?")},
            {"role": "assistant", "content": "Any will do."},
        ],
        "answer": {"preferred": format!("The {what} with a red ribbon.")},
    });
    let answer = server.post("/v1/dialogues", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Waits until the status is as wanted.
fn wait(server: &Server, is: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let status = server.get("/v1/status").json();
        if is(&status) {
            return status;
        }
        assert!(begin.elapsed() < LIMIT, "{status}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn it_learns_by_itself_once_enough_was_annotated_and_nobody_talks() {
    let place = Place::new();
    let server = Server::start(&place.path("state"), &["--idle", "1s", "--epochs", "3"]);
    let things = [
        "tea", "cake", "book", "song", "film", "game", "shirt", "soup", "bread", "plant", "lamp",
        "chair", "pen", "bag", "ring",
    ];
    for thing in things {
        correct(&server, thing);
    }
    let status = server.get("/v1/status").json();
    assert_eq!((number(&status, "new_annotations"), number(&status, "rounds")), (15.0, 0.0));
    correct(&server, "hat");
    let status = wait(&server, |status| number(status, "rounds") > 0.0);
    assert_eq!(number(&status, "new_annotations"), 0.0, "{status}");
    let rounds = server.get("/v1/rounds").json();
    let row = &rounds["data"][0];
    assert_eq!((number(row, "round"), number(row, "learned_from")), (1.0, 16.0), "{row}");
    assert!(!row["curve"].as_array().expect("a curve").is_empty(), "{row}");
    assert!(!row["replies"].as_array().expect("replies").is_empty(), "{row}");
    let log = server.end();
    assert!(log.contains("event=round-begins asked=false"), "{log}");
    assert!(log.contains("event=round-ended round=1") && !log.contains("ribbon"), "{log}");
}

#[test]
fn what_is_forgotten_while_it_learns_is_not_learned() {
    let place = Place::new();
    let state = place.path("state");
    let more = ["--epochs", "400", "--no-auto-rounds", "--unguarded"];
    let server = Server::start(&state, &more);
    let ids: Vec<f64> =
        ["tea", "cake", "book"].iter().map(|what| number(&correct(&server, what), "id")).collect();
    // Said again of the same talk it is the same dialogue.
    assert_eq!(number(&correct(&server, "tea"), "id"), ids[0]);
    let row = thread::scope(|scope| {
        let round = scope.spawn(|| server.post("/v1/rounds", &json!({})));
        wait(&server, |status| status["stage"] == "train" && number(status, "step") >= 3.0);
        // Somebody looks on, without a key and without a hand on the state.
        let seen = homespun(&["status", "--state", &state]).fine();
        assert!(seen.stdout.contains("round: train, step"), "{seen:?}");
        let seen = homespun(&["status", "--state", &state, "--json"]).fine().json();
        assert!(seen["phase"] == "round" && number(&seen, "steps") >= 400.0, "{seen}");
        let gone = server.send("DELETE", &format!("/v1/dialogues/{}", ids[1]), "", "");
        assert_eq!(gone.status, 200, "{gone:?}");
        round.join().expect("the round").json()
    });
    assert_eq!((number(&row, "learned_from"), &row["installed"]), (2.0, &true.into()), "{row}");
    let kept = server.get("/v1/dialogues").json();
    assert_eq!((number(&kept, "used"), kept["data"].as_array().map(Vec::len)), (2.0, Some(2)));
    assert_eq!(kept["data"][0]["preferred"], "The tea with a red ribbon.");
    let rounds = server.get("/v1/rounds").json().to_string();
    assert!(!rounds.contains("cake"), "{rounds}");
    // Everything goes at once, and replies with it.
    let gone = server.send("DELETE", "/v1/dialogues", "", "");
    assert_eq!((gone.status, &gone.json()["deleted"]), (200, &true.into()));
    assert_eq!(number(&server.get("/v1/dialogues").json(), "used"), 0.0);
    assert_eq!(server.get("/v1/rounds").json()["data"], json!([]));
    assert_eq!(number(&server.get("/v1/status").json(), "adapter"), 0.0);
    let log = server.end();
    assert!(log.contains("event=round-halted"), "{log}");
    // Nobody holds it now.
    let seen = homespun(&["status", "--state", &state]).fine();
    assert!(seen.stdout.contains("asleep") && seen.stdout.contains("the base"), "{seen:?}");
}

#[test]
fn a_few_questions_a_day_are_asked_and_a_skipped_one_not_again() {
    let place = Place::new();
    let server = Server::start(&place.path("state"), &["--requests", "2", "--idle", "1h"]);
    for what in ["tea", "cake", "book"] {
        let body = json!({"messages": [
            {"role": "user", "content": format!("Which {what} should I take?")},
            {"role": "assistant", "content": "Any will do."},
        ]});
        assert_eq!(server.post("/v1/dialogues", &body).json()["noted"], false);
    }
    let next = || server.get("/v1/annotations/next");
    let first = next().json();
    assert_eq!(next().json(), first, "an open one is asked until it is answered");
    let answer = |id: &Value, answer: Value| {
        let path = format!("/v1/annotations/{id}");
        assert_eq!(server.post(&path, &json!({"answer": answer})).status, 200);
    };
    answer(&first["id"], json!("skip"));
    let second = next().json();
    assert_ne!(second["id"], first["id"]);
    answer(&second["id"], json!("accept"));
    assert_eq!(next().status, 204, "two a day are enough");
    // What nobody answered, and what was skipped, is not learned from.
    assert_eq!(number(&server.get("/v1/status").json(), "new_annotations"), 1.0);
    server.end();
}

#[test]
fn the_end_of_the_terminal_is_not_its_end() {
    let place = Place::new();
    let server = Server::unheard(&place.path("state"));
    let hup =
        std::process::Command::new("kill").args(["-HUP", &server.child.id().to_string()]).status();
    assert!(hup.expect("kill").success());
    thread::sleep(Duration::from_millis(200));
    assert!(!server.ask("Hello").is_empty());
    // A line on a standard error that nobody reads is no reason to end either.
    correct(&server, "tea");
    assert!(!server.ask("Hello").is_empty());
}
