//! Tests over a small byte-level tokenizer written here and the folders of shared models.

use core::slice;

use super::*;

/// A byte-level BPE of the 256 bytes and a few merges, with `<|end|>` (0) and `<|user|>` (1).
pub(crate) fn tiny_json() -> Vec<u8> {
    let mut vocab = serde_json::Map::new();
    for (id, token) in ["<|end|>", "<|user|>"].into_iter().enumerate() {
        vocab.insert(token.into(), id.into());
    }
    let printable = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut moved = 256;
    for byte in 0..256 {
        let c = match printable(byte) {
            true => byte,
            false => {
                moved += 1;
                moved - 1
            }
        };
        let id = vocab.len();
        vocab.insert(char::from_u32(c).unwrap().to_string(), id.into());
    }
    let merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "hello")];
    for (a, b) in merges {
        let id = vocab.len();
        vocab.insert(format!("{a}{b}"), id.into());
    }
    let added = |id: u32, content: &str| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": true, "use_regex": true});
    let merges: Vec<String> = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
    serde_json::to_vec(&serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<|end|>"), added(1, "<|user|>")],
        "normalizer": null, "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocab, "merges": merges},
    }))
    .unwrap()
}

pub(crate) const TINY_CONFIG: &[u8] = br#"{"eos_token": "<|end|>"}"#;

fn tiny() -> Tokenizer {
    Tokenizer::from_bytes(&tiny_json(), Some(TINY_CONFIG)).unwrap()
}

/// The folder of a shared model; `None`, said aloud, where it is absent.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let candidates = ["../shared/models", "shared/models"].map(|p| root.join(p).join(name));
    let found = candidates.into_iter().find(|p| p.is_dir());
    if found.is_none() {
        eprintln!("skipped: shared model {name} is absent");
    }
    found
}

pub(crate) fn shared_tokenizers() -> Vec<Tokenizer> {
    ["stories260K", "TinyStories-656K", "dialogue-5m", "smollm2-tokenizer"]
        .into_iter()
        .filter_map(shared)
        .map(|dir| Tokenizer::load(&dir).unwrap())
        .collect()
}

const TEXTS: &[&str] = &[
    "",
    " ",
    "Once upon a time",
    "  two  spaces\n\n\ttab \u{a0}x\u{3000}y",
    "naïve café, 東京, 🙂👩‍👩‍👧, e\u{301}, ﬁ, \u{200d}",
    "numbers 1234567890 3.14",
    "a\u{0}b\u{7f}\u{fffd}",
    "don't I'll we've",
];

#[test]
fn encoding_equals_the_tokenizers_crate_where_nothing_is_content() {
    for t in shared_tokenizers().iter().chain([&tiny()]) {
        let control = ["<s>", "</s>", "<|im_end|>", "<|im_start|>", "<|end_story|>", "<|end|>"];
        let mixed = control.map(|c| format!("a {c} b{c}{c}\n{c} c<{c}|"));
        for text in TEXTS.iter().copied().chain(mixed.iter().map(String::as_str)) {
            let want = t.inner.encode(text, false).unwrap();
            let got = t.encode_marked(text, &[]).unwrap();
            assert_eq!(got.ids, want.get_ids(), "{text:?} with {}", t.path.display());
            let spans: Vec<_> = want.get_offsets().iter().map(|&(a, b)| a..b).collect();
            assert_eq!(got.spans, spans, "{text:?}");
        }
    }
}

#[test]
fn text_never_becomes_a_control_token_and_still_decodes_to_itself() {
    for t in shared_tokenizers().iter().chain([&tiny()]) {
        let control: Vec<String> = t.control.iter().filter_map(|&id| t.token(id)).collect();
        assert!(!control.is_empty());
        for token in &control {
            let text = format!("say {token} and{token}{token}");
            let ids = t.encode_text(&text, false).unwrap();
            let bad = ids.iter().find(|&&id| t.is_control(id) && Some(id) != t.unk);
            assert_eq!(bad, None, "{text:?} with {}", t.path.display());
            if !t.path.to_string_lossy().contains("TinyStories") {
                assert_eq!(t.decode(&ids).unwrap(), text, "byte fallback spells it");
            }
        }
    }
}

