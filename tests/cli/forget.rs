//! Forgetting: canaries that a state holds and an adapter has learned by heart are gone from both.
//!
//! ```text
//! before   every canary is found in what the key opens, and in an image without one; the model says some
//! forget   by text, by number, or all
//! after    no byte of the state, opened or not, holds one; no key of before is left; the model says none
//! ```

use core::time::Duration;
use std::fs;
use std::process::Stdio;
use std::thread;

use homespun_runtime::dialogue::{Dialogue, Message, Role};
use homespun_runtime::personalize::buffer::Buffer;
use homespun_runtime::samples::{self, RECORD_BYTES, file};
use homespun_runtime::seal::ring::Ring;
use homespun_runtime::state::{SAMPLES, seen::Seen};

use super::{Place, Run, binary, contents, homespun, number, open, opened};

/// What only a canary's own dialogue says: who, and which code.
struct Canary {
    who: String,
    code: String,
}

fn word(state: &mut u64, syllables: usize) -> String {
    let mut word = String::new();
    for _ in 0..syllables {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = |letters: &str, at: u64| letters.chars().nth(at as usize % letters.len());
        word.extend(pick("bdfklmnprstv", *state >> 33));
        word.extend(pick("aeio", *state >> 50));
    }
    word
}

fn canaries(seed: u64, count: usize) -> Vec<Canary> {
    let mut state = seed;
    (0..count).map(|_| Canary { who: word(&mut state, 3), code: word(&mut state, 5) }).collect()
}

impl Canary {
    fn question(&self) -> String {
        format!("What is the code of {}?", self.who)
    }

    fn dialogue(&self) -> Dialogue {
        let messages = vec![
            Message::new(Role::User, self.question()),
            Message::new(Role::Assistant, "I do not know."),
        ];
        Dialogue {
            preferred: Some(format!("The code is {}.", self.code)),
            ..Dialogue::new(messages)
        }
    }
}

/// Dialogues that stay.
fn others(count: usize) -> Vec<Dialogue> {
    let tea = ["mint", "green", "black", "herbal", "iced", "ginger", "fennel", "apple"];
    (0..count)
        .map(|i| {
            let messages = vec![
                Message::new(Role::User, format!("Which tea is good after {i} o'clock?")),
                Message::new(Role::Assistant, "Any tea."),
            ];
            let preferred = Some(format!("Have some {} tea.", tea[i % tea.len()]));
            Dialogue { preferred, ..Dialogue::new(messages) }
        })
        .collect()
}

