//! `homespun chat` as a person uses it, and what changes with the adapter.

use std::io::Write;
use std::process::Stdio;

use homespun_kernels::{Kernels, Serial};
use homespun_runtime::adapter::Adapter;
use homespun_runtime::dialogue::{Message, Role};
use homespun_runtime::engine::{Base, Engine, Sampling};

use super::{Place, binary, homespun};

/// Two adapters of the built-in model that answer differently.
fn two(place: &Place) -> [String; 2] {
    let data = place.stream("data.jsonl", 8);
    ["first", "second"].map(|name| {
        let out = place.path(name);
        let train = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--steps", "6"];
        let how = if name == "first" { ["--lr", "2e-2"] } else { ["--lr", "1e-2"] };
        homespun(&[&train[..], &how, &["--batch", "4", "--seed", "9"]].concat()).fine();
        out
    })
}

/// What the chat prints, on standard output and on standard error, when it is told `lines`.
fn chat(options: &[&str], lines: &[&str]) -> [String; 2] {
    let mut child = binary::command()
        .args(["chat", "--model", "builtin", "--max-tokens", "16"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all((lines.join("\n") + "\n").as_bytes()).expect("write");
    drop(stdin);
    let output = child.wait_with_output().expect("run");
    assert!(output.status.success(), "{output:?}");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
}

#[test]
fn the_chat_goes_from_one_adapter_to_another_and_back() {
    let place = Place::new();
    let [first, second] = two(&place);
    let question = "What tea do you like?";
    let alone = |options: &[&str]| chat(options, &[question])[0].clone();
    let [base, one, two] =
        [alone(&[]), alone(&["--adapter", &first]), alone(&["--adapter", &second])];
    assert!(base != one && one != two && base != two, "{base}{one}{two}");
    let both = ["--adapter", &first, "--adapter", &second];
    let lines = [
        question,
        "/new",
        "/adapter second",
        question,
        "/new",
        "/adapter 1",
        question,
        "/new",
        "/adapter none",
        question,
        "/adapter third",
        "/adapter",
        "/new",
        "/adapter 2",
        question,
    ];
    let [said, told] = chat(&both, &lines);
    assert_eq!(said, [&one, &two, &one, &base, &two].map(String::as_str).concat());
    assert!(told.contains("no \"third\" here; there are 1 first, 2 second, none"), "{told}");
    // Within a dialogue the other adapter goes on with what was said.
    let within = chat(&both, &[question, "/adapter 2", question])[0].clone();
    assert!(within.starts_with(&one) && within.lines().count() == 2, "{within}");
}

#[test]
fn after_a_swap_a_session_is_as_a_fresh_one() {
    let place = Place::new();
    let base = Base::builtin(None).expect("built-in");
    let layers = base.layers().expect("layers");
    let engine = Engine::new(&base, &layers, Kernels::detect(), &Serial).expect("engine");
    let adapters =
        two(&place).map(|path| Adapter::open(path.as_ref(), base.config()).expect("adapter"));
    let dialogue = |text: &str| [Message::new(Role::User, text)];
    let (tea, walk) = (dialogue("What tea do you like?"), dialogue("Where shall we walk?"));
    let sampling = Sampling::greedy(16);
    let fresh = |adapter: Option<&Adapter>, messages: &[Message]| {
        engine.session(adapter).reply(messages, &sampling, 256).expect("reply")
    };
    let mut session = engine.session(Some(&adapters[0]));
    let order = [Some(0), Some(1), Some(0), None, Some(1), None];
    let mut replies = Vec::new();
    for which in order {
        let adapter = which.map(|i: usize| &adapters[i]);
        session.set_adapter(adapter);
        for messages in [&tea, &walk, &tea] {
            let reply = session.reply(messages, &sampling, 256).expect("reply");
            assert_eq!(reply, fresh(adapter, messages), "{which:?}");
            replies.push(reply);
        }
    }
    assert!(replies[0] != replies[3] && replies[0] != replies[9], "the adapters change nothing");
}
