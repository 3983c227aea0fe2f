//! `homespun score` against the definitions over transformers' hidden states, as `oracle/scores.py`
//! wrote them for the built-in model. `oracle/check_score.py` does the same on real dialogues.

use std::fs;

use homespun_core::select::entropy;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::cli::{Place, homespun, json_lines, number};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/scores/");
const BINS: usize = 100;

/// A dialogue's figures and the state that its entropy was taken of.
#[derive(Clone, Debug)]
struct Row {
    entropy: f64,
    domain_score: f64,
    domain: String,
    dissimilarity: f64,
    tokens: usize,
    last: Vec<f32>,
}

/// The rows of a tensor (N, D) of a safetensors file.
fn tensor(bytes: &[u8], name: &str) -> Vec<Vec<f32>> {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    let view = file.tensor(name).expect("tensor");
    let floats: Vec<f32> =
        view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    floats.chunks(view.shape()[1]).map(<[f32]>::to_vec).collect()
}

fn rows(lines: &[Value], states: Vec<Vec<f32>>) -> Vec<Row> {
    assert_eq!(lines.len(), states.len());
    let rows = lines.iter().zip(states).map(|(line, last)| Row {
        entropy: number(line, "entropy"),
        domain_score: number(line, "domain_score"),
        domain: line["domain"].as_str().expect("domain").to_owned(),
        dissimilarity: number(line, "dissimilarity"),
        tokens: number(line, "tokens") as usize,
        last,
    });
    rows.collect()
}

fn golden_lines() -> Vec<Value> {
    json_lines(include_str!("golden/scores/scores.jsonl"))
}

fn golden() -> Vec<Row> {
    rows(&golden_lines(), tensor(include_bytes!("golden/scores/states.safetensors"), "last"))
}

/// What `homespun score` prints of the golden stream, and the file of its `--states`.
fn score(options: &[&str]) -> (Vec<Value>, Vec<u8>) {
    let place = Place::new();
    let states = place.path("states.safetensors");
    let (stream, lexicons) = (format!("{FOLDER}stream.jsonl"), format!("{FOLDER}lexicons.tsv"));
    let line = ["score", "--model", "builtin", "--stream", &stream, "--lexicons", &lexicons];
    let more = ["--json-lines", "--strict", "--states", &states];
    let run = homespun(&[&line[..], &more, options].concat()).fine();
    (run.json_lines(), fs::read(states).expect("states"))
}

/// Which of the 100 bins each component falls in: the last whose lower edge it reaches.
fn bins(state: &[f32]) -> Vec<usize> {
    let (low, high) = state.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| {
        (low.min(f64::from(x)), high.max(f64::from(x)))
    });
    let step = (high - low) / BINS as f64;
    let place = |&x: &f32| (1..BINS).take_while(|&k| low + k as f64 * step <= f64::from(x)).count();
    state.iter().map(place).collect()
}

/// How `ours` departs from `theirs`; empty if it does not. `entropy`: of a given state and tokens.
fn departures(ours: &[Row], theirs: &[Row], entropy: impl Fn(&[f32], usize) -> f64) -> Vec<String> {
    let mut found = Vec::new();
    let mut far = 0;
    for (k, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let mut expect = |good: bool, what: &str| {
            if !good {
                found.push(format!("dialogue {k}: {what}: {a:?}, not {b:?}"));
            }
        };
        expect(a.tokens == b.tokens, "tokens");
        expect(a.domain == b.domain, "domain");
        expect(a.domain_score == b.domain_score, "domain score");
        expect((a.dissimilarity - b.dissimilarity).abs() <= 1e-4, "dissimilarity");
        expect((entropy(&b.last, b.tokens) - b.entropy).abs() <= 1e-9, "entropy of their state");
        expect((entropy(&a.last, a.tokens) - a.entropy).abs() <= 1e-9, "entropy of our state");
        let range = b.last.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        let near = a.last.iter().zip(&b.last).all(|(x, y)| (x - y).abs() <= 1e-4 * range);
        expect(near, "state");
        if (a.entropy - b.entropy).abs() > 1e-4 {
            far += 1;
            let moved = bins(&a.last).iter().zip(bins(&b.last)).any(|(&x, y)| x != y);
            expect(moved, "entropy, and no component changed bin");
        }
    }
    if ours.len() != theirs.len() || far * 5 > theirs.len() {
        found.push(format!("{far} of {} entropies are off by more than 1e-4", theirs.len()));
    }
    found
}

