//! States opened, refused, sealed and gone on from.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::dialogue::{Message, Role};
use crate::seal::Key;
use crate::seal::stream::is_sealed;
use vault::Ask;

fn keys() -> Keys {
    Keys::Given(Key::new([5; 32]))
}

fn record() -> Record {
    let hash = |s: &str| s.to_owned();
    let base = Base { weights: hash("w"), tokenizer: hash("t"), template: hash("c") };
    Record::new(base, 4, "quality", 7)
}

#[test]
fn a_saved_state_opens_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = State::open_or_create(dir.path(), record(), false, &keys()).unwrap();
    state.record.seen = 12;
    state.save().unwrap();
    drop(state);
    assert_eq!(State::open(dir.path(), &keys()).unwrap().record.seen, 12);
}

#[test]
fn a_second_user_is_told_the_first_ones_pid() {
    let dir = tempfile::tempdir().unwrap();
    let _state = State::open_or_create(dir.path(), record(), false, &keys()).unwrap();
    let error = State::open(dir.path(), &keys()).unwrap_err().to_string();
    assert!(error.ends_with(&format!("in use by pid {}", std::process::id())), "{error}");
}

#[test]
fn another_base_is_refused_by_field() {
    let dir = tempfile::tempdir().unwrap();
    drop(State::open_or_create(dir.path(), record(), false, &keys()).unwrap());
    let mut other = record();
    other.base.tokenizer = "x".into();
    let error = State::open_or_create(dir.path(), other, false, &keys()).unwrap_err().to_string();
    assert!(error.contains("state.json: base.tokenizer"), "{error}");
}

#[test]
fn a_broken_record_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("state.json"), "{\n\"version\": }").unwrap();
    let error = State::open(dir.path(), &keys()).unwrap_err().to_string();
    assert!(error.contains("state.json: line 2"), "{error}");
}

#[test]
fn an_unwritable_place_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = State::open_or_create(&file.join("state"), record(), false, &keys())
        .unwrap_err()
        .to_string();
    assert!(error.contains("file/state"), "{error}");
}

/// A state as version 1 left it: plain, open to others, an adapter, a queue and a checkpoint in it.
fn plain(root: &Path) -> Vec<&'static str> {
    let mut state = State::open_or_create(root, record(), false, &Keys::Plain).unwrap();
    state.record.version = 1;
    state.record.generation = 1;
    state.save().unwrap();
    drop(state);
    let names = [
        "adapters/0001/adapter_config.json",
        "adapters/0001/adapter_model.safetensors",
        "queue.jsonl",
        "synthesised.jsonl",
        "training/checkpoint.1",
    ];
    for name in names {
        let file = root.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("mint tea in {name}")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    }
    for folder in ["", "adapters", "adapters/0001", "training"] {
        fs::set_permissions(root.join(folder), Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(root.join("lock"), Permissions::from_mode(0o644)).unwrap();
    names.to_vec()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_plain_state_of_version_1_is_sealed_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (root, ring) = (folder.path().join("state"), folder.path().join("key"));
    let names = plain(&root);
    let file = Keys::File(ring.clone());
    // What is refused is left as it is, and no key is made.
    let mut other = record();
    other.seed = 8;
    assert!(State::open_or_create(&root, other, false, &file).is_err());
    assert!(!is_sealed(&fs::read(root.join("queue.jsonl")).unwrap()) && !ring.exists());
    // One that was cut while it was sealed goes on, with one key at the end.
    let cut = Vault::open(&root, &file, RECORD).unwrap();
    cut.write("queue.jsonl", b"mint tea in queue.jsonl").unwrap();
    let state = State::open(&root, &file).unwrap();
    assert_eq!((state.record.version, state.record.generation), (2, 1));
    for name in &names {
        let bytes = state.vault().read(name).unwrap().unwrap();
        assert_eq!(bytes.as_slice(), format!("mint tea in {name}").as_bytes());
    }
    let ours = state.vault().key().map(Key::name);
    for name in names.iter().chain(&["state.json"]) {
        assert_eq!(state.vault().sealed_with(name).unwrap(), ours, "{name}");
        assert_eq!(mode(&root.join(name)), 0o600, "{name}");
    }
    for folder in ["", "adapters", "adapters/0001", "training"] {
        assert_eq!(mode(&root.join(folder)), 0o700, "{folder}");
    }
    assert_eq!(mode(&root.join("lock")), 0o600);
    drop(state);
    assert_eq!(State::open(&root, &file).unwrap().record.version, 2);
    // Another key is told from this one; nothing is made.
    let other = folder.path().join("other");
    let error = State::open(&root, &Keys::File(other.clone())).unwrap_err().to_string();
    for part in ["state.json", &ours.unwrap().to_string(), other.to_str().unwrap()] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!other.exists());
}

#[test]
fn without_keys_a_plain_state_stays_plain() {
    let folder = tempfile::tempdir().unwrap();
    plain(folder.path());
    let state = State::open(folder.path(), &Keys::Plain).unwrap();
    state.save().unwrap();
    assert_eq!(state.record.version, 1);
    assert!(fs::read_to_string(folder.path().join("state.json")).unwrap().starts_with('{'));
}