#[test]
fn a_control_token_outside_content_stays_and_one_that_straddles_does_not() {
    let t = tiny();
    let text = "hello<|end|><|end|>";
    let marked = |text, content| t.encode_marked(text, slice::from_ref(&content)).unwrap().ids;
    let ids = marked(text, 0..text.len() - 7);
    assert_eq!(ids.iter().filter(|&&id| id == 0).count(), 1);
    assert_eq!(ids.last(), Some(&0));
    // The content ends within what would be a token: "<|end" is said, "|>" follows.
    let ids = marked("hello<|end|>", 0..10);
    assert!(!ids.contains(&0));
}

#[test]
fn a_control_token_that_the_model_spells_itself_is_taken_apart() {
    let mut json: Value = serde_json::from_slice(&tiny_json()).unwrap();
    json["pre_tokenizer"] = Value::Null;
    json["decoder"] = serde_json::json!({"type": "Fuse"});
    json["model"]["ignore_merges"] = true.into();
    let t = Tokenizer::from_bytes(&serde_json::to_vec(&json).unwrap(), Some(TINY_CONFIG)).unwrap();
    assert_eq!(t.encode("<|end|>", false).unwrap(), [0]);
    let whole = t.inner.get_model().tokenize("<|end|>").unwrap();
    assert_eq!(whole[0].id, 0, "the model does spell it");
    let encoded = t.encode_marked("<|end|>", slice::from_ref(&(0..7))).unwrap();
    assert!(!encoded.ids.contains(&0));
    assert_eq!(t.decode(&encoded.ids).unwrap(), "<|end|>");
    assert_eq!(encoded.spans.first(), Some(&(0..1)));
    assert_eq!(encoded.spans.last(), Some(&(6..7)));
}

#[test]
fn streamed_pieces_joined_are_the_whole_text() {
    for t in shared_tokenizers().iter().chain([&tiny()]) {
        let mut cases: Vec<Vec<u32>> =
            TEXTS.iter().map(|text| t.encode(text, true).unwrap()).collect();
        // Ids at random: broken characters, control tokens and lone spaces in between.
        let mut state = 7u64;
        for _ in 0..200 {
            let ids = (0..20).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as u32 % t.vocab() as u32
            });
            cases.push(ids.collect());
        }
        for ids in cases {
            let mut stream = t.stream();
            let mut text = String::new();
            for &id in &ids {
                text += &stream.push(id).unwrap();
            }
            text += &stream.finish().unwrap();
            assert_eq!(text, t.decode(&ids).unwrap(), "{ids:?} with {}", t.path.display());
        }
    }
}

#[test]
fn a_stream_shows_whole_characters_only() {
    let t = tiny();
    let mut stream = t.stream();
    let pieces: Vec<String> =
        t.encode("é🙂!", false).unwrap().into_iter().map(|id| stream.push(id).unwrap()).collect();
    assert_eq!(pieces, ["", "é", "", "", "", "🙂", "!"]);
}

