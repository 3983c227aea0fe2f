//! Dialogues that cannot be read, and dialogues that nobody would write.

use std::fs;

use serde_json::json;

use super::{Place, homespun, json_lines, number};

const GOOD: &str = r#"{"messages":[{"role":"user","content":"What tea?"},{"role":"assistant","content":"Green tea."}]}"#;

/// The commands that read dialogues, with the option that names the file and where they write.
fn readers<'a>(file: &'a str, out: &'a str) -> Vec<Vec<&'a str>> {
    let model = ["--model", "builtin"];
    [
        vec!["score", "--json-lines", "--stream", file],
        vec!["evaluate", "--json", "--max-tokens", "2", "--data", file],
        vec!["train", "--steps", "1", "--out", out, "--data", file],
        vec!["personalize", "--json", "--bins", "2", "--state", out, "--stream", file],
    ]
    .map(|args| [&args[..1], &model, &args[1..]].concat())
    .into()
}

#[test]
fn a_bad_line_is_reported_and_skipped_or_stops_a_strict_reader() {
    for (bad, reason) in [
        (&b"{\"messages\": \"\xff\"}"[..], "not UTF-8"),
        (b"{\"messages\": [", "not JSON"),
        (b"{\"messages\": [{\"role\": \"tool\", \"content\": \"\"}]}", "messages[0].role"),
    ] {
        let place = Place::new();
        let lines = [GOOD.as_bytes(), bad, GOOD.as_bytes()].join(&b'\n');
        let file = place.file("stream.jsonl", lines);
        for (i, args) in readers(&file, &place.path("out")).into_iter().enumerate() {
            let run = homespun(&[&args[..], &["--strict"]].concat());
            run.refused(&["stream.jsonl: line 2", reason]);
            assert_eq!(place.names(), ["stream.jsonl"], "{args:?}");
            let run = homespun(&args).fine();
            assert!(run.stderr.contains("stream.jsonl: line 2"), "{run:?}");
            assert!(run.stderr.contains("skipped"), "{run:?}");
            match i {
                0 => assert_eq!(run.json_lines().len(), 2),
                1 => assert_eq!(number(&run.json(), "dialogues"), 2.0),
                2 => fs::remove_dir_all(place.path("out")).expect("adapter"),
                _ => assert_eq!(number(&run.json(), "seen"), 2.0),
            }
        }
    }
}

