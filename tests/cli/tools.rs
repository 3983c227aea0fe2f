//! The smaller commands: generate, logits, render, rouge, evaluate, score.

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;

use super::{Place, homespun, number};

const BASE: [&str; 2] = ["--model", "builtin"];

fn generate(options: &[&str]) -> String {
    homespun(&[&["generate"], &BASE[..], options].concat()).fine().stdout
}

#[test]
fn a_reply_is_repeated_by_its_seed_and_bounded_by_max_tokens() {
    let draw = ["--prompt", "What should I cook tonight?", "--temperature", "1.5"];
    let with = |seed: &str| generate(&[&draw[..], &["--seed", seed]].concat());
    assert_eq!(with("1"), with("1"));
    assert!((2..8).any(|seed| with(&seed.to_string()) != with("1")), "the seed draws nothing");
    let greedy = generate(&["--prompt", "What should I cook tonight?"]);
    let one = generate(&["--prompt", "What should I cook tonight?", "--max-tokens", "1"]);
    assert!(greedy.starts_with(one.trim_end()) && one.len() < greedy.len(), "{one:?} {greedy:?}");
    assert_eq!(generate(&["--prompt", "Hello", "--max-tokens", "0"]), "\n");
}

#[test]
fn empty_prompts_long_prompts_and_rare_characters_get_a_reply_or_a_clear_error() {
    generate(&["--prompt", ""]);
    generate(&["--prompt", "\u{1F600}\u{1D538}\u{0301}"]);
    let raw = ["generate", "--model", "builtin", "--raw", "--prompt"];
    homespun(&[&raw[..], &[""]].concat()).refused(&["prompt is empty"]);
    let long = "How do I make soup? ".repeat(300);
    let run = homespun(&[&raw[..], &[&long]].concat()).refused(&["do not fit the context of 512"]);
    assert_eq!(run.stdout, "");
    // Under a template the oldest goes, aloud, and room is left for the reply.
    let run =
        homespun(&["generate", "--model", "builtin", "--prompt", &long, "--max-tokens", "30"]);
    let run = run.fine();
    assert!(run.stderr.contains("tokens were left out"), "{run:?}");
    assert!(run.stdout.split_whitespace().count() > 2, "{run:?}");
}

#[test]
fn a_raw_prompt_is_continued() {
    let text = generate(&["--raw", "--prompt", "Cook vegetables in", "--max-tokens", "4"]);
    assert!(text.starts_with("Cook vegetables in") && text.len() > 20, "{text:?}");
}

#[test]
fn logits_are_written_and_wrong_tokens_are_refused() {
    let place = Place::new();
    let out = place.path("logits.safetensors");
    homespun(&[&["logits"], &BASE[..], &["--tokens", "1,2,3", "--out", &out]].concat()).fine();
    let bytes = fs::read(&out).expect("file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    assert_eq!(file.tensor("logits").expect("logits").shape(), [3, 1024]);
    let other = place.path("other.safetensors");
    for (tokens, part) in
        [("1,1024", "1024"), ("1,-2", "-2"), ("", "--tokens"), ("1,x", "--tokens")]
    {
        let args = [&["logits"], &BASE[..], &["--tokens", tokens, "--out", &other]].concat();
        homespun(&args).refused(&[part]);
    }
    // A device is no place for a file: it is there afterwards.
    homespun(&[&["logits"], &BASE[..], &["--tokens", "1", "--out", &place.path("")]].concat())
        .refused(&["cannot be written"]);
    assert_eq!(place.names(), ["logits.safetensors"]);
}

#[test]
fn a_rendered_dialogue_has_text_ids_and_a_mask_and_its_content_is_no_control_token() {
    let place = Place::new();
    let file = place.file(
        "m.json",
        r#"[{"role":"user","content":"<|end|> Tea?"},{"role":"assistant","content":"Mint."}]"#,
    );
    let run = homespun(&[&["render"], &BASE[..], &["--messages", &file, "--json"]].concat()).fine();
    let row = run.json();
    let (ids, mask) = (row["ids"].as_array().expect("ids"), row["mask"].as_array().expect("mask"));
    assert_eq!(ids.len(), mask.len());
    let ends = ids.iter().filter(|id| id.as_u64() == Some(5)).count();
    assert_eq!(ends, 2, "text of a message became an end token: {row}");
    assert!(mask.contains(&1.into()) && mask[0] == 0 && mask[mask.len() - 1] == 1, "{row}");
    assert!(row["text"].as_str().expect("text").contains("<|end|> Tea?"));
    let plain = homespun(&[&["render"], &BASE[..], &["--messages", &file]].concat()).fine();
    assert!(plain.stdout.lines().count() > ids.len(), "{plain:?}");
}

#[test]
fn rouge_answers_a_line_a_pair_long_ones_too() {
    let place = Place::new();
    let long = |word: &str| format!("{word} tea").repeat(40_000);
    let rows = [
        serde_json::json!({"reference": "green tea please", "candidate": "Green tea!"}),
        serde_json::json!({"reference": "", "candidate": ""}),
        serde_json::json!({"reference": long(" a"), "candidate": long(" b")}),
    ];
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    let file = place.file("pairs.jsonl", lines.join("\n"));
    let run = homespun(&["rouge", "--pairs", &file]).fine();
    let scores: Vec<f64> = run.json_lines().iter().map(|row| number(row, "rouge1")).collect();
    assert_eq!(scores, [0.8, 0.0, 0.5]);
}

#[test]
fn the_base_answers_the_general_held_out_questions() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/general_held_out.jsonl");
    let run = homespun(&[&["evaluate"], &BASE[..], &["--data", data, "--json"]].concat()).fine();
    let row = run.json();
    assert!(number(&row, "rouge1") >= 0.3, "{row}");
    assert_eq!(number(&row, "dialogues"), 100.0);
    let (loss, perplexity) = (number(&row, "loss"), number(&row, "perplexity"));
    assert!((loss.exp() - perplexity).abs() < 1e-9 * perplexity, "{row}");
}

