//! ROUGE-1 against Google's `rouge_score`; the golden file is written by `oracle/rouge.py`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use homespun_core::rouge::{Rouge1, rouge1, rouge1_in};

/// Rows of the golden file whose figures `rouge` misses by more than 1e-9, and how many there are.
fn misses(rouge: impl Fn(&str, &str) -> Rouge1) -> (Vec<usize>, usize) {
    let golden = include_str!("golden/rouge.jsonl");
    let mut missed = Vec::new();
    for (line, row) in golden.lines().enumerate() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let text = |key: &str| row[key].as_str().unwrap();
        let ours = rouge(text("reference"), text("candidate"));
        let figures = [("precision", ours.precision), ("recall", ours.recall), ("f1", ours.f1)];
        if figures.iter().any(|&(key, x)| (x - row[key].as_f64().unwrap()).abs() > 1e-9) {
            missed.push(line + 1);
        }
    }
    (missed, golden.lines().count())
}

#[test]
fn rouge_1_equals_the_golden_figures_of_rouge_score() {
    let (missed, rows) = misses(rouge1);
    assert!(missed.is_empty() && rows > 180, "lines {missed:?} of {rows}");
    let (missed, _) = misses(|reference, candidate| {
        let candidate = candidate.to_owned();
        rouge1_in(reference, &candidate, &mut vec![""; 400])
    });
    assert!(missed.is_empty(), "sorted: lines {missed:?}");
}

#[test]
fn the_golden_file_catches_planted_bugs() {
    let ascii_only = |text: &str| text.replace(['\u{130}', '\u{212A}'], "-");
    let (missed, _) = misses(|r, c| rouge1(&ascii_only(r), &ascii_only(c)));
    assert!(missed.len() > 10, "ASCII lower-casing: {missed:?}");
    let distinct = |text: &str| {
        let mut words: Vec<String> = text.split(' ').map(str::to_lowercase).collect();
        words.sort();
        words.dedup();
        words.join(" ")
    };
    let (missed, _) = misses(|r, c| rouge1(&distinct(r), &distinct(c)));
    assert!(missed.len() > 10, "each word once: {missed:?}");
}