#[test]
fn ends_and_special_tokens_are_read_from_every_file_that_names_them() {
    if let Some(dir) = shared("stories260K") {
        let t = Tokenizer::load(&dir).unwrap();
        assert_eq!((t.bos(), t.eos()), (Some(1), &[2, 1][..]));
        assert_eq!(t.encode("Once", true).unwrap()[0], 1);
        assert_eq!(t.vocab(), 512);
        assert!(t.check_vocab(512).is_ok());
        let error = t.check_vocab(511).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json") && error.contains("511"), "{error}");
    }
    if let Some(dir) = shared("TinyStories-656K") {
        let t = Tokenizer::load(&dir).unwrap();
        assert_eq!((t.bos(), t.eos()), (Some(1), &[2][..]));
        // Its end token is found wherever it stands, not only after a space.
        assert_eq!(t.encode("a<|end_story|>", false).unwrap().last(), Some(&2));
    }
    let t = tiny();
    assert_eq!((t.bos(), t.eos()), (None, &[0][..]));
    assert!(t.is_control(0) && t.is_control(1) && !t.is_control(2));
    let config = br#"{"eos_token": {"content": "<|end|>"}, "add_eos_token": true}"#;
    let t = Tokenizer::from_bytes(&tiny_json(), Some(config)).unwrap();
    assert_eq!(t.encode("", true).unwrap(), [0]);
}

#[test]
fn an_empty_or_invalid_tokenizer_is_an_error_that_names_the_file() {
    let tiny: Value = serde_json::from_slice(&tiny_json()).unwrap();
    let with = |path: &str, value: Value| {
        let mut json = tiny.clone();
        *json.pointer_mut(path).unwrap() = value;
        serde_json::to_vec(&json).unwrap()
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "the file is empty"),
        (b"{}".to_vec(), "not a tokenizer"),
        (b"null".to_vec(), "not a tokenizer"),
        (b"\xff\xfe{}".to_vec(), "not a tokenizer"),
        (b"{\"model\":".to_vec(), "not a tokenizer"),
        (with("/model/vocab", serde_json::json!({})), ""),
        (with("/model/merges", serde_json::json!(["q x zz", 3])), "not a tokenizer"),
        (with("/model/vocab", serde_json::json!([1, 2])), "not a tokenizer"),
        (with("/added_tokens", serde_json::json!([{"id": "x"}])), "not a tokenizer"),
        (with("/pre_tokenizer", serde_json::json!({"type": "Nothing"})), "not a tokenizer"),
        ("[".repeat(100_000).into_bytes(), "not a tokenizer"),
    ];
    for (json, want) in cases {
        let start: String = String::from_utf8_lossy(&json).chars().take(60).collect();
        let error = Tokenizer::from_bytes(&json, None).expect_err(&start).to_string();
        assert!(error.starts_with("tokenizer.json: ") && error.contains(want), "{start}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let error = Tokenizer::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
    std::fs::write(dir.path().join("tokenizer.json"), tiny_json()).unwrap();
    for (name, text, want) in [
        ("tokenizer_config.json", "{", "tokenizer_config.json: not JSON"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json: must be a JSON object"),
        ("tokenizer_config.json", r#"{"eos_token": 3}"#, "tokenizer_config.json: eos_token: must"),
        ("generation_config.json", r#"{"eos_token_id": "x"}"#, "generation_config.json: eos_tok"),
        ("config.json", r#"{"eos_token_id": [-1]}"#, "config.json: eos_token_id: must"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let error = Tokenizer::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_damaged_tokenizer_is_refused_or_works_and_never_panics() {
    let json = tiny_json();
    let mut state = 11u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let (mut refused, mut read) = (0, 0);
    for _ in 0..400 {
        let mut bad = json.clone();
        for _ in 0..=random(3) {
            let at = random(bad.len());
            match random(4) {
                0 => bad[at] = b'0' + random(10) as u8,
                1 => bad.truncate(at.max(1)),
                2 => drop(bad.drain(at..(at + random(40)).min(bad.len()))),
                _ => bad[at] = b"\"{}[]:,ex"[random(9)],
            }
            if bad.is_empty() {
                bad.push(b'{');
            }
        }
        match Tokenizer::from_bytes(&bad, Some(TINY_CONFIG)) {
            Ok(t) => {
                read += 1;
                if let Ok(ids) = t.encode_text("hello é<|end|>", true) {
                    assert!(t.decode(&ids).is_ok());
                }
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().starts_with("tokenizer"), "{error}");
            }
        }
    }
    assert!(refused > 50 && read > 20, "{refused} refused, {read} read");
}
