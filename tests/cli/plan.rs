//! `plan`: its rows add up, its ceiling is the one that training keeps, and what it refuses.

use core::time::Duration;
use std::fs;
use std::process::Stdio;
use std::thread;

use serde_json::Value;

use super::{Place, homespun, names, number, run};

/// Bytes of the rows of `part`, and its total.
fn rows(plan: &Value, part: &str) -> (f64, f64) {
    let rows = plan[part]["rows"].as_array().expect("rows");
    (rows.iter().map(|row| number(row, "bytes")).sum(), number(&plan[part], "anonymous_bytes"))
}

fn row(plan: &Value, part: &str, what: &str) -> f64 {
    let rows = plan[part]["rows"].as_array().expect("rows");
    number(rows.iter().find(|row| row["what"] == what).expect(what), "bytes")
}

#[test]
fn rows_add_up_and_stay_under_the_ceiling() {
    let args = ["plan", "--model", "builtin", "--train", "--memory", "30M", "--json"];
    let plan = homespun(&args).fine().json();
    for part in ["talking", "training"] {
        let (sum, total) = rows(&plan, part);
        assert!(sum == total && total < 30e6, "{part}: {plan}");
    }
    let adapter = row(&plan, "training", "adapter");
    assert_eq!(row(&plan, "training", "optimiser"), 2.0 * adapter);
    assert_eq!(row(&plan, "training", "gradients"), adapter);
    let frozen = homespun(&[&args[..], &["--freeze-a"]].concat()).fine().json();
    assert!(row(&frozen, "training", "gradients") < adapter, "{frozen}");
    let longer = homespun(&[&args[..], &["--length", "512"]].concat()).fine().json();
    assert!(rows(&longer, "training").1 > rows(&plan, "training").1);
    let table = homespun(&["plan", "--model", "builtin", "--train"]).fine().stdout;
    for part in ["KV cache", "layer inputs", "optimiser", "together", "longest example", "no times"]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn a_higher_ceiling_never_fits_less() {
    let mut before = (0.0_f64, 0.0_f64);
    for ceiling in ["7M", "9M", "20M", "80M"] {
        let args = ["plan", "--model", "builtin", "--train", "--length", "64", "--json"];
        let plan = homespun(&[&args[..], &["--memory", ceiling]].concat()).fine().json();
        let training = &plan["training"];
        let now = (number(training, "longest_example"), number(training, "largest_batch"));
        assert!(now.0 >= before.0.max(64.0) && now.1 >= before.1.max(1.0), "{ceiling}: {plan}");
        before = now;
    }
    assert_eq!(before, (512.0, 64.0));
}

#[test]
fn a_board_brings_its_memory_and_cores_and_an_unknown_one_is_named() {
    let plan = ["plan", "--model", "builtin", "--json", "--board"];
    let pi = homespun(&[&plan[..], &["pi5"]].concat()).fine().json();
    assert_eq!((number(&pi, "threads"), number(&pi, "ceiling_bytes")), (4.0, 6_012_954_213.0));
    assert!(pi["measured"].is_null() && pi["training"].is_null(), "{pi}");
    homespun(&[&plan[..], &["pi6"]].concat()).refused(&["--board", "pi6", "pi5", "jetson_orin"]);
    homespun(&["plan", "--model", "builtin", "--memory", "1Q"]).refused(&["--memory", "1Q"]);
    let bound = "decode_tokens_per_second_at_most";
    let one = homespun(&[&plan[..], &["pi5", "--threads", "1"]].concat()).fine().json();
    let (four, one) = (&pi["model_not_measured"], &one["model_not_measured"]);
    assert!((number(four, bound) / number(one, bound) - 4.0).abs() < 1e-9, "{four} {one}");
    let unknown = homespun(&[&plan[..], &["jetson_orin"]].concat()).fine().json();
    assert!(unknown["model_not_measured"].is_null(), "{unknown}");
    let text = homespun(&["plan", "--model", "builtin", "--board", "pi5"]).fine().stdout;
    assert!(text.contains("a model and not measured: prompt at most"), "{text}");
    let long = ["plan", "--model", "builtin", "--train", "--length", "513"];
    homespun(&long).refused(&["--length", "513", "512"]);
}

#[test]
fn times_come_from_a_bench_that_was_saved_here_and_of_this_model() {
    let place = Place::new();
    let cached = |args: &[&str]| {
        let mut command = super::binary::command();
        run(command.args(args).env("XDG_CACHE_HOME", place.path("cache")))
    };
    let brief = ["--prefill", "8", "--decode", "2", "--repeat", "1", "--threads", "1"];
    let bench = ["bench", "--model", "builtin", "--save", "--json"];
    let report = cached(&[&bench[..], &brief].concat()).fine().json();
    let plan = ["plan", "--model", "builtin", "--json", "--threads"];
    let measured = cached(&[&plan[..], &["1"]].concat()).fine().json()["measured"].clone();
    for key in ["prefill_tokens_per_second", "decode_tokens_per_second"] {
        assert_eq!(measured[key], report[key]);
    }
    assert_eq!(
        (number(&measured, "days_ago"), &measured["train_tokens_per_second"]),
        (0.0, &Value::Null)
    );
    let train = ["--train", "--length", "16", "--batch", "2", "--accumulate", "3"];
    cached(&[&bench[..], &brief, &train].concat()).fine();
    let measured = cached(&[&plan[..], &["1"]].concat()).fine().json()["measured"].clone();
    assert!(number(&measured, "train_tokens_per_second") > 0.0);
    assert_eq!((number(&measured, "train_length"), number(&measured, "train_batch")), (16.0, 6.0));
    let other = cached(&[&plan[..], &["2"]].concat()).fine().json();
    assert!(other["measured"].is_null(), "of another number of threads: {other}");
}

#[test]
fn measured_memory_is_what_was_planned_and_under_every_ceiling() {
    let cache = env!("CARGO_TARGET_TMPDIR");
    let brief = ["--prefill", "2", "--decode", "1", "--repeat", "1", "--threads", "2", "--json"];
    for (dtype, ceiling, accumulate) in
        [("f32", "40M", "1"), ("f32", "27M", "2"), ("q4", "60M", "1"), ("q4", "26M", "3")]
    {
        let args = ["bench", "--synthetic", "stories-15m", "--dtype", dtype, "--cache", cache];
        let train = ["--train", "--length", "200", "--batch", "2", "--accumulate", accumulate];
        let memory = ["--memory", ceiling];
        let report = homespun(&[&args[..], &brief, &train, &memory].concat()).fine().json();
        let peak = number(&report, "peak_anonymous_bytes");
        let planned = number(&report, "train_planned_anonymous_bytes");
        let most: f64 = ceiling.trim_end_matches('M').parse::<f64>().expect("number") * 1e6;
        assert!(peak <= most, "{peak} of {most}: {report}");
        let near = |planned: f64| (planned - peak).abs() <= (0.05 * peak).max(4e6);
        assert!(near(planned), "planned {planned}, measured {peak}: {report}");
        // Planted bug: a plan that forgets what the arena holds.
        let arena = planned - number(&report, "inference_peak_anonymous_bytes");
        assert!(!near(planned - arena), "{report}");
    }
}

#[test]
fn too_little_memory_is_refused_before_the_first_step_and_the_number_named_is_enough() {
    let place = Place::new();
    let (data, log) = (place.stream("data.jsonl", 8), place.path("log.jsonl"));
    let train = |out: &str, memory: &str| {
        let out = place.path(out);
        let args = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--log", &log];
        homespun(&[&args[..], &["--steps", "1", "--memory", memory]].concat())
    };
    let refused = train("out", "2M").refused(&["--memory", "2.0 MB are too little", "needed"]);
    assert!(names(place.path("").as_ref()).iter().all(|name| !name.starts_with("out")));
    let words: Vec<&str> = refused.stderr.split_whitespace().collect();
    // `...; 4.9 MB are needed`
    let needed = words.iter().rposition(|&word| word == "needed").expect("needed");
    let needed: f64 = words[needed - 3].parse().expect("megabytes");
    train("out", &format!("{needed:.1}M")).fine();
    assert!(names(place.path("").as_ref()).contains(&"out".to_owned()));
}

#[test]
fn a_known_shape_is_planned_without_its_weights() {
    let shape = ["plan", "--synthetic", "llama-3.2-1b", "--dtype", "q4", "--json"];
    let plan = homespun(&[&shape[..], &["--train", "--memory", "256M"]].concat()).fine().json();
    let mapped = plan["mapped"].as_object().expect("mapped");
    let sum: f64 = mapped.values().map(|bytes| bytes.as_f64().expect("bytes")).sum();
    assert_eq!(sum, number(&plan, "mapped_bytes"));
    // 1.24 billion parameters, a fifth of them the head's.
    assert!((5.2..5.5).contains(&(sum * 8.0 / 1_235_814_400.0)), "{plan}");
    assert!(mapped.contains_key("q8") && number(&plan["mapped"], "q4") > 5e8, "{plan}");
    assert!(rows(&plan, "training").1 <= 256e6, "{plan}");
    // The adapter's dropout has a buffer of its own.
    let board = ["--board", "pi5", "--train", "--dropout"];
    let total = |dropout| {
        rows(&homespun(&[&shape[..], &board, &[dropout]].concat()).fine().json(), "training").1
    };
    assert!(total("0.1") > total("0") + 1e6);
    let table = homespun(&["plan", "--synthetic", "stories-15m", "--isa", "scalar"]).fine().stdout;
    let command = "homespun bench --synthetic stories-15m --dtype bf16 --threads";
    assert!(table.contains(command), "{table}");
    homespun(&["plan"]).refused(&["--model", "--synthetic"]);
    homespun(&["plan", "--synthetic", "nonsense"]).refused(&["--synthetic", "smollm2-135m"]);
    homespun(&[&shape[..], &["--train", "--dropout", "1"]].concat()).refused(&["--dropout"]);
}

/// The most anonymous memory that the kernel tells of a command while it runs; `None` where it does
/// not tell.
fn peak(args: &[&str]) -> Option<f64> {
    let mut command = super::binary::command();
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    let file = format!("/proc/{}/status", child.id());
    let mut peak = None;
    let status = loop {
        let status = fs::read_to_string(&file).unwrap_or_default();
        let lines = status.lines().filter_map(|line| {
            let line = line.strip_prefix("RssAnon:").or(line.strip_prefix("RssShmem:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
        });
        let now = lines.reduce(|a, b| a + b).map(|kilobytes| kilobytes * 1024.0);
        peak = peak.into_iter().chain(now).reduce(f64::max);
        if let Some(status) = child.try_wait().expect("wait") {
            break status;
        }
        thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{args:?}: {status}");
    peak
}

#[test]
fn a_training_takes_what_was_planned_from_its_first_step_to_its_adapter_on_the_disk() {
    let place = Place::new();
    let tea = "tea with milk and honey for the guests in the garden ".repeat(20);
    let line = serde_json::json!({"messages": [
        {"role": "user", "content": tea}, {"role": "assistant", "content": "Mint tea."},
    ]});
    let data = place.file("data.jsonl", format!("{line}\n").repeat(4));
    let out = place.path("out");
    // Most of it is as long as the adapter.
    let large = ["--rank", "256", "--batch", "4", "--memory", "29M"];
    let train = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--steps", "3"];
    let Some(peak) = peak(&[&train[..], &large, &["--max-length", "128"]].concat()) else {
        return println!("skipped: this system has no /proc/PID/status");
    };
    let plan = ["plan", "--model", "builtin", "--train", "--length", "128", "--json"];
    let plan = homespun(&[&plan[..], &large].concat()).fine().json();
    let (_, planned) = rows(&plan, "training");
    assert!(peak <= 29e6 && planned <= 29e6, "planned {planned}, measured {peak}");
    let near = |planned: f64| (planned - peak).abs() <= (0.05 * peak).max(4e6);
    assert!(near(planned), "planned {planned}, measured {peak}: {plan}");
    // Planted bugs: a plan that forgets the moments, or the adapter.
    for what in ["optimiser", "adapter"] {
        assert!(!near(planned - row(&plan, "training", what)), "{what}: {plan}");
    }
}
