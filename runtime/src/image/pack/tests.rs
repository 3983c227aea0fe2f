//! Images of the models at hand, against the models themselves.

use super::*;
use crate::dialogue::{self, Message};
use crate::image::Error as ImageError;
use homespun_core::weights::{self, Layer};
use std::path::{Path, PathBuf};

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there", path.display());
    None
}

#[test]
fn the_built_in_model_is_packed_in_every_format_and_loads_where_it_lies() {
    let base = Base::builtin(None).unwrap();
    for name in ["f32", "q8", "q4"] {
        let packing = pack(&base, Weights::named(name).unwrap()).unwrap();
        assert_eq!(Weights::named(name).unwrap().name(), name);
        let aligned = Aligned::new(&packing.bytes);
        let image = Image::open(aligned.bytes()).unwrap();
        assert_eq!((image.config(), image.verify()), (base.config(), Ok(())));
        assert_eq!(image.bytes(), packing.bytes.len() as u64);
        assert!(packing.proved > 30, "{}", packing.proved);
        let mut layers = vec![Layer::empty(); image.config().layers];
        let loaded = weights::load(&image, image.config(), &mut layers).unwrap();
        let range = aligned.bytes().as_ptr_range();
        if let Storage::Packed(packed) = loaded.embed.storage() {
            assert!(range.contains(&packed.bytes().as_ptr()), "it is used where it lies");
        }
        if name == "f32" {
            let own = base.layers().unwrap();
            let dense = base.checkpoint().weights(&own).unwrap();
            assert_eq!(loaded.embed.get(5, 7), dense.embed.get(5, 7));
            let down = |layers: &[Layer<'_>]| layers[3].down_proj.weight.get(2, 9);
            assert_eq!(down(loaded.layers), down(dense.layers));
        }
    }
}

#[test]
fn every_damaged_byte_is_found() {
    let base = Base::builtin(None).unwrap();
    let bytes = pack(&base, Weights::Packed(Format::Q4)).unwrap().bytes;
    let mut damaged = Aligned::new(&bytes);
    let (from, body) = (damaged.from, Preamble::read(&bytes).unwrap().body_at as usize);
    let places = (0..body).step_by(7).chain((body..bytes.len()).step_by(40_961));
    for at in places {
        damaged.bytes[from + at] ^= 0x10;
        let opened = Image::open(damaged.bytes()).and_then(|image| image.verify());
        // What lies between header and body is nothing.
        let header = PREAMBLE_BYTES + Preamble::read(&bytes).unwrap().header_bytes as usize;
        assert_eq!(opened.is_ok(), (header..body).contains(&at), "byte {at}");
        damaged.bytes[from + at] ^= 0x10;
    }
    let open = |bytes: &[u8]| Image::open(Aligned::new(bytes).bytes()).map(drop);
    assert_eq!(open(&bytes[..63]), Err(ImageError::NoImage));
    let short = ImageError::Short { needed: bytes.len() as u64, available: bytes.len() - 1 };
    assert_eq!(open(&bytes[..bytes.len() - 1]), Err(short));
    let askew = Aligned::new(&[&[0; 4], &bytes[..]].concat());
    assert_eq!(Image::open(&askew.bytes()[4..]).map(drop), Err(ImageError::Misaligned));
    let mut other = bytes.clone();
    other[7] = 2;
    assert_eq!(open(&other), Err(ImageError::Version { found: 2 }));
}

/// Every message of every file, by the tokenizer alone; dialogues with their template.
fn compare_all(base: &Base, limit: usize) -> usize {
    let mut body = Body::default();
    let tokenizer = tokenizer::pack(base.tokenizer(), &mut body).unwrap();
    let template = template::Pieces::of(base).unwrap();
    let header = Header {
        name: "",
        shape: Shape::of(base.config()),
        bos: base.tokenizer().bos(),
        eos: Eos::new(base.tokenizer().eos()).unwrap(),
        tokenizer,
        template: template.borrow(),
        tensors: 0,
    };
    let bytes = whole(&encoded(&header), &body.into_bytes());
    let aligned = Aligned::new(&bytes);
    let image = Image::open(aligned.bytes()).unwrap();
    proof::prove(base, &image).unwrap();
    let Some(data) = shared("data") else { return 0 };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut compared = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "jsonl")) {
        let text = std::fs::read_to_string(file).unwrap();
        let dialogues = text.lines().filter_map(|line| dialogue::parse(line).ok());
        for one in dialogues.take(limit) {
            let mut texts: Vec<&Message> = one.messages.iter().collect();
            texts.dedup();
            for message in texts {
                proof::text(base, &image, &message.content).unwrap();
                compared += 1;
            }
            proof::dialogue(base, &image, &one.messages, false).unwrap();
        }
    }
    compared
}

