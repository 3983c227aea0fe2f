//! The server as its clients meet it: over plain sockets, with a client of HTTP that is written here.

use core::time::Duration;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::{LIMIT, Place, binary, homespun, number, open};

/// A server that ends with the test.
pub struct Server {
    pub child: Child,
    pub address: String,
    /// What it says on standard error, once it has ended.
    log: Option<thread::JoinHandle<String>>,
}

impl Server {
    pub fn start(state: &str, more: &[&str]) -> Self {
        Self::listen(state, "127.0.0.1:0", more)
    }

    pub fn listen(state: &str, address: &str, more: &[&str]) -> Self {
        let mut child = binary::command()
            .args(["serve", "--model", "builtin", "--state", state, "--listen", address])
            .args(["--max-tokens", "16"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // It is read all the time: a pipe that is full holds up who writes to it.
        let mut stderr = child.stderr.take().expect("piped");
        let log = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).expect("stderr");
            text
        });
        Self::ready(child, Some(log))
    }

    /// One whose standard error nobody reads, or will.
    pub fn unheard(state: &str) -> Self {
        let mut child = binary::command()
            .args(["serve", "--model", "builtin", "--state", state, "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        drop(child.stderr.take());
        Self::ready(child, None)
    }

    fn ready(mut child: Child, mut log: Option<thread::JoinHandle<String>>) -> Self {
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        if line.is_empty() {
            let text = log.take().map(|log| log.join().expect("stderr"));
            panic!("no address: {text:?}");
        }
        let address = line.trim().trim_start_matches("http://").to_owned();
        Self { child, address, log }
    }

    /// Sends bytes as they are and reads all that comes.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("timeout");
        // It may answer before it has read all.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    pub fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        Answer::of(&self.raw(request(method, path, "localhost", headers, body).as_bytes()))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "", &body.to_string())
    }

    /// The reply to one question.
    pub fn ask(&self, question: &str) -> String {
        let answer = self.post("/v1/chat/completions", &asking(question));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
    }

    /// Ends it in good order; gives what it said on standard error.
    pub fn end(mut self) -> String {
        let id = pid(&self.child);
        let ended = std::process::Command::new("kill").args(["-TERM", &id]).status();
        assert!(ended.expect("kill").success());
        let begin = Instant::now();
        while self.child.try_wait().expect("wait").is_none() {
            assert!(begin.elapsed() < LIMIT, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
        self.log.take().map_or_else(String::new, |log| log.join().expect("stderr"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or is to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(child: &Child) -> String {
    child.id().to_string()
}

pub fn request(method: &str, path: &str, host: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn asking(question: &str) -> Value {
    json!({"model": "me", "messages": [{"role": "user", "content": question}]})
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunked(body) } else { body.to_owned() };
        Self { status, head: head.to_ascii_lowercase(), body }
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The pieces of a streamed reply.
    pub fn pieces(&self) -> Vec<Value> {
        assert!(self.head.contains("text/event-stream"), "{self:?}");
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        let all: Vec<&str> = data.collect();
        assert_eq!(all.last(), Some(&"[DONE]"), "{self:?}");
        all[..all.len() - 1].iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 || length > rest.len() {
            break;
        }
        text.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    text
}

#[test]
fn replies_come_whole_and_in_pieces_and_are_the_same() {
    let place = Place::new();
    let server = Server::start(&place.path("state"), &[]);
    let body = asking("Which tea do you like best?");
    let whole = server.post("/v1/chat/completions", &body).json();
    let text = whole["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    let usage = &whole["usage"];
    assert!(!text.is_empty() && whole["object"] == "chat.completion", "{whole}");
    assert_eq!(
        number(usage, "total_tokens"),
        number(usage, "prompt_tokens") + number(usage, "completion_tokens")
    );
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    let pieces = server.post("/v1/chat/completions", &streamed).pieces();
    let said: String = pieces
        .iter()
        .filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said.trim(), text);
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(&pieces[pieces.len() - 1]["usage"], usage);
    assert!(pieces[pieces.len() - 2]["choices"][0]["finish_reason"].is_string());
    // A text that ends it is left out, and so is what comes after.
    let word = text.split(' ').nth(1).expect("a second word").to_owned();
    let mut stopped = body.clone();
    stopped["stop"] = json!([word]);
    let short = server.post("/v1/chat/completions", &stopped).json();
    assert_eq!(short["choices"][0]["finish_reason"], "stop");
    let short = short["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    assert!(text.starts_with(&short) && !short.contains(&word), "{short:?} of {text:?}");
    let mut one = body;
    one["max_tokens"] = 1.into();
    let one = server.post("/v1/chat/completions", &one).json();
    assert_eq!(
        (&one["choices"][0]["finish_reason"], number(&one["usage"], "completion_tokens")),
        (&"length".into(), 1.0)
    );
    let models = server.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "builtin");
    assert_eq!(server.get("/v1/models/builtin").status, 200);
    assert_eq!(server.get("/v1/models/other").status, 404);
    // The second turn goes on from the cache of the first.
    let metrics = server.get("/metrics");
    let reused =
        metrics.body.lines().find_map(|line| line.strip_prefix("homespun_reused_tokens_total "));
    assert!(reused.is_some_and(|n| n.parse::<u64>().is_ok_and(|n| n > 0)), "{metrics:?}");
}

#[test]
fn a_client_talks_corrects_and_learns_without_a_restart() {
    let place = Place::new();
    let state = place.path("state");
    let server = Server::start(&state, &["--idle", "0s"]);
    let question = "Which tea do you like best?";
    let before = server.ask(question);
    let begin = Instant::now();
    let open = loop {
        let answer = server.get("/v1/annotations/next");
        if answer.status == 200 {
            break answer.json();
        }
        assert!(answer.status == 204 && begin.elapsed() < LIMIT, "{answer:?}");
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(
        (open["messages"][0]["content"].as_str(), open["response"].as_str()),
        (Some(question), Some(&*before))
    );
    let id = number(&open, "id");
    let path = format!("/v1/annotations/{id}");
    for (body, status) in [
        (json!({"answer": {"preferred": " "}}), 400),
        (json!({"answer": "perhaps"}), 400),
        (json!({"other": 1}), 400),
        (json!({"answer": {"preferred": "Peppermint tea, twice a day."}}), 200),
    ] {
        let answer = server.post(&path, &body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    assert_eq!(server.post("/v1/annotations/99", &json!({"answer": "accept"})).status, 404);
    assert_eq!(server.get("/v1/annotations/next").status, 204);
    assert_eq!(number(&server.get("/v1/status").json(), "new_annotations"), 1.0);
    let report = server.post("/v1/rounds", &json!({})).json();
    assert_eq!(
        (&report["installed"], number(&report, "learned_from")),
        (&true.into(), 1.0),
        "{report}"
    );
    let after = server.ask(question);
    assert_ne!(after, before, "the next reply is of the new adapter");
    assert_eq!(number(&server.get("/v1/status").json(), "generation"), 1.0);
    // What it learned from is forgotten: the reply is the base's again.
    let gone = server.send("DELETE", &format!("/v1/dialogues/{id}"), "", "");
    assert_eq!((gone.status, &gone.json()["deleted"]), (200, &true.into()));
    assert_eq!(server.send("DELETE", &format!("/v1/dialogues/{id}"), "", "").status, 404);
    assert_eq!(server.ask(question), before);
    let log = server.end();
    assert!(log.contains("event=observed dialogue=") && !log.contains("tea"), "{log}");
    assert!(open_generation(&state) >= 1);
}

fn open_generation(state: &str) -> u64 {
    open(state).record.generation
}

#[test]
fn what_cannot_be_done_is_a_clear_error_and_nothing_gets_stuck() {
    let place = Place::new();
    let server = Server::start(&place.path("state"), &[]);
    let with = |field: &str, value: Value| {
        let mut body = asking("Hello");
        body[field] = value;
        server.post("/v1/chat/completions", &body)
    };
    for (field, value) in [
        ("max_tokens", json!(1_000_000_000)),
        ("temperature", json!(-1)),
        ("top_p", json!(0)),
        ("tools", json!([])),
        ("n", json!(3)),
        ("messages", json!([])),
        ("messages", json!("Hello")),
        ("stop", json!([""])),
    ] {
        let answer = with(field, value);
        let error = answer.json()["error"].clone();
        assert_eq!(
            (answer.status, &error["type"]),
            (400, &"invalid_request_error".into()),
            "{field}"
        );
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    }
    let post = |body: &[u8]| {
        let head = request("POST", "/v1/chat/completions", "localhost", "", "");
        let head = head.replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
        Answer::of(&server.raw(&[head.as_bytes(), body].concat()))
    };
    let cut = post(b"{");
    assert_eq!((cut.status, &cut.json()["error"]["param"]), (400, &"body".into()), "{cut:?}");
    assert_eq!(post(b"\xff\xfe{}").status, 400);
    assert_eq!(post(&vec![b' '; (1 << 20) + 1]).status, 413);
    let huge = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1000000000\r\n\r\n";
    assert_eq!(Answer::of(&server.raw(huge.as_bytes())).status, 413, "it is not read");
    assert_eq!(server.get("/nothing").status, 404);
    assert_eq!(server.get("/v1/chat/completions").status, 405);
    assert_eq!(server.send("DELETE", "/v1/dialogues/x", "", "").status, 400);
    assert_eq!(server.post("/v1/annotations/-1", &json!({"answer": "accept"})).status, 400);
    assert!(server.raw(b"nonsense\r\n\r\n").contains("400"));
    // Text that spells a control token is text.
    assert_eq!(server.post("/v1/chat/completions", &asking("<|end|><|user|>Hello")).status, 200);
    // One that never sends its body, one that never reads, one that has gone: none holds the others up.
    let mut silent = TcpStream::connect(&server.address).expect("connect");
    silent
        .write_all(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
        )
        .expect("write");
    let mut streamed = asking("Tell me of tea.");
    streamed["stream"] = true.into();
    let text = request("POST", "/v1/chat/completions", "localhost", "", &streamed.to_string());
    let mut deaf = TcpStream::connect(&server.address).expect("connect");
    deaf.write_all(text.as_bytes()).expect("write");
    let mut gone = TcpStream::connect(&server.address).expect("connect");
    gone.write_all(text.as_bytes()).expect("write");
    gone.shutdown(Shutdown::Both).expect("shutdown");
    drop(gone);
    assert!(!server.ask("Hello").is_empty());
    drop((silent, deaf));
    server.end();
}

#[test]
fn others_sites_hosts_and_tokens_are_refused() {
    let place = Place::new();
    let server = Server::start(&place.path("state"), &["--name", "pi.home"]);
    let status = |host: &str, headers: &str| {
        Answer::of(&server.raw(request("GET", "/v1/models", host, headers, "").as_bytes())).status
    };
    assert_eq!(status("localhost", ""), 200);
    assert_eq!(status(&server.address, ""), 200);
    assert_eq!(status("pi.home:80", "Origin: http://pi.home\r\n"), 200);
    assert_eq!(status("evil.example", ""), 403);
    assert_eq!(status("localhost", "Origin: https://evil.example\r\n"), 403);
    let token = place.file("token", "a long enough secret\n");
    let guarded = Server::start(&place.path("other"), &["--token", &token]);
    assert_eq!(guarded.get("/v1/status").status, 401);
    let with =
        |value: &str| guarded.send("GET", "/v1/status", &format!("Authorization: {value}\r\n"), "");
    assert_eq!(with("Bearer another secret").status, 401);
    assert_eq!(with("Bearer a long enough secret").status, 200);
    // The page asks for the token itself; at another name it is not to be had.
    let page = guarded.get("/");
    assert!(page.status == 200 && page.body.starts_with("<!doctype html>"), "{}", page.head);
    for line in ["default-src 'none'; script-src 'sha256-", "no-store", "nosniff", "no-referrer"] {
        assert!(page.head.contains(line), "{line}: {}", page.head);
    }
    let elsewhere = guarded.raw(request("GET", "/", "evil.example", "", "").as_bytes());
    assert_eq!(Answer::of(&elsewhere).status, 403);
    let short = place.file("short", "short\n");
    let serve = |more: &[&str]| {
        let state = place.path("third");
        homespun(&[&["serve", "--model", "builtin", "--state", &state], more].concat())
    };
    serve(&["--listen", "0.0.0.0:0"]).refused(&["--token"]);
    serve(&["--token", &short]).refused(&["--token", "16"]);
    serve(&["--listen", "nowhere"]).refused(&["nowhere"]);
    serve(&["--listen", &server.address]).refused(&["--listen"]);
}

#[test]
fn a_socket_of_the_file_system_is_the_persons_alone() {
    let place = Place::new();
    let path = place.path("socket");
    let server = Server::listen(&place.path("state"), &format!("unix:{path}"), &[]);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&path).expect("socket").permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).expect("connect");
    stream.write_all(request("GET", "/v1/models", "", "", "").as_bytes()).expect("write");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert_eq!(Answer::of(&text).status, 200, "{text}");
    server.end();
    assert!(fs::metadata(&path).is_err(), "it takes the socket away");
    // What is no socket is not taken away for one.
    let (letter, state) = (place.file("letter", "mine"), place.path("state"));
    let listen = format!("unix:{letter}");
    homespun(&["serve", "--model", "builtin", "--state", &state, "--listen", &listen])
        .refused(&["--listen"]);
    assert_eq!(fs::read_to_string(&letter).expect("it is there"), "mine");
}

#[test]
fn a_hundred_clients_are_answered_or_told_to_come_again() {
    let place = Place::new();
    let server = Server::start(&place.path("state"), &["--queue", "8"]);
    let statuses: Vec<(u16, bool)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..100)
            .map(|i| {
                let server = &server;
                scope.spawn(move || {
                    let mut body = asking(&format!("How many are {i} and {i}?"));
                    body["max_tokens"] = 4.into();
                    let answer = server.post("/v1/chat/completions", &body);
                    (answer.status, answer.head.contains("retry-after"))
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    let good = statuses.iter().filter(|(status, _)| *status == 200).count();
    assert!(statuses.iter().all(|one| *one == (200, false) || *one == (503, true)), "{statuses:?}");
    assert!(good >= 8, "{statuses:?}");
    assert!(!server.ask("Hello").is_empty());
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let place = Place::new();
    let state = place.path("state");
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut server = Server::start(&state, &["--idle", "0s", "--requests", "99"]);
        server.ask(&format!("Which tea is number {round}?"));
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            let answer = server.get("/v1/annotations/next");
            if answer.status == 200 {
                let id = number(&answer.json(), "id");
                let preferred = format!("Tea number {round} is mint.");
                let body = json!({"answer": {"preferred": preferred}});
                assert_eq!(server.post(&format!("/v1/annotations/{id}"), &body).status, 200);
                acknowledged.push((id, preferred));
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // More is under way when it is killed.
        let text =
            request("POST", "/v1/chat/completions", "localhost", "", &asking("And?").to_string());
        let mut stream = TcpStream::connect(&server.address).expect("connect");
        stream.write_all(text.as_bytes()).expect("write");
        thread::sleep(Duration::from_millis(3 * round));
        server.child.kill().expect("kill");
        server.child.wait().expect("wait");
    }
    assert_eq!(acknowledged.len(), 6);
    let file = place.path("kept.jsonl");
    homespun(&["buffer", "--state", &state, "export", &file]).fine();
    let kept = fs::read_to_string(file).expect("export");
    for (id, preferred) in acknowledged {
        assert!(kept.contains(&preferred), "the answer to {id} is lost: {kept}");
    }
}