#[test]
fn a_stream_without_a_dialogue_is_an_error_that_names_the_file() {
    for (contents, reason) in [("", "empty"), ("\n \n", "empty"), ("x\ny\n", "all 2 lines are bad")]
    {
        let place = Place::new();
        let file = place.file("stream.jsonl", contents);
        for args in readers(&file, &place.path("out")) {
            homespun(&args).refused(&["stream.jsonl", reason]);
        }
        assert_eq!(place.names(), ["stream.jsonl"]);
    }
    let place = Place::new();
    for args in readers(&place.path("nowhere.jsonl"), &place.path("out")) {
        homespun(&args).refused(&["nowhere.jsonl", "No such file"]);
    }
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn held_out_dialogues_without_a_reply_are_refused_before_anything_is_written() {
    let place = Place::new();
    let stream = place.file("stream.jsonl", GOOD);
    let held_out = place.file(
        "held.jsonl",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n{\"messages\":[{\"role\":\"system\",\"content\":\"b\"}]}",
    );
    let state = place.path("state");
    let base = ["--model", "builtin"];
    let parts = ["held.jsonl", "no dialogue has a reply"];
    let learn = ["--stream", &stream, "--state", &state, "--held-out", &held_out];
    homespun(&[&["personalize"], &base[..], &learn].concat()).refused(&parts);
    homespun(&[&["evaluate"], &base[..], &["--data", &held_out, "--json"]].concat())
        .refused(&parts);
    assert_eq!(place.names(), ["held.jsonl", "stream.jsonl"]);
}

#[test]
fn dialogues_of_one_huge_message_of_no_reply_and_of_rare_characters_are_lived_through() {
    let place = Place::new();
    let word = |n: usize| "words ".repeat(n);
    let dialogue = |messages: &[(&str, &str)]| {
        let messages: Vec<_> = messages
            .iter()
            .map(|(role, content)| json!({"role": role, "content": content}))
            .collect();
        json!({ "messages": messages }).to_string()
    };
    let rare = "\u{1F600} \u{1D538}\u{0}\u{202E} <|user|> \u{FFFD}";
    let lines = [
        dialogue(&[("system", "be nice")]),
        dialogue(&[("user", &word(8000)), ("assistant", "yes")]),
        dialogue(&[("user", "why"), ("assistant", &word(8000))]),
        dialogue(&[("user", rare), ("assistant", rare)]),
        dialogue(&[("user", "alone")]),
        dialogue(&[("assistant", "first"), ("assistant", "second")]),
        dialogue(&[("user", ""), ("assistant", "")]),
    ];
    let file = place.file("stream.jsonl", lines.join("\n"));
    let base = ["--model", "builtin"];
    let score = [&["score"], &base[..], &["--stream", &file, "--json-lines"]].concat();
    assert_eq!(homespun(&score).fine().json_lines().len(), lines.len());
    let state = place.path("state");
    let learn = ["--stream", &file, "--state", &state, "--round", "4", "--synth", "0", "--json"];
    let brief = ["--epochs", "1", "--max-length", "64", "--bins", "16"];
    let run = homespun(&[&["personalize"], &base[..], &learn, &brief].concat()).fine();
    assert_eq!(number(&run.json(), "seen"), lines.len() as f64);
    let said = "dialogue 3: ";
    assert!(run.stderr.lines().any(|line| line.starts_with(said) && line.ends_with("left out")));
    let rows = homespun(&["buffer", "--state", &state, "list", "--json"]).fine().json_lines();
    let states: Vec<_> =
        rows.iter().map(|row| json!([row["arrival"], row["annotation"]])).collect();
    let expected = [
        json!([0, "waiting"]),
        json!([1, "accepted"]),
        json!([3, "accepted"]),
        json!([4, "waiting"]),
        json!([5, "accepted"]),
        json!([6, "accepted"]),
    ];
    assert_eq!(states, expected);
    let exported = place.path("exported.jsonl");
    homespun(&["buffer", "--state", &state, "export", &exported]).fine();
    let text = fs::read_to_string(&exported).expect("exported");
    assert_eq!(json_lines(&text)[2]["messages"][0]["content"], rare);
}

#[test]
fn pairs_that_cannot_be_read_are_named_by_line_and_nothing_is_answered() {
    let place = Place::new();
    let good = b"{\"reference\":\"a\",\"candidate\":\"a\"}\n";
    for bad in [&b"{\"reference\":\"a\"}"[..], b"{\"reference\":\"\xff\",\"candidate\":\"\"}", b"{"]
    {
        let file = place.file("pairs.jsonl", [&good[..], bad].concat());
        homespun(&["rouge", "--pairs", &file]).refused(&["pairs.jsonl", "line 2"]);
    }
}

#[test]
fn a_dialogue_that_the_template_refuses_is_left_out_and_the_others_are_learned() {
    let place = Place::new();
    let template = "{% if 'forbidden' in messages[0].content %}{{ raise_exception('no') }}{% endif %}\
                    {% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    let template = place.file("t.jinja", template);
    let row = |question: &str| {
        format!(
            "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{question}\"}},\
             {{\"role\":\"assistant\",\"content\":\"Yes.\"}}]}}"
        )
    };
    let data = place.file("data.jsonl", [row("Tea?"), row("forbidden"), row("Cake?")].join("\n"));
    let out = place.path("out");
    let model = ["--model", "builtin", "--template", &template, "--data", &data];
    let train = [&["train", "--out", &out, "--steps", "1", "--batch", "2"][..], &model].concat();
    let run = homespun(&train).fine();
    assert!(run.stderr.contains("dialogue 2") && run.stderr.contains("t.jinja"), "{run:?}");
    let evaluate = homespun(&[&["evaluate", "--json"][..], &model].concat()).fine();
    assert_eq!(number(&evaluate.json(), "dialogues"), 2.0);
}