#[test]
fn scores_equal_the_definitions_over_the_states_of_transformers() {
    let theirs = golden();
    assert!(theirs.len() > 20 && theirs.iter().any(|row| row.tokens == 512));
    for isa in [&[][..], &["--isa", "scalar"]] {
        let (lines, states) = score(isa);
        let ours = rows(&lines, tensor(&states, "last"));
        let found = departures(&ours, &theirs, entropy::histogram);
        assert!(found.is_empty(), "{found:#?}");
        let worst = |of: &dyn Fn(&Row) -> f64| {
            ours.iter().zip(&theirs).map(|(a, b)| (of(a) - of(b)).abs()).fold(0.0, f64::max)
        };
        let (idd, eoe) = (worst(&|row| row.dissimilarity), worst(&|row| row.entropy));
        eprintln!("{isa:?}: dissimilarity {idd:.1e}, entropy end to end {eoe:.1e}");
    }
}

#[test]
fn the_entropy_over_token_norms_equals_its_definition_too() {
    let (lines, _) = score(&["--entropy", "token-norm"]);
    for (ours, theirs) in lines.iter().zip(golden_lines()) {
        let apart = (number(ours, "entropy") - number(&theirs, "token_norm")).abs();
        assert!(apart <= 1e-6, "{apart:.1e}: {ours} {theirs}");
    }
}

#[test]
fn the_states_that_are_written_are_those_of_the_embedding_asked_for() {
    let (_, states) = score(&["--embedding", "last"]);
    assert_eq!(tensor(&states, "last"), tensor(&states, "embedding"));
    let (_, states) = score(&[]);
    assert_ne!(tensor(&states, "last"), tensor(&states, "embedding"));
}

#[test]
fn states_that_cannot_be_written_are_refused_before_the_first_dialogue() {
    let place = Place::new();
    let stream = place.stream("stream.jsonl", 2);
    let score = ["score", "--model", "builtin", "--stream", &stream, "--json-lines", "--states"];
    for name in ["", "no/such/folder/states.safetensors"] {
        let path = place.path(name);
        homespun(&[&score[..], &[&path]].concat()).refused(&["cannot be written"]);
    }
    assert_eq!(place.names(), ["stream.jsonl"]);
}

/// The entropy with a base of logarithms, a number added to the tokens and a number of bins.
fn wrong_entropy(log: fn(f64) -> f64, extra: f64, parts: usize) -> impl Fn(&[f32], usize) -> f64 {
    move |state, tokens| {
        let low = f64::from(state.iter().copied().fold(f32::MAX, f32::min));
        let high = f64::from(state.iter().copied().fold(f32::MIN, f32::max));
        let mut counts = vec![0.0; parts];
        for &x in state {
            let place = (f64::from(x) - low) / (high - low) * parts as f64;
            counts[(place as usize).min(parts - 1)] += 1.0 / state.len() as f64;
        }
        let sum: f64 = counts.iter().filter(|&&p| p > 0.0).map(|&p| -p * log(p)).sum();
        sum / (tokens as f64 + extra).log2()
    }
}

#[test]
fn the_golden_scores_catch_planted_bugs() {
    let theirs = golden();
    let misses =
        |entropy: &dyn Fn(&[f32], usize) -> f64| departures(&theirs, &theirs, entropy).len() / 2;
    // Without a bug the same arithmetic is the definition.
    assert_eq!(misses(&wrong_entropy(f64::log2, 1.0, BINS)), 0);
    assert_eq!(misses(&wrong_entropy(f64::ln, 1.0, BINS)), theirs.len(), "natural logarithm");
    assert_eq!(misses(&wrong_entropy(f64::log2, 0.0, BINS)), theirs.len(), "n for n + 1");
    assert!(misses(&wrong_entropy(f64::log2, 1.0, BINS + 1)) > theirs.len() / 2, "101 bins");
    let f32_entropy = |state: &[f32], n: usize| f64::from(entropy::histogram(state, n) as f32);
    assert!(misses(&f32_entropy) > theirs.len() / 2, "an entropy rounded to f32");

    let spoilt = |spoil: &dyn Fn(usize, &mut Row)| {
        let mut ours = theirs.clone();
        ours.iter_mut().enumerate().for_each(|(k, row)| spoil(k, row));
        departures(&ours, &theirs, entropy::histogram).len()
    };
    assert_eq!(spoilt(&|_, _| ()), 0);
    assert!(spoilt(&|_, row| row.domain_score = f64::from(row.domain_score as f32)) > 3, "f32");
    assert!(spoilt(&|_, row| row.domain_score *= 4.0) > 3, "hits not divided by lexicons");
    assert_eq!(spoilt(&|_, row| row.dissimilarity += 2e-4), theirs.len(), "dissimilarity");
    assert!(spoilt(&|k, row| row.domain = theirs[k / 2].domain.clone()) > 3, "domains");
    let last = |k: usize, row: &mut Row| row.last.clone_from(&theirs[(k + 1) % theirs.len()].last);
    assert!(spoilt(&last) > theirs.len(), "the state of another dialogue");
    // Entropies that jumped without a component that changed bin.
    let jump = |k: usize, row: &mut Row| row.entropy += if k == 3 { 2e-4 } else { 0.0 };
    assert_eq!(spoilt(&jump), 2, "a jump that nothing explains");
}
