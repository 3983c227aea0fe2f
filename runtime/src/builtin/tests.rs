//! The built-in files open and agree; streams are reproducible and leak no held-out reply.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::*;
use crate::dialogue::{Dialogue, Role, read_lines};

/// Streams that the tests look at; none that a measurement uses.
const SEEDS: [u64; 8] = [0, 1, 2, 3, 17, 99, 12_345, u64::MAX];

/// The base's own replies, hashed by the generator of its corpus, in ascending order.
const CORPUS_REPLIES: &[u8] = include_bytes!("../../../tests/golden/corpus_replies.bin");

/// General questions that the generator keeps out of the corpus.
const GENERAL: &str = include_str!("../../../tests/golden/general_held_out.jsonl");

/// The lower-case words of ASCII letters and digits, joined by single spaces.
fn normal(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The hash of corpus.py: the first eight bytes of SHA-256 of the normal form.
fn reply_hash(text: &str) -> u64 {
    let digest = Sha256::digest(normal(text).as_bytes());
    u64::from_le_bytes(core::array::from_fn(|i| digest[i]))
}

fn corpus() -> HashSet<u64> {
    CORPUS_REPLIES.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect()
}

fn question(dialogue: &Dialogue) -> &str {
    &dialogue.messages[0].content
}

#[test]
fn the_model_opens_and_its_weights_are_aligned() {
    let checkpoint = checkpoint().unwrap();
    let config = checkpoint.config();
    assert_eq!((config.dim, config.hidden, config.layers, config.vocab), (128, 384, 6, 1024));
    assert!(config.tied);
    let parameters = checkpoint.weight_bytes() / 2;
    assert!((1_000_000..4_000_000).contains(&parameters), "{parameters}");
    assert_eq!(WEIGHTS.as_ptr() as usize % 64, 0);
    let header: [u8; 8] = WEIGHTS[..8].try_into().unwrap();
    assert_eq!((8 + u64::from_le_bytes(header)) % 64, 0, "the first tensor is aligned");
}

#[test]
fn the_tokenizer_has_an_id_for_every_byte_and_control_token() {
    let tokenizer = tokenizer().unwrap();
    tokenizer.check_vocab(checkpoint().unwrap().config().vocab).unwrap();
    for token in ["<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"] {
        assert!(CHAT_TEMPLATE.contains(token) || CHAT_TEMPLATE.contains("'<|' + message['role']"));
        assert!(tokenizer.is_control(tokenizer.id(token).unwrap()), "{token}");
    }
    assert_eq!(tokenizer.token(tokenizer.eos()[0]).as_deref(), Some("<|end|>"));
}

#[test]
fn a_seed_gives_one_stream_and_another_seed_another() {
    for seed in SEEDS {
        assert_eq!(stream(seed, Size::DEFAULT), stream(seed, Size::DEFAULT));
    }
    let streams: HashSet<String> =
        SEEDS.iter().map(|&s| format!("{:?}", stream(s, Size::QUICK))).collect();
    assert_eq!(streams.len(), SEEDS.len());
}

#[test]
fn streams_have_the_sizes_asked_for() {
    for size in [Size::DEFAULT, Size::QUICK, Size { dialogues: 0, held_out: 3, tastes: 99 }] {
        let stream = stream(5, size);
        assert_eq!(
            (stream.dialogues.len(), stream.held_out.len()),
            (size.dialogues, size.held_out)
        );
        for dialogue in &stream.dialogues {
            assert_eq!(dialogue.messages.len(), 2);
            assert!(dialogue.response().is_some_and(|r| !r.is_empty()));
            assert!(dialogue.preferred.as_ref().is_some_and(|r| !r.is_empty()));
        }
        assert!(stream.held_out.iter().all(|d| d.response().is_some() && d.preferred.is_none()));
    }
    let nobody = Size { dialogues: 20, held_out: 4, tastes: 0 };
    assert!(stream(5, nobody).held_out.is_empty(), "without tastes there is nothing to ask");
}

#[test]
fn tastes_differ_between_seeds() {
    let replies = |seed| -> HashSet<String> {
        stream(seed, Size::DEFAULT).dialogues.iter().filter_map(|d| d.preferred.clone()).collect()
    };
    let plain: HashSet<String> =
        stream(1, Size::DEFAULT).dialogues.iter().map(|d| d.messages[1].content.clone()).collect();
    let (one, two) = (replies(1), replies(2));
    let own = one.iter().filter(|r| !plain.contains(*r)).count();
    let shared = one.iter().filter(|r| !plain.contains(*r) && two.contains(*r)).count();
    assert!(own >= 30, "{own}");
    assert_eq!(shared, 0);
}

#[test]
fn a_stream_repeats_itself_drifts_and_has_noise() {
    let stream = stream(1, Size::DEFAULT);
    let mut times: HashMap<&str, usize> = HashMap::new();
    for dialogue in &stream.dialogues {
        *times.entry(question(dialogue)).or_default() += 1;
    }
    assert!(times.values().any(|&n| n >= 3), "nothing is asked again");
    let is_noise = |d: &&Dialogue| d.preferred.as_deref() == d.response();
    let noise = stream.dialogues.iter().filter(is_noise).count();
    assert!((60..140).contains(&noise), "{noise} of 400");
    // Drift: a block's most frequent reply is rare in the rest.
    let replies = |range: core::ops::Range<usize>| -> HashSet<&str> {
        let part = &stream.dialogues[range];
        part.iter().filter(|d| !is_noise(d)).filter_map(Dialogue::response).collect()
    };
    let (first, second) = (replies(0..24), replies(24..48));
    let common = first.intersection(&second).count();
    assert!(common * 2 < first.len(), "{common} of {} stay", first.len());
}

#[test]
fn held_out_questions_are_new_and_about_tastes_of_the_stream() {
    for seed in SEEDS {
        let stream = stream(seed, Size::DEFAULT);
        let asked: HashSet<String> = stream.dialogues.iter().map(|d| normal(question(d))).collect();
        let new: HashSet<String> = stream.held_out.iter().map(|d| normal(question(d))).collect();
        assert_eq!(
            new.len(),
            stream.held_out.len(),
            "seed {seed}: a held-out question comes twice"
        );
        assert!(new.is_disjoint(&asked), "seed {seed}");
        let preferred: Vec<&str> =
            stream.dialogues.iter().filter_map(|d| d.preferred.as_deref()).collect();
        let best = |d: &Dialogue| {
            let reference = d.response().unwrap();
            let scores = preferred.iter().map(|p| homespun_core::rouge::rouge1(reference, p).f1);
            scores.fold(0.0, f64::max)
        };
        let known = stream.held_out.iter().filter(|d| best(d) > 0.5).count();
        assert!(known * 10 >= stream.held_out.len() * 8, "seed {seed}: {known} can be learnt");
    }
}

#[test]
fn no_held_out_reply_occurs_in_the_stream() {
    for seed in SEEDS {
        for size in [Size::DEFAULT, Size::QUICK] {
            let stream = stream(seed, size);
            let said = said_in(&stream.dialogues);
            let leak = stream
                .held_out
                .iter()
                .filter_map(Dialogue::response)
                .find(|r| said.contains(&normal(r)));
            assert_eq!(leak, None, "seed {seed}");
        }
    }
}

#[test]
fn a_held_out_reply_planted_in_the_stream_is_found() {
    let mut stream = stream(1, Size::QUICK);
    let reply = stream.held_out[0].response().unwrap().to_uppercase();
    stream.dialogues[3].preferred = Some(reply.clone());
    assert!(said_in(&stream.dialogues).contains(&normal(&reply)));
}

/// The normal form of everything that a stream holds, preferred replies included.
fn said_in(dialogues: &[Dialogue]) -> HashSet<String> {
    let messages = dialogues.iter().flat_map(|d| &d.messages).map(|m| normal(&m.content));
    messages.chain(dialogues.iter().filter_map(|d| d.preferred.as_deref()).map(normal)).collect()
}

#[test]
fn no_held_out_reply_occurs_in_the_base_s_corpus() {
    let corpus = corpus();
    for seed in SEEDS {
        let stream = stream(seed, Size::DEFAULT);
        for reply in stream.held_out.iter().filter_map(Dialogue::response) {
            assert!(!corpus.contains(&reply_hash(reply)), "seed {seed}: {reply}");
        }
    }
}

#[test]
fn a_reply_of_the_corpus_is_found_by_its_hash() {
    let corpus = corpus();
    assert!(corpus.len() > 10_000);
    // The corpus holds the generic replies of the world, however they are written.
    let stream = stream(1, Size::DEFAULT);
    let taste = stream.dialogues.iter().find(|d| d.preferred.as_deref() != d.response()).unwrap();
    let planted = taste.response().unwrap();
    assert!(corpus.contains(&reply_hash(planted)), "{planted}");
    assert!(corpus.contains(&reply_hash(&planted.to_uppercase().replace(' ', " - "))));
}

#[test]
fn general_questions_are_dialogues_with_one_reply() {
    let path = Path::new("general_held_out.jsonl");
    let (dialogues, skipped) = read_lines(GENERAL.as_bytes(), path, true).unwrap();
    assert!(skipped.is_empty());
    assert!(dialogues.len() >= 90, "{}", dialogues.len());
    assert!(
        dialogues.iter().all(|d| d.messages.len() == 2 && d.messages[1].role == Role::Assistant)
    );
}

#[test]
fn the_synthesis_prompt_is_the_one_that_the_model_learnt() {
    let corpus = include_str!("../../../tests/oracle/corpus.py");
    let (first, second) = SYNTHESIS_PROMPT.split_once(". ").unwrap();
    assert!(corpus.contains(&format!("PROMPT = (\"{first}. \"")));
    assert!(corpus.contains(&format!("\"{}\")", second.replace('\n', "\\n"))));
}

#[test]
fn the_model_answers_its_examples_as_the_world_does() {
    let base = crate::engine::Base::builtin(None).unwrap();
    let layers = base.layers().unwrap();
    let (kernels, pool) = (homespun_kernels::Kernels::detect(), homespun_kernels::Serial);
    let engine = crate::engine::Engine::new(&base, &layers, kernels, &pool).unwrap();
    let world = world::World::load();
    let general = world.general.iter().map(|(_, reply)| reply);
    let known: Vec<&String> = world.slots.iter().flat_map(|s| &s.generic).chain(general).collect();
    let Examples { domains, questions } = examples();
    assert!(domains.len() > 5 && questions.len() == domains.len() + 1, "{domains:?}");
    for question in questions {
        let asked = [crate::dialogue::Message::new(Role::User, question.as_str())];
        let sampling = crate::engine::Sampling::greedy(40);
        let (reply, _) = engine.session(None).reply(&asked, &sampling, 512).unwrap();
        let alike = |known: &&String| crate::personalize::evaluate::rouge1(known, &reply) > 0.6;
        assert!(known.iter().any(alike), "{question} {reply}");
    }
}
