//! `homespun experiment`: however it is cut up, its results are the same bytes; what is wrong with it is
//! said before any work; its report holds what it must. A cell that forgot, after a cut, which rounds were
//! behind it was seen to fail here, and so was a split by ids alone in `split`.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use homespun_core::rng::Rng;
use homespun_kernels::Kernels;
use homespun_runtime::builtin::{self, Size};
use homespun_runtime::dialogue::Dialogue;
use serde_json::Value;

use super::{Place, binary, homespun, json_lines, names, number};

/// Every arm that differs in how it is run, two seeds, two rounds over two dozen dialogues.
const SPEC: &str = "model = \"builtin\"
policies = [\"none\", \"random\", \"fifo\", \"k-center\", \"quality\", \"all\", \"shuffled\"]
bins = [10]
synth = [1]
rounds = 2
seeds = [0, 1]
epochs = 2
patience = 1
lr = 5e-3
batch = 4
loss = \"response\"
reply_tokens = 16
temperature = [0, 0.5]
evaluate = 6
general = \"general.jsonl\"
[[streams]]
name = \"user\"
file = \"stream.jsonl\"
held_out = \"held.jsonl\"
first = 24
";

fn named(dialogues: Vec<Dialogue>, prefix: &str) -> Vec<Dialogue> {
    let name = |(i, d): (usize, Dialogue)| Dialogue { id: Some(format!("{prefix}{i}")), ..d };
    dialogues.into_iter().enumerate().map(name).collect()
}

/// The experiment's files; gives that of `spec`.
fn files(place: &Place, spec: &str) -> String {
    let user = builtin::stream(7, Size { dialogues: 40, held_out: 6, tastes: 4 });
    let other = builtin::stream(8, Size { dialogues: 4, held_out: 4, tastes: 4 });
    place.dialogues("stream.jsonl", &named(user.dialogues, "s"));
    place.dialogues("held.jsonl", &named(user.held_out, "h"));
    place.dialogues("general.jsonl", &named(other.held_out, "g"));
    place.file("spec.toml", spec)
}

fn arguments(spec: &str, out: &str, more: &[&str]) -> Vec<String> {
    let isa = Kernels::detect().isa().name();
    let args = ["experiment", spec, "--out", out, "--isa", isa];
    [&args[..], more].concat().into_iter().map(str::to_owned).collect()
}

fn experiment(spec: &str, out: &str, more: &[&str]) -> super::Run {
    let args = arguments(spec, out, more);
    homespun(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn start(args: &[String]) -> Child {
    let mut command = binary::command();
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// `results.jsonl`, and every cell's lines and replies: all that must be the same.
fn results(out: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for name in names(format!("{out}/cells").as_ref()) {
        if name.ends_with(".jsonl") {
            all.push(format!("cells/{name}"));
        }
    }
    all.push("results.jsonl".into());
    let read = |name: String| {
        let text = fs::read_to_string(format!("{out}/{name}")).expect("results");
        (name, text)
    };
    all.into_iter().map(read).collect()
}

/// The cells in the making that have a round behind them.
fn rounds(out: &str) -> BTreeSet<PathBuf> {
    let cells = Path::new(out).join("scratch").read_dir().into_iter().flatten().flatten();
    cells.map(|cell| cell.path().join("rounds.jsonl")).filter(|file| file.exists()).collect()
}

#[test]
fn cut_sharded_and_in_parallel_the_results_are_the_same_bytes_and_the_report_tells_them() {
    let place = Place::new();
    let spec = files(&place, SPEC);
    let whole = place.path("whole");
    let said = experiment(&spec, &whole, &["--threads", "1"]).fine();
    assert!(said.stderr.contains("14 cells, 0 of this shard done before, 14 to run"), "{said:?}");
    assert_eq!(said.stdout.trim(), format!("{whole}/report.md"));
    let expected = results(&whole);
    check_rows(&json_lines(&expected.last().expect("results.jsonl").1));
    check_report(&place, &whole);

    // Four processes in one folder at once.
    let shards = place.path("shards");
    let processes: Vec<Child> = (0..4)
        .map(|i| start(&arguments(&spec, &shards, &["--shard", &format!("{i}/4"), "--jobs", "1"])))
        .collect();
    for child in processes {
        let output = child.wait_with_output().expect("output");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(results(&shards) == expected, "shards");

    // Killed and told to stop, with other numbers of jobs and threads.
    let cut = place.path("cut");
    let mut rng = Rng::new(5);
    let (mut kills, mut stops) = (0, 0);
    for round in 0.. {
        if kills >= 2 && stops >= 2 {
            break;
        }
        let name = ["KILL", "INT", "TERM"][round % 3];
        let jobs = (1 + round % 3).to_string();
        let before = rounds(&cut);
        let mut child = start(&arguments(&spec, &cut, &["--jobs", &jobs, "--threads", "4"]));
        // Into the second round of a cell, which then goes on after its first.
        while rounds(&cut).is_subset(&before) {
            assert!(child.try_wait().expect("wait").is_none(), "it ended before it was cut");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(rng.below(40)));
        let pid = child.id().to_string();
        Command::new("kill").args(["-s", name, &pid]).status().expect("kill");
        let output = child.wait_with_output().expect("output");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            None => kills += 1,
            Some(130 | 143) => {
                assert!(said.contains("the same command goes on"), "{said}");
                stops += 1;
            }
            code => panic!("it ended before it was cut: {code:?} {said}"),
        }
    }
    experiment(&spec, &cut, &["--jobs", "2"]).fine();
    assert!(results(&cut) == expected, "cut {kills} times, stopped {stops} times");
    assert_eq!(names(format!("{cut}/scratch").as_ref()), [""; 0]);

    // What is done is not done again; what another learning rate changes is, the untuned base aside.
    let said = experiment(&spec, &whole, &["--dry-run"]).fine().stderr;
    assert!(said.contains("14 cells, 14 of this shard done before, 0 to run"), "{said}");
    let greedy = place.file("greedy.toml", SPEC.replace("[0, 0.5]", "0"));
    let said = experiment(&greedy, &place.path("greedy"), &["--dry-run"]).fine().stderr;
    assert!(said.contains("13 to run"), "greedy replies of the base are those of any seed: {said}");
    let other = place.file("other.toml", SPEC.replace("lr = 5e-3", "lr = 4e-3"));
    let said = experiment(&other, &whole, &["--budget", "0s"]).fine().stderr;
    assert!(said.contains("14 cells, 2 of this shard done before, 12 to run"), "{said}");
    assert!(said.contains("not run within the budget, 12 cells:"), "{said}");
    assert_eq!(said.matches("user quality bins 10 synth 1 seed").count(), 2, "{said}");
}

/// The lines that a whole experiment has.
fn check_rows(rows: &[Value]) {
    // Two lines a seed for the base, at two temperatures; three rounds of two for each other cell.
    assert_eq!(rows.len(), 2 * 2 + 12 * 3 * 2);
    let of = |policy: &str, seed: u64, round: u64, temperature: f64| -> &Value {
        let same = |row: &&Value| {
            row["policy"] == policy
                && row["seed"] == seed
                && row["round"] == round
                && row["temperature"] == temperature
        };
        rows.iter().find(same).unwrap_or_else(|| panic!("{policy} {seed} {round}"))
    };
    for row in rows {
        for key in ["rouge1", "loss", "general_loss", "reply_words", "distinct2"] {
            assert!(number(row, key).is_finite(), "{row}");
        }
        assert_eq!(row["part"], "held_out");
    }
    for seed in [0, 1] {
        for temperature in [0.0, 0.5] {
            let base = of("none", seed, 0, temperature);
            let first = of("quality", seed, 0, temperature);
            assert_eq!(base["rouge1"], first["rouge1"], "a curve begins at the base");
        }
        let asked = |policy, round| number(of(policy, seed, round, 0.0), "annotations");
        assert_eq!((asked("all", 1), asked("all", 2)), (12.0, 24.0), "every dialogue is asked for");
        assert_eq!((asked("fifo", 1), asked("fifo", 2)), (10.0, 20.0), "those of a full buffer");
        assert_eq!(asked("quality", 1), 10.0);
        assert!((10.0..20.0).contains(&asked("quality", 2)), "what was asked is not asked again");
        let learned = |policy| of(policy, seed, 2, 0.0)["loss"].clone();
        assert_ne!(learned("all"), of("none", seed, 0, 0.0)["loss"], "all data teaches nothing");
        assert_ne!(learned("quality"), learned("shuffled"), "nothing was shuffled");
        assert_ne!(learned("quality"), learned("fifo"), "the policies are one");
    }
    assert_ne!(of("all", 0, 2, 0.0)["loss"], of("all", 1, 2, 0.0)["loss"], "the seed does nothing");
}

/// The report of a whole experiment.
fn check_report(place: &Place, out: &str) {
    let markdown = fs::read_to_string(format!("{out}/report.md")).expect("report");
    let html = fs::read_to_string(format!("{out}/report.html")).expect("report");
    let setup = fs::read_to_string(format!("{out}/experiment.json")).expect("setup");
    let setup: Value = serde_json::from_str(&setup).expect("JSON");
    let hash = |value: &Value| value.as_str().expect("hash")[..16].to_owned();
    let rows = json_lines(&fs::read_to_string(format!("{out}/results.jsonl")).expect("results"));
    let last: Vec<f64> = rows
        .iter()
        .filter(|row| row["policy"] == "quality" && row["round"] == 2 && row["temperature"] == 0.0)
        .map(|row| number(row, "rouge1"))
        .collect();
    let mean = (last[0] + last[1]) / 2.0;
    let sd = (last[0] - last[1]).abs() / 2f64.sqrt();
    for part in [
        format!("{mean:.4} ± {sd:.4}"),
        hash(&setup["streams"][0]["hashes"]["stream"]),
        hash(&setup["streams"][0]["hashes"]["held_out"]),
        hash(&setup["model"]["weights"]),
        "homespun experiment".into(),
        "paired bootstrap".into(),
        "paper: ALPACA".into(),
        "+38%".into(),
        "distinct-2".into(),
        "general loss before".into(),
        "Replies before and after".into(),
        "all over none".into(),
        "temperature 0.5".into(),
    ] {
        assert!(markdown.contains(&part), "{part:?} is not in {markdown}");
        assert!(html.contains(&part), "{part:?} is not in the HTML");
    }
    for arm in ["none", "random", "fifo", "k-center", "quality", "all", "shuffled"] {
        assert!(
            markdown.lines().any(|line| line.trim_start_matches("| **").contains(arm)),
            "{arm}"
        );
    }
    assert_eq!(html.matches("<svg").count(), 2);
    for name in ["curves-user.svg", "bars-user.svg"] {
        assert!(markdown.contains(name), "{name}");
        let svg = fs::read_to_string(format!("{out}/{name}")).expect(name);
        assert!(html.contains(svg.trim()), "{name} is not in the HTML");
    }
    for outside in ["<script", "src=", "href=", "@import"] {
        assert!(!html.contains(outside), "the HTML is not self-contained: {outside}");
    }
    // Without dialogues and replies.
    let held_out =
        json_lines(&fs::read_to_string(format!("{out}/streams/user.jsonl")).expect("held"));
    let wanted = held_out[0]["reference"].as_str().expect("reference");
    assert!(markdown.contains(wanted), "{wanted}");
    let without = place.path("without");
    let report = ["experiment", "report", out, "--out", &without, "--without-replies"];
    homespun(&report).fine();
    let text = fs::read_to_string(format!("{without}/report.md")).expect("report");
    assert!(!text.contains(wanted) && text.contains("paper: ALPACA"));
    // A result that was tampered with is named, and another's is not mixed in.
    let bad = place.path("bad");
    homespun(&["experiment", "report", &bad]).refused(&["bad/results.jsonl"]);
    fs::create_dir(&bad).expect("folder");
    fs::copy(format!("{out}/experiment.json"), format!("{bad}/experiment.json")).expect("copy");
    fs::write(format!("{bad}/results.jsonl"), "{}\n").expect("file");
    fs::create_dir(format!("{bad}/streams")).expect("folder");
    fs::write(format!("{bad}/streams/user.jsonl"), "").expect("file");
    homespun(&["experiment", "report", &bad])
        .refused(&["bad/results.jsonl: line 1: missing field"]);
    let other = fs::read_to_string(format!("{out}/experiment.json")).expect("setup");
    let hash = setup["model"]["weights"].as_str().expect("hash");
    fs::write(format!("{bad}/experiment.json"), other.replace(hash, "other")).expect("file");
    homespun(&["experiment", "report", out, &bad]).refused(&["bad/experiment.json: model: "]);
}

#[test]
fn what_is_wrong_is_said_before_any_work_with_the_file_and_the_key() {
    let place = Place::new();
    files(&place, SPEC);
    let out = place.path("out");
    let refused = |spec: String, parts: &[&str]| {
        let spec = place.file("bad.toml", spec);
        experiment(&spec, &out, &[]).refused(&[&["bad.toml: "], parts].concat());
        assert!(!Path::new(&out).exists(), "work was done in spite of {parts:?}");
    };
    let with = |from: &str, to: &str| {
        assert!(SPEC.contains(from), "{from}");
        SPEC.replace(from, to)
    };
    refused(with("policies", "polices"), &["unknown field `polices`"]);
    refused(with("\"quality\"", "\"best\""), &["policies: \"best\" is not one of none, all"]);
    refused(with("bins = [10]", "bins = [0]"), &["bins: must be between 1 and"]);
    refused(with("\"stream.jsonl\"", "\"no.jsonl\""), &["streams.file", "no.jsonl"]);
    refused(with("\"held.jsonl\"", "\"no.jsonl\""), &["streams.held_out", "no.jsonl"]);
    refused(with("first = 24", "first = 9"), &["streams.file", "9 dialogues", "10 are needed"]);
    refused(
        with("held_out = \"held.jsonl\"", "share = { stream = 0.8, development = 0.4 }"),
        &["streams.share", "more than 1"],
    );
    refused(with("[[streams]]", "[[streams]]\nsize = 1"), &["unknown field `size`"]);
    refused(with("model = \"builtin\"", "model = \"nowhere\""), &["model: ", "nowhere"]);

    // What is held out is in the stream, behind what `first` takes, in other letters.
    let user = builtin::stream(7, Size { dialogues: 40, held_out: 6, tastes: 4 });
    let mut leak = named(user.held_out.clone(), "h");
    let mut seen = user.dialogues[30].clone();
    seen.messages[0].content = format!("  {} ", seen.messages[0].content.to_uppercase());
    leak.push(Dialogue { id: Some("leak".into()), ..seen });
    place.dialogues("held.jsonl", &leak);
    refused(SPEC.to_owned(), &["streams.held_out of \"user\"", "\"leak\"", "\"s30\""]);
    place.dialogues("held.jsonl", &named(user.held_out, "h")[..1]);
    refused(SPEC.to_owned(), &["held_out part has 1 dialogues", "2 are needed"]);
    place.file("held.jsonl", "{}\n");
    let spec = place.file("bad.toml", SPEC);
    experiment(&spec, &out, &[]).refused(&["held.jsonl: line 1: messages"]);
    let missing = place.path("missing.toml");
    experiment(&missing, &out, &[]).refused(&["missing.toml"]);
    for (option, value) in [("--shard", "4/4"), ("--budget", "5"), ("--jobs", "0")] {
        experiment(&spec, &out, &[option, value]).refused(&[option]);
    }
    homespun(&["experiment", "--quick"]).refused(&["--out"]);
    homespun(&["experiment", &spec, "--quick", "--out", &out]).refused(&["--quick"]);
    assert!(!Path::new(&out).exists());
}