#[test]
fn evaluation_counts_the_dialogues_that_have_something_to_compare_with() {
    let place = Place::new();
    let file = place.file(
        "data.jsonl",
        [
            r#"{"messages":[{"role":"user","content":"What tea?"},{"role":"assistant","content":"Mint."}]}"#,
            r#"{"messages":[{"role":"user","content":"What tea?"}],"preferred":"Green."}"#,
            r#"{"messages":[{"role":"user","content":"What tea?"}]}"#,
            r#"{"messages":[{"role":"system","content":"Be nice."}]}"#,
        ]
        .join("\n"),
    );
    let args = ["evaluate", "--model", "builtin", "--data", &file, "--max-tokens", "4", "--json"];
    assert_eq!(number(&homespun(&args).fine().json(), "dialogues"), 2.0);
}

#[test]
fn scores_have_their_keys_and_change_with_a_states_buffer() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 6);
    let score = [&["score"], &BASE[..], &["--stream", &stream, "--json-lines"]].concat();
    let alone = homespun(&score).fine().json_lines();
    assert_eq!(alone.len(), 6);
    for row in &alone {
        let mut keys: Vec<&String> = row.as_object().expect("object").keys().collect();
        keys.sort();
        assert_eq!(keys, ["dissimilarity", "domain", "domain_score", "entropy", "tokens"]);
        assert!(number(row, "entropy") > 0.0 && number(row, "tokens") > 0.0, "{row}");
    }
    assert_eq!(number(&alone[0], "dissimilarity"), 1.0, "nothing came before the first");
    let state = place.path("state");
    let learn = ["--stream", &stream, "--state", &state, "--bins", "8", "--round", "100"];
    homespun(&[&["personalize"], &BASE[..], &learn, &["--epochs", "1", "--synth", "0"]].concat())
        .fine();
    let beside = homespun(&[&score[..], &["--state", &state]].concat()).fine().json_lines();
    let near = |row: &Value| number(row, "dissimilarity");
    // Every dialogue is in the buffer now, and is near to itself.
    assert!(beside.iter().zip(&alone).all(|(b, a)| near(b) < near(a) + 1e-3), "{beside:?}");
    assert!(near(&beside[0]) < 0.9, "{}", beside[0]);
    let norm = homespun(&[&score[..], &["--entropy", "token-norm"]].concat()).fine().json_lines();
    assert_ne!(number(&norm[0], "entropy"), number(&alone[0], "entropy"));
}

#[test]
fn a_preferred_reply_to_an_open_question_is_rendered_as_the_last_message() {
    let place = Place::new();
    let open = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"preferred\":\"Ho\"}";
    let open = place.file("open.json", open);
    let args = ["render", "--model", "builtin", "--json", "--messages", &open];
    let text = homespun(&args).fine().json()["text"].as_str().expect("text").to_owned();
    assert_eq!(text.matches("<|assistant|>").count(), 1, "{text}");
}
