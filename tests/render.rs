//! Rendering against transformers: text, ids and loss masks. The goldens are written by
//! `oracle/render.py`; tokenizers outside this repository are skipped, aloud, where absent.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use homespun_runtime::chat::{Chat, Loss};
use homespun_runtime::dialogue::Message;
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The folder of a tokenizer: our own, or a shared one where it is there.
fn folder(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let places = [golden().join("chat"), root.join("../shared/models"), root.join("shared/models")];
    places.into_iter().map(|p| p.join(name)).find(|p| p.is_dir())
}

fn bits(mask: &[bool]) -> String {
    mask.iter().map(|&bit| if bit { '1' } else { '0' }).collect()
}

/// What of `row` our rendering misses: text, ids, response, assistant.
fn misses(chat: &Chat, row: &Value) -> Vec<&'static str> {
    let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
    let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
    let ours = match chat.render(&messages, row["prompt"].as_bool().unwrap()) {
        Ok(ours) => ours,
        Err(error) => panic!("{error}: {row}"),
    };
    let mut missed = Vec::new();
    if row["text"].as_str() != Some(ours.text.as_str()) {
        missed.push("text");
    }
    if ids != ours.ids {
        missed.push("ids");
    }
    for (name, loss) in [("response", Loss::Response), ("assistant", Loss::Assistant)] {
        let mask = row[name].as_str();
        if mask.is_some_and(|mask| mask != bits(&ours.targets(loss))) {
            missed.push(name);
        }
    }
    missed
}

/// Compares every row of `rows`; how many were compared, and the first that differ.
fn compare(rows: &str, mut change: impl FnMut(&mut Value)) -> (usize, Vec<String>) {
    let mut chats: HashMap<String, Option<Chat>> = HashMap::new();
    let (mut compared, mut bad) = (0, Vec::new());
    for line in rows.lines() {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let (name, template) = (row["tokenizer"].as_str().unwrap(), row["template"].as_str());
        let chat = chats.entry(format!("{name} {template:?}")).or_insert_with(|| {
            let Some(dir) = folder(name) else {
                eprintln!("skipped: tokenizer {name} is absent");
                return None;
            };
            let file = template.map(|t| golden().join("chat").join(format!("{t}.jinja")));
            Some(Chat::load(&dir, file.as_deref()).unwrap())
        });
        let Some(chat) = chat else { continue };
        change(&mut row);
        compared += 1;
        let missed = misses(chat, &row);
        if !missed.is_empty() {
            bad.push(format!("{missed:?}: {line}"));
        }
    }
    (compared, bad)
}

#[test]
fn text_ids_and_masks_equal_those_of_transformers() {
    let rows = std::fs::read_to_string(golden().join("render.jsonl")).unwrap();
    let (compared, bad) = compare(&rows, |_| {});
    assert!(bad.is_empty(), "{} of {compared}: {:#?}", bad.len(), &bad[..bad.len().min(3)]);
    assert!(compared > 50, "{compared} rows");
    // More rows, such as `oracle/render.py --data` writes for a stream of real dialogues.
    if let Ok(more) = std::env::var("HOMESPUN_RENDER_ROWS") {
        let (compared, bad) = compare(&std::fs::read_to_string(more).unwrap(), |_| {});
        assert!(bad.is_empty(), "{} of {compared}: {:#?}", bad.len(), &bad[..bad.len().min(3)]);
        eprintln!("{compared} further rows are equal");
    }
}

#[test]
fn the_goldens_catch_planted_bugs() {
    let rows = std::fs::read_to_string(golden().join("render.jsonl")).unwrap();
    let caught = |what: &str, change: &dyn Fn(&mut Value)| {
        let (compared, bad) = compare(&rows, change);
        let caught = bad.iter().filter(|b| b.split(": ").next().unwrap().contains(what)).count();
        assert!(caught * 2 > compared, "{what}: {caught} of {compared}");
    };
    // One id more; a mask that starts one token late; no end token in it.
    caught("ids", &|row| row["ids"].as_array_mut().unwrap().push(0.into()));
    let replace = |row: &mut Value, from: &str, to: &str| {
        if let Some(mask) = row["response"].as_str() {
            row["response"] = mask.replacen(from, to, 1).into();
        }
    };
    caught("response", &|row| replace(row, "01", "00"));
    caught("response", &|row| replace(row, "10", "00"));
}
