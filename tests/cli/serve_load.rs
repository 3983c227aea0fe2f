//! The server under load, under kills, and while it learns: short here, as long as is asked for by hand.
//!
//! ```text
//! HOMESPUN_LOAD_SECONDS=300 HOMESPUN_LOAD_KILLS=100 HOMESPUN_LOAD_REPLIES=50 \
//!     cargo test --release -p homespun-tests serve_load -- --nocapture --test-threads 1
//! ```

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use homespun_core::rng::Rng;
use serde_json::json;

use super::serve::{Answer, Server, asking, request};
use super::{LIMIT, Place, homespun, number};

const CLIENTS: usize = 100;

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
}

#[test]
fn a_hundred_clients_for_a_while_leave_the_memory_as_it_was() {
    let seconds = setting("HOMESPUN_LOAD_SECONDS", 8);
    let place = Place::new();
    let server = Server::start(&place.path("state"), &["--queue", "32", "--idle", "1s"]);
    let (good, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let begin = Instant::now();
    let whole = Duration::from_secs(seconds as u64);
    let early = thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, good, busy) = (&server, &good, &busy);
            scope.spawn(move || {
                let mut turn = 0;
                while begin.elapsed() < whole {
                    turn += 1;
                    let mut body = asking(&format!("What are {client} and {turn}?"));
                    body["max_tokens"] = 6.into();
                    body["stream"] = (client % 2 == 0).into();
                    let answer = server.post("/v1/chat/completions", &body);
                    match answer.status {
                        200 if client % 2 == 0 => {
                            assert!(!answer.pieces().is_empty());
                            good.fetch_add(1, Ordering::Relaxed);
                        }
                        200 => {
                            good.fetch_add(1, Ordering::Relaxed);
                        }
                        503 => {
                            assert!(answer.head.contains("retry-after"), "{answer:?}");
                            busy.fetch_add(1, Ordering::Relaxed);
                            thread::sleep(Duration::from_millis(200));
                        }
                        _ => panic!("{answer:?}"),
                    }
                }
            });
        }
        thread::sleep(whole / 3);
        resident(server.child.id())
    });
    let late = resident(server.child.id());
    let (good, busy) = (good.load(Ordering::Relaxed), busy.load(Ordering::Relaxed));
    println!("{seconds} s: {good} replies, {busy} told to come again, {early} -> {late} bytes");
    assert!(good > CLIENTS && late < early + early / 10 + (4 << 20), "{good}: {early} -> {late}");
    assert!(!server.ask("Hello").is_empty());
    server.end();
}

#[test]
fn no_acknowledged_word_is_lost_to_kills_at_any_moment() {
    let kills = setting("HOMESPUN_LOAD_KILLS", 6);
    let place = Place::new();
    let state = place.path("state");
    let mut rng = Rng::new(11);
    let mut acknowledged = Vec::new();
    for kill in 0..kills {
        let mut server = Server::start(&state, &["--bins", "1024", "--idle", "0s"]);
        let after = Duration::from_millis(rng.below(300));
        let pid = server.child.id().to_string();
        // Every other one is killed once a first word was acknowledged, the others at any moment.
        let (acknowledge, first) = mpsc::channel::<()>();
        let killer = thread::spawn(move || {
            if kill % 2 == 0 {
                first.recv_timeout(LIMIT).expect("a first word");
            }
            thread::sleep(after);
            assert!(
                std::process::Command::new("kill")
                    .args(["-9", &pid])
                    .status()
                    .expect("kill")
                    .success()
            );
        });
        for word in 0.. {
            let preferred = format!("Tea {kill} of kind {word}.");
            let body = json!({
                "messages": [
                    {"role": "user", "content": format!("Which tea, {kill}, {word}?")},
                    {"role": "assistant", "content": "Any."},
                ],
                "answer": {"preferred": preferred},
            });
            let text = request("POST", "/v1/dialogues", "localhost", "", &body.to_string());
            let Ok(mut stream) = TcpStream::connect(&server.address) else { break };
            let mut answer = Vec::new();
            if stream.write_all(text.as_bytes()).is_err()
                || std::io::Read::read_to_end(&mut stream, &mut answer).is_err()
            {
                break;
            }
            let answer = Answer::of(&String::from_utf8_lossy(&answer));
            // Half an answer is none.
            let Ok(row) = serde_json::from_str::<serde_json::Value>(&answer.body) else { break };
            assert!(answer.status == 200 && row["noted"] == true, "{row}");
            acknowledged.push(preferred);
            // The others do not listen.
            let _ = acknowledge.send(());
        }
        killer.join().expect("the killer");
        server.child.wait().expect("wait");
    }
    let file = place.path("kept.jsonl");
    homespun(&["buffer", "--state", &state, "export", &file]).fine();
    let kept = fs::read_to_string(file).expect("export");
    println!("{kills} kills, {} acknowledged words", acknowledged.len());
    assert!(
        acknowledged.len() >= kills.div_ceil(2),
        "too few came through to tell: {acknowledged:?}"
    );
    for preferred in acknowledged {
        assert!(kept.contains(&preferred), "{preferred:?} is lost");
    }
}

