//! Option values that make no sense: each is refused by its name, and nothing is written.

use super::{Place, homespun};

#[test]
fn values_out_of_range_are_named_by_their_option() {
    let place = Place::new();
    let data = place.stream("data.jsonl", 2);
    let out = place.path("out");
    let base = ["--model", "builtin"];
    let train = [&["train"], &base[..], &["--data", &data, "--out", &out, "--steps", "1"]].concat();
    let personalize = [&["personalize"], &base[..], &["--stream", &data, "--state", &out]].concat();
    let generate = [&["generate"], &base[..], &["--prompt", "Hello"]].concat();
    let score = [&["score"], &base[..], &["--stream", &data, "--json-lines"]].concat();
    for (command, option, value) in [
        (&train, "--lr", "nan"),
        (&train, "--lr", "inf"),
        (&train, "--lr=-1", ""),
        (&train, "--rank", "0"),
        (&train, "--rank", "5000"),
        (&train, "--alpha", "nan"),
        (&train, "--dropout", "1"),
        (&train, "--targets", "nonsense"),
        (&train, "--targets", "q_proj,,v_proj"),
        (&train, "--batch", "0"),
        (&train, "--micro-batch", "0"),
        (&train, "--max-length", "1"),
        (&train, "--loss", "nonsense"),
        (&train, "--schedule", "nonsense"),
        (&train, "--weight-decay", "nan"),
        (&train, "--clip", "nan"),
        (&train, "--threads", "0"),
        (&train, "--threads", "1000000"),
        (&train, "--isa", "nonsense"),
        (&personalize, "--policy", "nonsense"),
        (&personalize, "--preset", "nonsense"),
        (&personalize, "--annotate", "nonsense"),
        (&personalize, "--entropy", "nonsense"),
        (&personalize, "--bins", "0"),
        (&personalize, "--bins", "65535"),
        (&personalize, "--round", "0"),
        (&personalize, "--lr", "nan"),
        (&personalize, "--rank", "0"),
        (&personalize, "--threads", "0"),
        (&personalize, "--isa", "nonsense"),
        (&personalize, "--lexicons", "nowhere.tsv"),
        (&score, "--entropy", "nonsense"),
        (&score, "--embedding", "nonsense"),
        (&generate, "--max-tokens", "many"),
        (&generate, "--isa", "nonsense"),
    ] {
        let options: Vec<&str> = [option, value].into_iter().filter(|s| !s.is_empty()).collect();
        let named = match option {
            "--lexicons" => value,
            _ => option.split('=').next().unwrap_or(option),
        };
        homespun(&[&command[..], &options].concat()).refused(&[named]);
        assert_eq!(place.names(), ["data.jsonl"], "{options:?}");
    }
    for (option, value, said) in [
        ("--temperature", "nan", "temperature"),
        ("--top-p", "0", "top-p"),
        ("--repetition-penalty", "0", "repetition penalty"),
    ] {
        homespun(&[&generate[..], &[option, value]].concat()).refused(&[said]);
    }
}

#[test]
fn an_instruction_set_of_another_machine_is_told_from_one_that_there_is_not() {
    let foreign = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    let isa = |name| homespun(&["generate", "--model", "builtin", "--prompt", "Hi", "--isa", name]);
    isa(foreign).refused(&["--isa", &format!("this CPU has no {foreign}; it has scalar")]);
    isa("mmx").refused(&["--isa", "unknown name \"mmx\"; this CPU has scalar"]);
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let place = Place::new();
    let data = place.stream("data.jsonl", 2);
    let out = place.path("out");
    let train = ["train", "--model", "builtin", "--data", &data, "--out", &out];
    let both = ["--steps", "1", "--epochs", "1"];
    homespun(&[&train[..], &both].concat()).refused(&["--steps", "--epochs"]);
    homespun(&["generate", "--model", "builtin"]).refused(&["--prompt", "--messages"]);
    assert_eq!(place.names(), ["data.jsonl"]);
}

#[test]
fn the_longest_run_that_can_be_asked_for_starts_and_names_what_stops_it() {
    let place = Place::new();
    let data = place.stream("data.jsonl", 2);
    let out = place.path("out");
    let most = usize::MAX.to_string();
    for length in ["--steps", "--epochs"] {
        // A learning rate this high ends it at the second step.
        let args = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--lr", "1e30"];
        homespun(&[&args[..], &[length, &most, "--max-length", "32"]].concat())
            .refused(&["not finite"]);
        assert_eq!(place.names(), ["data.jsonl"]);
    }
    // Where the only step makes an adapter of infinities, no loss tells.
    let args = ["train", "--model", "builtin", "--data", &data, "--out", &out, "--lr", "1e300"];
    homespun(&[&args[..], &["--steps", "1", "--max-length", "32"]].concat())
        .refused(&["step 1", "adapter is not finite"]);
    assert_eq!(place.names(), ["data.jsonl"]);
}
