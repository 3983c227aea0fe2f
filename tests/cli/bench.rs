//! `bench`: its keys, its tables, and what it refuses.

use std::path::Path;

use super::{Place, homespun, number};

/// Keys that other programs rely on; all but the training's are numbers in every run.
const KEYS: [&str; 9] = [
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
    "load_seconds",
    "first_token_seconds",
    "weight_bytes",
    "peak_anonymous_bytes",
    "peak_rss_bytes",
    "read_bandwidth_fraction",
    "compute_peak_fraction",
];

/// A folder on a disk, where weights may be written: a test's own folder may be in memory.
fn cache() -> &'static str {
    env!("CARGO_TARGET_TMPDIR")
}

#[test]
fn the_built_in_model_gives_every_figure_also_of_training() {
    let sizes = ["--prefill", "16", "--decode", "8", "--length", "8", "--batch", "2"];
    let args = ["bench", "--model", "builtin", "--train", "--repeat", "2", "--json"];
    let run = homespun(&[&args[..], &sizes].concat()).fine();
    let row = run.json();
    for key in KEYS.into_iter().chain(["train_tokens_per_second", "tokenizer_seconds"]) {
        let value = number(&row, key);
        assert!(value > 0.0 && value.is_finite(), "{key}: {row}");
    }
    for rate in ["prefill", "decode", "train"] {
        let [best, median] =
            ["", "_median"].map(|kind| number(&row, &format!("{rate}{kind}_tokens_per_second")));
        assert!(best >= median, "{rate}: {row}");
    }
    assert!(number(&row, "first_token_seconds") > number(&row, "load_seconds"), "{row}");
    assert!(number(&row, "peak_rss_bytes") > number(&row, "peak_anonymous_bytes"), "{row}");
}

#[test]
fn random_weights_are_measured_like_a_model_and_leave_nothing_behind() {
    let before = super::names(Path::new(cache()));
    for (dtype, bytes, activations) in [("f16", 2.0, "f32"), ("q8", 1.0675, "i8")] {
        let sizes = ["--prefill", "4", "--decode", "3", "--repeat", "1", "--threads", "2"];
        let args = ["bench", "--synthetic", "stories-15m", "--dtype", dtype, "--cache", cache()];
        let row = homespun(&[&args[..], &sizes, &["--json"]].concat()).fine().json();
        for key in KEYS {
            let value = number(&row, key);
            assert!(value > 0.0 && value.is_finite(), "{key}: {row}");
        }
        let weights = number(&row, "weight_bytes") / 15_191_712.0;
        assert!((weights - bytes).abs() < 0.01, "{weights} bytes a parameter: {row}");
        assert_eq!((row["dtype"].as_str(), row["kv"].as_str()), (Some(dtype), Some("f16")));
        assert_eq!(row["activations"], activations);
        assert_eq!(number(&row, "threads"), 2.0);
        assert!(row["train_tokens_per_second"].is_null(), "training was not asked for: {row}");
        assert!(number(&row, "peak_rss_bytes") >= number(&row, "weight_bytes"), "{row}");
    }
    assert_eq!(super::names(Path::new(cache())), before);
}

#[test]
fn the_table_is_for_a_person_or_for_markdown() {
    let args = ["bench", "--model", "builtin", "--prefill", "4", "--decode", "2", "--repeat", "1"];
    let plain = homespun(&args).fine().stdout;
    for part in ["prefill 4", "decode 2", "tok/s", "GB/s", "load", "anonymous"] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    let markdown = homespun(&[&args[..], &["--markdown"]].concat()).fine().stdout;
    let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 6 && rows.iter().all(|row| row.matches('|').count() == 5), "{markdown}");
}

#[test]
fn what_cannot_be_measured_is_refused_by_the_name_of_its_option() {
    let place = Place::new();
    let file = place.file("file", "no folder");
    let nowhere = place.path("nowhere");
    let builtin = ["bench", "--model", "builtin", "--json"];
    let random = ["bench", "--synthetic", "stories-15m", "--json"];
    for (command, options, named) in [
        (&builtin, &["--prefill", "0"][..], "--prefill"),
        (&builtin, &["--prefill", "100000"], "--prefill"),
        (&builtin, &["--decode", "0"], "--decode"),
        (&builtin, &["--decode", "100000"], "--decode"),
        (&builtin, &["--repeat", "0"], "--repeat"),
        (&builtin, &["--train", "--length", "0"], "--length"),
        (&builtin, &["--train", "--length", "100000"], "--length"),
        (&builtin, &["--train", "--batch", "0"], "--batch"),
        (&builtin, &["--length", "8"], "--train"),
        (&builtin, &["--isa", "nonsense"], "--isa"),
        (&builtin, &["--threads", "0"], "--threads"),
        (&builtin, &["--cache", &file], "--cache"),
        (&builtin, &["--markdown"], "--markdown"),
        (&builtin, &["--kv", "f64"], "--kv"),
        (&builtin, &["--activations", "i4"], "--activations"),
        (&random, &["--model", "builtin"], "--model"),
        (&random, &["--prefill", "100000"], "--prefill"),
        (&random, &["--dtype", "nonsense"], "--dtype"),
        (&random, &["--cache", &file], &file),
        (&random, &["--cache", &file], "--cache"),
        (&random, &["--cache", &nowhere], &nowhere),
        (&random, &["--cache", &nowhere], "--cache"),
    ] {
        homespun(&[&command[..], options].concat()).refused(&[named]);
    }
    homespun(&["bench", "--synthetic", "nonsense"]).refused(&["--synthetic", "smollm2-135m"]);
    homespun(&["bench"]).refused(&["--model", "--synthetic"]);
    homespun(&["bench", "--model", &nowhere]).refused(&[&nowhere]);
    assert_eq!(place.names(), ["file"]);
    if Path::new("/dev/shm").is_dir() {
        let shm =
            [&random[..], &["--cache", "/dev/shm", "--prefill", "4", "--decode", "1"]].concat();
        let run = homespun(&shm);
        // A system may keep it on a disk.
        assert!(run.code == Some(0) || run.stderr.contains("--cache: /dev/shm: "), "{run:?}");
    }
}