fn learn(stream: &str, state: &str, bins: usize, more: &[&str]) -> Run {
    let bins = bins.to_string();
    let args = ["personalize", "--model", "builtin", "--stream", stream, "--state", state];
    let round = ["--bins", &bins, "--policy", "random", "--round", "1000", "--patience", "0"];
    homespun(&[&args[..], &round, &["--lr", "3e-3", "--batch", "4", "--json"], more].concat())
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// How many of `canaries` some of `files` holds.
fn found(canaries: &[Canary], files: &[(String, Vec<u8>)]) -> usize {
    let said = |canary: &&Canary| files.iter().any(|(_, bytes)| holds(bytes, &canary.code));
    canaries.iter().filter(said).count()
}

/// How many of `canaries` the state's adapter completes.
fn completed(canaries: &[Canary], state: &str, place: &Place, name: &str) -> usize {
    let out = place.path(name);
    homespun(&["adapter", "export", "--state", state, "--out", &out]).fine();
    let said = |canary: &&Canary| {
        let prompt = canary.question();
        let model = ["generate", "--model", "builtin", "--adapter", &out];
        let reply =
            homespun(&[&model[..], &["--prompt", &prompt, "--max-tokens", "24"]].concat()).fine();
        reply.stdout.contains(&canary.code)
    };
    canaries.iter().filter(said).count()
}

/// The image of a state as it would be without a key.
fn plain_image(state: &str, place: &Place) -> Vec<u8> {
    let path = place.path("plain.img");
    let opened = open(state);
    let bins = Buffer::open(&opened, 0).expect("buffer").bins();
    drop(opened);
    let mut plain = file::create(path.as_ref(), bins, None).expect("an image");
    let opened = open(state);
    let mut buffer = Buffer::open(&opened, 0).expect("buffer");
    for held in buffer.read_all(|error| panic!("{error}")) {
        let messages = held.dialogue.messages.iter();
        let messages: Vec<_> = messages
            .map(|m| samples::Message { role: m.role.as_str(), content: &m.content })
            .collect();
        let sample = samples::Sample {
            messages: samples::Messages::Given(&messages),
            preferred: held.dialogue.preferred.as_deref(),
            ..samples::Sample::default()
        };
        plain.put(held.bin, &sample).expect("it fits");
    }
    plain.read(0, &mut vec![0; RECORD_BYTES]).expect("it is there");
    fs::read(path).expect("image")
}

/// One run: learn canaries, see that they are known, forget them, see that they are not.
fn forgotten(run: u64, count: usize) {
    let place = Place::new();
    let (canaries, stay) = (canaries(run + 1, count), others(8));
    let (state, key) = (place.path("state"), place.path("key"));
    let dialogues: Vec<Dialogue> =
        canaries.iter().map(Canary::dialogue).chain(stay.iter().cloned()).collect();
    let stream = place.dialogues("stream.jsonl", &dialogues);
    learn(&stream, &state, dialogues.len(), &["--synth", "1", "--epochs", "30", "--rank", "16"])
        .fine();
    let known = completed(&canaries[..10], &state, &place, "before");
    assert!(known >= 3, "run {run}: the model knows {known} of 10 canaries by heart");
    assert_eq!(found(&canaries, &opened(&state)), count, "with the key, the scan finds all");
    let plain = vec![(SAMPLES.to_owned(), plain_image(&state, &place))];
    assert_eq!(found(&canaries, &plain), count, "in an image without a key, the scan finds all");
    assert_eq!(found(&canaries, &contents(&state)), 0, "without the key, it finds none");
    fs::copy(binary::key(), &key).expect("a copy of the keys");
    let old = open(&state).vault().key().expect("a key").name();
    let before = number(
        &homespun(&["buffer", "inspect", &format!("{state}/samples.img"), "--json"]).fine().json(),
        "used",
    );
    assert_eq!(before as usize, dialogues.len());

    let ids: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    let what: Vec<&str> = match run % 3 {
        0 => vec!["--matching", "THE CODE OF"],
        1 => ids.iter().flat_map(|id| ["--id", id]).collect(),
        _ => vec!["--all"],
    };
    let again = ["--model", "builtin", "--lr", "3e-3", "--epochs", "8", "--batch", "4"];
    let args = ["forget", "--state", &state, "--json"];
    let row = homespun(&[&args[..], &what, &again].concat()).fine().json();
    let all = run % 3 == 2;
    let gone = if all { dialogues.len() } else { count };
    assert_eq!((number(&row, "samples"), number(&row, "adapters")), (gone as f64, 1.0), "{row}");
    assert_eq!(row["relearned"], !all, "{row}");
    assert_eq!(
        number(&row, "generation"),
        if all { 1.0 } else { 2.0 },
        "it never goes back: {row}"
    );

    assert_eq!(found(&canaries, &opened(&state)), 0, "run {run}: opened with the key");
    assert_eq!(found(&canaries, &contents(&state)), 0, "run {run}: as it lies there");
    let ring = Ring::open(&binary::key()).expect("keys");
    assert!(ring.key(old).is_none(), "the old key is destroyed");
    assert!(Ring::open(key.as_ref()).expect("copy").key(old).is_some());
    for (name, bytes) in contents(&state) {
        assert!(!holds(&bytes, "HSSEALED") || !bytes[10..18].eq(&old.0), "{name} has the old key");
        let record = bytes.windows(8).any(|eight| eight == old.0);
        assert!(!name.ends_with(SAMPLES) || !record, "a record of the old key lies in {name}");
    }
    assert!(super::names(state.as_ref()).iter().all(|name| !name.contains(".tmp")));
    if !all {
        let knows = completed(&canaries, &state, &place, "after");
        assert_eq!(knows, 0, "run {run}: the model says {knows} canaries still");
        let opened = open(&state);
        let folder = opened.current_adapter().expect("a new adapter");
        let seen = Seen::read(opened.vault(), &folder).expect("it reads").expect("it is there");
        assert_eq!(seen.len(), stay.len(), "it saw what stayed, and no more");
    } else {
        homespun(&["adapter", "export", "--state", &state, "--out", &place.path("none")])
            .refused(&["no round has made an adapter yet"]);
    }
}

#[test]
fn what_is_forgotten_is_in_no_file_and_said_by_no_model() {
    // By text, by number, all.
    for run in 0..3 {
        forgotten(run, 24);
    }
}

#[test]
#[ignore = "ten minutes: 20 runs of 50 canaries"]
fn twenty_times_fifty_canaries_are_forgotten() {
    for run in 0..20 {
        forgotten(100 + run, 50);
        println!("run {run}: 50 canaries, 0 found, 0 said");
    }
}

#[test]
fn an_adapter_that_saw_none_of_it_stays_and_one_that_may_have_does_not() {
    let place = Place::new();
    let state = place.path("state");
    let (first, more) = (others(6), canaries(9, 4));
    let first = place.dialogues("first.jsonl", &first);
    learn(&first, &state, 12, &["--synth", "0", "--epochs", "2"]).fine();
    // Seen after the round: no adapter knows them.
    let stream =
        place.dialogues("more.jsonl", &more.iter().map(Canary::dialogue).collect::<Vec<_>>());
    let args = ["personalize", "--model", "builtin", "--stream", &stream, "--state", &state];
    homespun(&[&args[..], &["--policy", "random", "--annotate", "queue", "--json"]].concat())
        .fine();
    let forget = |what: &[&str]| {
        homespun(&[&["forget", "--state", &state, "--json"], what].concat()).fine().json()
    };
    let row = forget(&["--id", "7"]);
    assert_eq!((number(&row, "samples"), number(&row, "adapters")), (1.0, 0.0), "{row}");
    let row = forget(&["--matching", &more[0].who]);
    assert_eq!((number(&row, "samples"), number(&row, "adapters")), (1.0, 0.0), "{row}");
    assert_eq!(number(&forget(&["--id", "7"]), "samples"), 0.0, "it is gone already");
    // The adapter saw dialogue 2, wherever that is now.
    let row = forget(&["--id", "2"]);
    assert_eq!((number(&row, "samples"), number(&row, "adapters")), (1.0, 1.0), "{row}");
    assert_eq!((number(&row, "learned_from"), number(&row, "remain")), (6.0, 5.0), "{row}");
    let image = format!("{state}/samples.img");
    let entries = || {
        let row = homespun(&["buffer", "inspect", &image, "--json"]).fine().json();
        row["entries"].as_array().expect("entries").clone()
    };
    let domain = entries()[0]["domain"].as_str().expect("a domain").to_owned();
    let of_it = entries().iter().filter(|entry| entry["domain"] == *domain).count();
    let row = forget(&["--domain", &domain]);
    assert_eq!(number(&row, "samples"), of_it as f64, "{row}");
    assert!(entries().iter().all(|entry| entry["domain"] != *domain));
    homespun(&["forget", "--state", &state, "--domain", "nonsense"])
        .refused(&["--domain", "health"]);
    homespun(&["forget", "--state", &state]).refused(&["--all"]);
    homespun(&["forget", "--state", &state, "--matching", " "]).refused(&["--matching"]);
}

#[test]
fn a_forgetting_that_is_killed_is_ended_by_the_next_command() {
    let canaries = canaries(77, 6);
    let dialogues: Vec<Dialogue> = canaries.iter().map(Canary::dialogue).chain(others(3)).collect();
    let (mut cuts, mut whole) = (0, 0);
    // Close together at first, then long enough for a machine that is busy.
    for time in (0..30).map(|i: u64| 4 + 3 * i + 60 * i.saturating_sub(20)) {
        let place = Place::new();
        let state = place.path("state");
        let stream = place.dialogues("stream.jsonl", &dialogues);
        learn(&stream, &state, 9, &["--synth", "0", "--epochs", "1"]).fine();
        let mut child = binary::command()
            .args(["forget", "--state", &state, "--matching", "the code of"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        thread::sleep(Duration::from_millis(time));
        let ended = child.try_wait().expect("wait").is_some();
        child.kill().expect("kill");
        child.wait().expect("wait");
        // Whatever it was in the middle of, the state opens.
        homespun(&["buffer", "--state", &state, "list"]).fine();
        let left = found(&canaries, &opened(&state));
        assert!(left == 0 || (left == 6 && !ended), "{left} canaries are left after {time} ms");
        let record = open(&state).record.clone();
        assert!(record.forgetting.is_none() && record.previous_key.is_empty());
        cuts += usize::from(!ended);
        whole += usize::from(left == 0);
        if whole > 6 {
            break;
        }
    }
    assert!(cuts > 0 && whole > 0, "{cuts} cuts, {whole} whole");
}
