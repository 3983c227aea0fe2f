//! ROUGE-1 against Google's `rouge_score`, whose figures `oracle/rouge.py` wrote to the golden files:
//! some with their texts, 11,000 for pairs that [`pairs`] makes again.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod pairs;

use std::collections::HashSet;

use homespun_core::rouge::{Rouge1, rouge1, rouge1_in};
use pairs::Fragments;
use sha2::{Digest, Sha256};

/// How far a figure may be from the golden one.
const BAR: f64 = 1e-12;

/// Of `golden/rouge.bin`, as its writer has them.
const PAIRS: usize = 11_000;
const BLOCK: usize = 100;
const SEED: u64 = 20;

/// Precision, recall and F1.
type Figures = [f64; 3];

fn figures(of: Rouge1) -> Figures {
    [of.precision, of.recall, of.f1]
}

/// Two texts and what rouge_score says of them.
struct Row {
    name: String,
    reference: String,
    candidate: String,
    figures: Figures,
}

/// The rows of `golden/rouge.jsonl`.
fn hand_made() -> Vec<Row> {
    let rows = include_str!("golden/rouge.jsonl").lines().enumerate();
    rows.map(|(line, row)| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        Row {
            name: format!("line {}", line + 1),
            reference: text("reference"),
            candidate: text("candidate"),
            figures: ["precision", "recall", "f1"].map(|key| row[key].as_f64().unwrap()),
        }
    })
    .collect()
}

/// The figures that follow from counts of words; the oracle found them equal to rouge_score's to the
/// bit before it wrote the counts.
fn from_counts([matched, candidate, reference]: [u8; 3]) -> Figures {
    let over = |words: u8| f64::from(matched) / f64::from(words.max(1));
    let (precision, recall) = (over(candidate), over(reference));
    let f1 = if matched == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    [precision, recall, f1]
}

/// The pairs of `golden/rouge.bin`, made again and known to be those that it speaks of.
fn drawn() -> Vec<Row> {
    let golden = include_bytes!("golden/rouge.bin");
    let (digests, counts) = golden.split_at(PAIRS / BLOCK * 8);
    let (counts, rest) = counts.as_chunks::<3>();
    assert!(counts.len() == PAIRS && rest.is_empty(), "rouge.bin has {} rows", counts.len());
    let fragments = Fragments::load();
    let rows: Vec<Row> = (0..PAIRS)
        .map(|k| {
            let (reference, candidate) = fragments.pair(SEED, k as u64);
            Row { name: format!("pair {k}"), reference, candidate, figures: from_counts(counts[k]) }
        })
        .collect();
    for (block, (rows, digest)) in rows.chunks(BLOCK).zip(digests.as_chunks::<8>().0).enumerate() {
        let mut ours = Sha256::new();
        for row in rows {
            for text in [&row.reference, &row.candidate] {
                ours.update(text.as_bytes());
                ours.update("\u{ff}".as_bytes());
            }
        }
        let first = block * BLOCK;
        let same = ours.finalize()[..8] == digest[..];
        assert!(same, "the two generators differ in pairs {first} to {}", first + BLOCK - 1);
    }
    rows
}

/// The rows whose figures `rouge` misses, each with what it found.
fn misses(rows: &[Row], rouge: impl Fn(&str, &str) -> Figures) -> Vec<String> {
    rows.iter()
        .filter_map(|row| {
            let ours = rouge(&row.reference, &row.candidate);
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= BAR;
            let all_near = ours.iter().zip(&row.figures).all(near);
            (!all_near).then(|| {
                let Row { name, reference, candidate, figures } = row;
                format!("{name}: {ours:?}, not {figures:?}: {reference:?} {candidate:?}")
            })
        })
        .collect()
}

/// [`rouge1_in`] with room enough to sort.
fn by_sorting(reference: &str, candidate: &str) -> Figures {
    let candidate = candidate.to_owned();
    figures(rouge1_in(reference, &candidate, &mut vec![""; 400]))
}

#[track_caller]
fn expect_none(missed: &[String]) {
    assert!(missed.is_empty(), "{} missed, the first: {}", missed.len(), missed[0]);
}

#[test]
fn rouge_1_equals_the_golden_figures_of_rouge_score() {
    let rows = hand_made();
    assert!(rows.len() > 180);
    expect_none(&misses(&rows, |r, c| figures(rouge1(r, c))));
    expect_none(&misses(&rows, by_sorting));
}

#[test]
fn rouge_1_equals_rouge_score_on_ten_thousand_pairs() {
    let rows = drawn();
    expect_none(&misses(&rows, |r, c| figures(rouge1(r, c))));
    expect_none(&misses(&rows, by_sorting));
    // They are worth the name: few alike, empty, equal and partly equal texts, and much that is not ASCII.
    let distinct: HashSet<_> = rows.iter().map(|row| (&row.reference, &row.candidate)).collect();
    assert!(distinct.len() > 10_000, "{}", distinct.len());
    let count = |what: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| what(row)).count();
    assert!(count(&|row| row.reference.is_empty() || row.candidate.is_empty()) > 500);
    assert!(count(&|row| row.figures[2] == 1.0) > 200);
    assert!(count(&|row| row.figures[2] > 0.0 && row.figures[2] < 1.0) > 5000);
    assert!(count(&|row| !row.reference.is_ascii()) > 5000);
}

/// `text` with whole words changed, where words are what spaces part.
fn each_word(text: &str, change: impl Fn(&mut Vec<String>)) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_lowercase).collect();
    change(&mut words);
    words.join(" ")
}

#[test]
fn the_golden_figures_catch_planted_bugs() {
    type Bug = fn(&str, &str) -> Figures;
    let bugs: [(&str, Bug, usize, usize); 6] = [
        (
            "lower-casing of ASCII alone",
            |r, c| {
                let ascii_only = |text: &str| text.replace(['\u{130}', '\u{212A}'], "-");
                figures(rouge1(&ascii_only(r), &ascii_only(c)))
            },
            10,
            500,
        ),
        (
            "each word once",
            |r, c| {
                let distinct = |words: &mut Vec<String>| {
                    words.sort();
                    words.dedup();
                };
                figures(rouge1(&each_word(r, distinct), &each_word(c, distinct)))
            },
            10,
            2000,
        ),
        (
            "precision and recall exchanged",
            |r, c| {
                let [precision, recall, f1] = figures(rouge1(r, c));
                [recall, precision, f1]
            },
            50,
            2000,
        ),
        (
            "the arithmetic mean",
            |r, c| {
                let [precision, recall, _] = figures(rouge1(r, c));
                [precision, recall, (precision + recall) / 2.0]
            },
            50,
            2000,
        ),
        (
            "words of all scripts",
            |r, c| {
                let plain =
                    |text: &str| text.replace(|c: char| c.is_alphabetic() && !c.is_ascii(), "z");
                figures(rouge1(&plain(r), &plain(c)))
            },
            10,
            2000,
        ),
        ("f32", |r, c| figures(rouge1(r, c)).map(|x| f64::from(x as f32)), 50, 2000),
    ];
    let (hand_made, drawn) = (hand_made(), drawn());
    for (name, bug, of_hand_made, of_drawn) in bugs {
        let (few, many) = (misses(&hand_made, bug).len(), misses(&drawn, bug).len());
        eprintln!("{name}: misses {few} of {}, {many} of {PAIRS}", hand_made.len());
        assert!(few >= of_hand_made && many >= of_drawn, "{name}: {few}, {many}");
    }
}