/// The dialogues of each file that are compared; `HOMESPUN_ALL_MESSAGES=1` compares all.
fn limit() -> usize {
    let all = std::env::var_os("HOMESPUN_ALL_MESSAGES").is_some();
    if all { usize::MAX } else { 40 }
}

#[test]
fn the_built_in_tokenizer_is_that_of_hugging_face_on_every_message() {
    let compared = compare_all(&Base::builtin(None).unwrap(), limit());
    eprintln!("{compared} messages");
}

#[test]
fn tokenizers_of_others_are_those_of_hugging_face_on_every_message() {
    for name in ["models/TinyStories-656K", "models/stories260K", "models/dialogue-5m"] {
        let Some(path) = shared(name) else { return };
        let compared = compare_all(&Base::open(&path, None).unwrap(), limit());
        eprintln!("{name}: {compared} messages");
    }
    let Some(path) = shared("models/smollm2-tokenizer") else { return };
    let checkpoint = crate::builtin::checkpoint().unwrap();
    let base = Base::with_larger_tokenizer("smollm2", checkpoint, &path).unwrap();
    let compared = compare_all(&base, limit());
    eprintln!("smollm2: {compared} messages");
}

#[test]
fn what_no_image_can_say_is_refused_by_its_field() {
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 8] = [
        ("model.type", |json| {
            json["model"] =
                serde_json::json!({"type": "WordLevel", "unk_token": "!", "vocab": {"!": 0}})
        }),
        ("model.ignore_merges", |json| json["model"]["ignore_merges"] = true.into()),
        ("model.end_of_word_suffix", |json| json["model"]["end_of_word_suffix"] = "w".into()),
        ("pre_tokenizer", |json| json["pre_tokenizer"]["add_prefix_space"] = true.into()),
        ("pre_tokenizer", |json| json["pre_tokenizer"] = serde_json::json!({"type": "Whitespace"})),
        ("normalizer", |json| json["normalizer"] = serde_json::json!({"type": "NFC"})),
        ("added_tokens", |json| json["added_tokens"][5]["special"] = false.into()),
        ("added_tokens", |json| json["added_tokens"][5]["lstrip"] = true.into()),
    ];
    for (field, change) in cases {
        let mut json: serde_json::Value =
            serde_json::from_slice(crate::builtin::TOKENIZER).unwrap();
        change(&mut json);
        let bytes = serde_json::to_vec(&json).unwrap();
        let tokenizer = crate::tokenizer::Tokenizer::from_bytes(&bytes, None).unwrap();
        let error = tokenizer::pack(&tokenizer, &mut Body::default()).expect_err(field);
        assert!(error.to_string().contains(&format!("`{field}")), "{field}: {error}");
    }
}

#[test]
fn a_template_that_looks_at_more_than_roles_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (source, part) in [
        ("{% for m in messages %}{{ m.content[:3] }}{% endfor %}", "more or less than once"),
        ("{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}", "differs"),
        (
            "{% for m in messages %}{{ m.content }}{% if not loop.last %}!{% endif %}{% endfor %}",
            "",
        ),
        ("{% for m in messages %}{{ m.content | upper }}.{% endfor %}", ""),
    ] {
        let file = folder.path().join("t.jinja");
        std::fs::write(&file, source).unwrap();
        let base = Base::builtin(Some(&file)).unwrap();
        match pack(&base, Weights::Packed(Format::Q4)) {
            Err(error) => assert!(error.to_string().contains(part), "{source}: {error}"),
            // What stands between messages is a prefix: nothing is lost by it.
            Ok(_) => assert!(source.contains("loop.last"), "{source} was packed"),
        }
    }
}
