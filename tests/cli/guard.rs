//! Rounds that only help: what does harm is kept aside, with the reason, and what was before goes on.

use homespun_core::rng::Rng;
use homespun_runtime::builtin::{self, Size};
use serde_json::Value;

use super::live::told;
use super::{Place, homespun, number, open};

/// A state with `n` dialogues that a person has corrected, in one process.
fn corrected(place: &Place, name: &str, n: usize, corrupt: bool) -> String {
    let state = place.path(name);
    let user = builtin::stream(3, Size::DEFAULT);
    let mut rng = Rng::new(7);
    let words: Vec<&str> = user
        .dialogues
        .iter()
        .flat_map(|one| one.preferred.as_deref().unwrap_or_default().split(' '))
        .collect();
    let mut lines = String::new();
    // Small talk is not corrected.
    let is_own = |preferred: &str, reply: Option<&str>| reply != Some(preferred);
    let own = user
        .dialogues
        .iter()
        .filter(|one| one.preferred.as_deref().is_some_and(|text| is_own(text, one.response())));
    for dialogue in own.take(n) {
        let question = &dialogue.question()[0].content;
        let mut preferred = dialogue.preferred.clone().expect("filtered");
        if corrupt {
            let word = |_| words[rng.below(words.len() as u64) as usize];
            preferred = (0..12).map(word).collect::<Vec<_>>().join(" ");
        }
        lines += &format!("{question}\n/better {preferred}\n/new\n");
    }
    let args = ["chat", "--model", "builtin", "--state", &state, "--max-tokens", "2"];
    told(&args, &lines).fine();
    state
}

fn round(state: &str, more: &[&str]) -> Value {
    let args = ["round", "--model", "builtin", "--state", state, "--json"];
    homespun(&[&args[..], more].concat()).fine().json()
}

fn why(row: &Value) -> &str {
    row["why"].as_str().unwrap_or_default()
}

/// What `adapter list` says of each generation, and the one that is used.
fn generations(state: &str) -> (Vec<Value>, u64) {
    let rows = homespun(&["adapter", "list", "--state", state, "--json"]).fine().json_lines();
    let used = rows.iter().find(|row| row["used"] == true).expect("one is used");
    let used = number(used, "generation") as u64;
    (rows, used)
}

#[test]
fn what_does_harm_is_kept_aside_and_what_helps_is_installed() {
    let place = Place::new();
    let state = corrected(&place, "state", 24, false);
    // One that breaks what the model knew.
    let row = round(&state, &["--lr", "0.2", "--epochs", "6"]);
    assert!(row["installed"] == false && why(&row).contains("general"), "{row}");
    let (rows, used) = generations(&state);
    assert!(used == 0 && rows[1]["kept_aside"] == why(&row), "{rows:?}");
    assert_eq!(open(&state).record.rounds, 1);
    // Its annotations are not new any more; with another they count again.
    let row = round(&state, &[]);
    assert!(row["installed"] == false && why(&row).contains("no new annotations"), "{row}");
    let again = || {
        let text = r#"{"messages": [{"role": "user", "content": "Which tea should I make?"},
            {"role": "assistant", "content": "Any tea."}], "preferred": "Mint tea."}"#;
        let line = text.replace('\n', " ");
        told(&["observe", "--model", "builtin", "--state", &state], &line).fine();
    };
    // One with a step that is no number.
    again();
    let row = round(&state, &["--lr", "1e30"]);
    assert!(row["installed"] == false && why(&row).contains("not finite"), "{row}");
    assert_eq!(generations(&state).1, 0);
    // A good one.
    again();
    let row = round(&state, &[]);
    assert!(row["installed"] == true && row["why"].is_null(), "{row}");
    assert!(number(&row, "loss_after") < number(&row, "loss_before"), "{row}");
    assert!(number(&row, "rouge1_after") >= number(&row, "rouge1_before"), "{row}");
    let risen = number(&row, "general_after") - number(&row, "general_before");
    assert!(risen <= 0.05 * number(&row, "general_before").max(1.0), "{row}");
    let good = number(&row, "generation") as u64;
    let (rows, used) = generations(&state);
    assert!(used == good && rows[good as usize]["kept_aside"].is_null(), "{rows:?}");
    let exported = |name: &str| {
        let out = place.path(name);
        homespun(&["adapter", "export", "--state", &state, "--out", &out]).fine();
        std::fs::read(format!("{out}/adapter_model.safetensors")).expect("tensors")
    };
    let bytes = exported("good");
    // A bad one after it leaves it in use; going back passes over what was kept aside.
    again();
    let row = round(&state, &["--lr", "0.2", "--epochs", "6"]);
    assert!(row["installed"] == false, "{row}");
    assert!(generations(&state).1 == good && exported("still") == bytes);
    let aside = number(&row, "generation").to_string();
    homespun(&["adapter", "use", &aside, "--state", &state]).fine();
    assert!(exported("aside") != bytes, "who wants it can have it");
    homespun(&["adapter", "rollback", "--state", &state]).fine();
    assert!(generations(&state).1 == good && exported("back") == bytes, "rollback restores it");
    homespun(&["adapter", "rollback", "--state", &state]).fine();
    assert_eq!(generations(&state).1, 0);
}

#[test]
fn replies_of_random_words_teach_nothing_and_unguarded_they_would() {
    let place = Place::new();
    let state = corrected(&place, "state", 24, true);
    let row = round(&state, &[]);
    assert!(row["installed"] == false && !why(&row).is_empty(), "{row}");
    assert_eq!(generations(&state).1, 0);
    // The guard is what holds it back.
    let other = corrected(&place, "other", 24, true);
    let row = round(&other, &["--unguarded"]);
    assert!(row["installed"] == true, "{row}");
}

#[test]
fn a_round_that_is_out_of_time_takes_the_best_so_far() {
    let place = Place::new();
    // So few that none is held out, and without a guard: nothing but its time ends it early.
    let state = corrected(&place, "state", 4, false);
    let row = round(&state, &["--round-budget", "1s", "--epochs", "100000", "--unguarded"]);
    assert!(number(&row, "steps") >= 1.0 && number(&row, "steps") < 100_000.0, "{row}");
    assert!(number(&row, "seconds") >= 1.0 && row["installed"] == true, "{row}");
    let file =
        place.file("none.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n");
    homespun(&["round", "--model", "builtin", "--state", &state, "--general", &file])
        .refused(&["--general", "none.jsonl"]);
}