#[test]
fn a_later_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for keys in [keys(), Keys::Plain] {
        let root = folder.path().join(format!("{}", matches!(keys, Keys::Plain)));
        let mut state = State::open_or_create(&root, record(), false, &keys).unwrap();
        state.record.version = 3;
        state.save().unwrap();
        drop(state);
        let before = fs::read(root.join("state.json")).unwrap();
        let error = State::open(&root, &keys).unwrap_err().to_string();
        assert!(error.contains("state.json: version: 3 is not 2"), "{error}");
        assert_eq!(fs::read(root.join("state.json")).unwrap(), before);
    }
}

#[test]
fn a_new_state_is_the_persons_alone_and_a_folder_with_other_things_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("deep/state");
    drop(State::open_or_create(&new, record(), false, &keys()).unwrap());
    assert_eq!(mode(&new), 0o700);
    for file in ["state.json", "lock"] {
        assert_eq!(mode(&new.join(file)), 0o600, "{file}");
    }
    assert!(is_sealed(&fs::read(new.join("state.json")).unwrap()));
    for (name, file, expected) in [("empty", None, 0o700), ("used", Some("photo"), 0o755)] {
        let root = folder.path().join(name);
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        if let Some(file) = file {
            fs::write(root.join(file), "").unwrap();
        }
        drop(State::open_or_create(&root, record(), false, &keys()).unwrap());
        assert_eq!(mode(&root), expected, "{name}");
    }
}

/// Keys as a secure element would keep them.
fn kept() -> (Keys, std::sync::Arc<std::sync::Mutex<Vec<Key>>>) {
    let all = std::sync::Arc::new(std::sync::Mutex::new(Vec::<Key>::new()));
    let inside = std::sync::Arc::clone(&all);
    let keeper = move |ask| {
        let mut all = inside.lock().unwrap();
        Ok(match ask {
            Ask::New => {
                let made = Key::new([40 + all.len() as u8 * 3; 32]);
                all.push(made.clone());
                Some(made)
            }
            Ask::Find(name) => all.iter().find(|key| key.name() == name).cloned(),
            Ask::Destroy(name) => {
                all.retain(|key| key.name() != name);
                None
            }
        })
    };
    (Keys::Kept(std::sync::Arc::new(keeper)), all)
}

#[test]
fn a_keeper_of_keys_is_asked_for_them_and_to_destroy_them() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, all) = kept();
    let root = folder.path().join("state");
    let mut state = State::open_or_create(&root, record(), false, &keys).unwrap();
    state.vault().write(QUEUE, b"").unwrap();
    let first = state.vault().key().unwrap().name();
    state.forget(&forget::What::All, &keys).unwrap();
    assert!(all.lock().unwrap().iter().all(|key| key.name() != first), "it was destroyed");
    assert_eq!(all.lock().unwrap().len(), 1);
    drop(state);
    let state = State::open(&root, &keys).unwrap();
    assert_ne!(state.vault().key().unwrap().name(), first);
    assert_eq!(state.vault().sealed_with(QUEUE).unwrap(), state.vault().key().map(Key::name));
    drop(state);
    all.lock().unwrap().clear();
    let error = State::open(&root, &keys).unwrap_err().to_string();
    assert!(error.contains("state.json") && error.contains("the caller"), "{error}");
    // A plain state is sealed with one, and goes on where that was cut.
    let (keys, all) = kept();
    let root = folder.path().join("plain");
    let names = plain(&root);
    let cut = Vault::open(&root, &keys, RECORD).unwrap();
    cut.write("queue.jsonl", b"mint tea in queue.jsonl").unwrap();
    let state = State::open(&root, &keys).unwrap();
    for name in names {
        assert!(state.vault().read(name).unwrap().is_some());
        assert_eq!(state.vault().sealed_with(name).unwrap(), state.vault().key().map(Key::name));
    }
    assert_eq!(all.lock().unwrap().len(), 2);
}

#[test]
fn what_a_cut_round_left_behind_is_forgotten_though_the_adapter_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path().join("state"), Keys::File(folder.path().join("key")));
    let mut state = State::open_or_create(&root, record(), false, &file).unwrap();
    state.record.generation = 1;
    let mut seen = seen::Seen::default();
    seen.add(&mut state.record, 3).unwrap();
    for name in ["adapters/0001/adapter_config.json", "adapters/0002/adapter_config.json"] {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        state.vault().write(name, b"{}").unwrap();
    }
    seen.write(state.vault(), "adapters/0001").unwrap();
    fs::create_dir(root.join(TRAINING)).unwrap();
    state.vault().write("training/checkpoint.0", b"what it learned so far").unwrap();
    let messages = vec![Message::new(Role::User, "Tea?")];
    let request = queue::Request { arrival: 7, messages, response: "Mint.".into(), answer: None };
    queue::write(state.vault(), &[request]).unwrap();
    state.save().unwrap();
    // Generation 1 did not see dialogue 7; the checkpoint, and a folder that no record names, may have.
    let forgotten = state.forget(&forget::What::Ids(vec![7]), &file).unwrap();
    assert_eq!((forgotten.requests, forgotten.adapters), (1, 0));
    assert!(root.join("adapters/0001").exists() && state.current() == 1);
    assert!(!root.join("adapters/0002").exists(), "it may have learned from it");
    assert!(!root.join(TRAINING).exists(), "it may have learned from it");
}
