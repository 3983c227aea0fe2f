//! Living with a person: dialogues observed as they happen, judged, learned from, without a restart.

use std::io::Write;
use std::process::Stdio;

use super::{Place, Run, binary, homespun, number, open};

/// A command that is told `input`.
pub fn told(args: &[&str], input: &str) -> Run {
    let mut child = binary::command()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    // It may end before it has read all.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn dialogue(question: &str, reply: &str) -> String {
    format!(
        r#"{{"messages": [{{"role": "user", "content": "{question}"}}, {{"role": "assistant", "content": "{reply}"}}]}}"#
    )
}

#[test]
fn a_dialogue_is_observed_and_its_verdict_printed() {
    let place = Place::new();
    let state = place.path("state");
    let observe = |bins: &[&str], text: &str| {
        let args = ["observe", "--model", "builtin", "--state", &state];
        told(&[&args[..], bins].concat(), text)
    };
    let first =
        observe(&["--bins", "2"], &dialogue("Which tea is best?", "Any tea.")).fine().json();
    assert_eq!((&first["verdict"], number(&first, "arrival")), (&"store".into(), 0.0), "{first}");
    for key in ["bin", "entropy", "domain_score", "dissimilarity"] {
        number(&first, key);
    }
    assert_eq!(number(&first, "waiting"), 1.0);
    // What the reply should have been needs no question.
    let better = dialogue("When does the shop close?", "Late.")
        .replace("]}", r#"], "preferred": "At six."}"#);
    let second = observe(&[], &better).fine().json();
    assert_eq!((number(&second, "arrival"), number(&second, "waiting")), (1.0, 1.0), "{second}");
    let third = observe(&[], &dialogue("Which tea is best?", "Any tea.")).fine().json();
    assert!(
        third["verdict"] == "drop" || third["verdict"] == "replace",
        "the buffer is full: {third}"
    );
    assert_eq!(open(&state).record.seen, 3);
    observe(&[], "{\"messages\": 3}").refused(&["stdin"]);
    observe(&["--policy", "fifo"], &better).refused(&["policy", "quality"]);
    // A stream that comes after goes on with the numbers.
    let stream = place.stream("stream.jsonl", 4);
    let args =
        ["personalize", "--model", "builtin", "--stream", &stream, "--state", &state, "--json"];
    assert_eq!(number(&homespun(&args).fine().json(), "seen"), 7.0);
}

#[test]
fn a_chat_learns_and_goes_on_with_what_it_learned() {
    let place = Place::new();
    let state = place.path("state");
    let chat = |lines: &[&str]| {
        let args = ["chat", "--model", "builtin", "--state", &state, "--max-tokens", "16"];
        told(&args, &(lines.join("\n") + "\n")).fine()
    };
    let (tea, shop) = ("Which tea do you like best?", "When does the shop close?");
    let run = chat(&[
        tea,
        "/better Peppermint tea.",
        "/new",
        shop,
        "/good",
        "/new",
        tea,
        "/learn",
        "/new",
        tea,
    ]);
    let said: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(said.len(), 4, "{run:?}");
    assert_eq!(said[0], said[2], "before it learns it says the same");
    assert_ne!(said[2], said[3], "after that it does not: {run:?}");
    assert!(
        run.stderr.contains("learned from 2 dialogues") && run.stderr.contains("a new adapter")
    );
    assert!(!run.stderr.contains("eppermint") && !run.stderr.contains("tea"), "no text in the log");
    assert_eq!(open(&state).record.generation, 1);
    // Another run begins with what was learned.
    let run = chat(&[tea]);
    assert_eq!(run.stdout.lines().next(), Some(said[3]), "{run:?}");
    let rows = |waiting: usize| {
        let rows = homespun(&["buffer", "--state", &state, "list", "--json"]).fine().json_lines();
        let open = rows.iter().filter(|row| row["annotation"] == "waiting").count();
        assert_eq!(open, waiting, "{rows:?}");
        rows.len()
    };
    // The correction, the acceptance, and three that wait: with no word on them.
    assert_eq!(rows(3), 5);
    // What is to be forgotten is not kept, nor what was offered of it.
    let run =
        chat(&["My secret is this.", "/better I will tell nobody.", "And more of it.", "/forget"]);
    assert!(run.stderr.contains("nothing of this dialogue is kept"), "{run:?}");
    assert_eq!(rows(3), 5);
    // What was learned of it goes with it, and the talk goes on with the base.
    let run = chat(&["/new", shop, "/better At six.", "/learn", "/forget", "/new", tea]);
    assert!(
        run.stderr.contains("a new adapter") && run.stderr.contains("learned of it"),
        "{run:?}"
    );
    assert_eq!(run.stdout.lines().last(), Some(said[0]), "{run:?}");
    let after = open(&state);
    assert_eq!((after.current(), after.record.generation), (0, 2));
    drop(after);
    let run = chat(&["/good", "/better", "/adapter 2", "/learn"]);
    assert!(run.stderr.contains("no reply to judge") && run.stderr.contains("/adapter"), "{run:?}");
    // What is left is learned again, as the forgetting made it new.
    assert_eq!(open(&state).record.generation, 3);
}

#[test]
fn a_round_is_run_when_it_is_asked_for() {
    let place = Place::new();
    let state = place.path("state");
    for (question, preferred) in [("Which tea?", "Mint tea."), ("Which cake?", "Apple cake.")] {
        let text = dialogue(question, "Any.")
            .replace("]}", &format!(r#"], "preferred": "{preferred}"}}"#));
        told(&["observe", "--model", "builtin", "--state", &state], &text).fine();
    }
    let args = ["round", "--model", "builtin", "--state", &state, "--json"];
    let row = homespun(&args).fine().json();
    assert_eq!((number(&row, "learned_from"), &row["installed"]), (2.0, &true.into()), "{row}");
    assert!(number(&row, "loss_after") < number(&row, "loss_before"), "{row}");
    let row = homespun(&args).fine().json();
    assert_eq!((&row["installed"], number(&row, "generation")), (&false.into(), 1.0), "{row}");
    homespun(&["round", "--model", "builtin", "--state", &place.path("none")]).refused(&["none"]);
}

#[test]
fn an_earlier_generation_is_used_again_to_the_byte() {
    let place = Place::new();
    let state = place.path("state");
    let learn = |question: &str, preferred: &str| {
        let text = dialogue(question, "Any.")
            .replace("]}", &format!(r#"], "preferred": "{preferred}"}}"#));
        told(&["observe", "--model", "builtin", "--state", &state], &text).fine();
        let args = ["round", "--model", "builtin", "--state", &state, "--json"];
        homespun(&args).fine().json()
    };
    let exported = |name: &str| {
        let out = place.path(name);
        homespun(&["adapter", "export", "--state", &state, "--out", &out]).fine();
        std::fs::read(format!("{out}/adapter_model.safetensors")).expect("tensors")
    };
    learn("Which tea?", "Mint tea.");
    let first = exported("first");
    learn("Which cake?", "Apple cake.");
    let second = exported("second");
    assert!(first != second);
    let list = || homespun(&["adapter", "list", "--state", &state, "--json"]).fine().json_lines();
    let used = || list().iter().position(|row| row["used"] == true);
    assert_eq!((list().len(), used(), number(&list()[2], "learned_from")), (3, Some(2), 2.0));
    homespun(&["adapter", "rollback", "--state", &state]).fine();
    assert!(used() == Some(1) && exported("back") == first, "it restores the bytes");
    homespun(&["adapter", "use", "2", "--state", &state]).fine();
    assert!(exported("again") == second);
    homespun(&["adapter", "use", "3", "--state", &state]).refused(&[
        "adapters",
        "3",
        "0 (the base), 1, 2",
    ]);
    // What is learned next goes on from what is used, and is a new generation.
    homespun(&["adapter", "use", "1", "--state", &state]).fine();
    let row = learn("Which soup?", "Leek soup.");
    assert_eq!((number(&row, "generation"), used()), (3.0, Some(3)), "{row}");
    // Going back twice ends at the base, and there is nothing before that.
    for left in [2, 1, 0] {
        homespun(&["adapter", "rollback", "--state", &state]).fine();
        assert_eq!(used(), Some(left));
    }
    homespun(&["adapter", "rollback", "--state", &state]).refused(&["base"]);
    // A generation that is not used has seen it, too: none of them stays.
    let row = homespun(&["forget", "--state", &state, "--id", "2", "--json"]).fine().json();
    assert_eq!(number(&row, "adapters"), 3.0, "{row}");
    assert_eq!(list().len(), 1);
}