/// Until the first token of a reply.
fn first_token(server: &Server, turn: usize) -> Duration {
    let mut body = asking(&format!("What is tea number {turn}?"));
    body["stream"] = true.into();
    body["max_tokens"] = 4.into();
    let text = request("POST", "/v1/chat/completions", "localhost", "", &body.to_string());
    let begin = Instant::now();
    let mut stream = TcpStream::connect(&server.address).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("timeout");
    stream.write_all(text.as_bytes()).expect("write");
    let mut lines = BufReader::new(stream).lines();
    let first = lines.find(|line| {
        // The very first piece names the role alone, and comes before there is a token.
        line.as_ref().is_ok_and(|line| line.contains("\"content\":") && !line.contains("\"role\""))
    });
    assert!(first.is_some(), "no token came");
    let time = begin.elapsed();
    // All of it is read, so that the next does not wait for it.
    lines.for_each(drop);
    time
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_reply_does_not_wait_for_a_round() {
    let replies = setting("HOMESPUN_LOAD_REPLIES", 9);
    let place = Place::new();
    let more = ["--epochs", "1000000", "--round-budget", "1d", "--unguarded", "--no-auto-rounds"];
    let server = Server::start(&place.path("state"), &more);
    for i in 0..6 {
        let body = json!({
            "messages": [
                {"role": "user", "content": format!("Which tea, {i}?")},
                {"role": "assistant", "content": "Any."},
            ],
            "answer": {"preferred": format!("Tea of kind {i}, please, in a large cup with some milk.")},
        });
        assert_eq!(server.post("/v1/dialogues", &body).status, 200);
    }
    first_token(&server, 0);
    let idle = median((0..replies).map(|turn| first_token(&server, turn)).collect());
    let learning = thread::scope(|scope| {
        let round = scope.spawn(|| server.post("/v1/rounds", &json!({})));
        let begin = Instant::now();
        while server.get("/v1/status").json()["stage"] != "train" {
            assert!(begin.elapsed() < LIMIT, "it does not begin to train");
            thread::sleep(Duration::from_millis(5));
        }
        // One at a time: a second is told so.
        assert_eq!(server.post("/v1/rounds", &json!({})).status, 409);
        let before = server.get("/v1/status").json();
        let times: Vec<Duration> = (0..replies)
            .map(|turn| {
                // In between it learns.
                thread::sleep(Duration::from_millis(30));
                first_token(&server, turn)
            })
            .collect();
        let after = server.get("/v1/status").json();
        assert!(after["phase"] == "round", "the round ended too early to tell: {after}");
        assert!(number(&after, "step") > number(&before, "step"), "it does not learn in between");
        let ended = std::process::Command::new("kill")
            .args(["-TERM", &server.child.id().to_string()])
            .status();
        assert!(ended.expect("kill").success());
        assert_eq!(round.join().expect("the round").status, 500, "it ends with the server");
        median(times)
    });
    println!("first token: {idle:?} when idle, {learning:?} while a round runs ({replies} each)");
    // Not a measurement: a reply that waited for the round would never come.
    assert!(learning < idle + Duration::from_secs(2), "{idle:?} -> {learning:?}");
}
