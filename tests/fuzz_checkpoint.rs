//! Damage by chance: files cut at many places and bytes flipped. A file is refused or, where the
//! damage is without effect on its structure, opened; nothing panics.

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use homespun_core::cache::KvType;
use homespun_core::compute::Compute;
use homespun_core::lora::{LoraConfig, Targets};
use homespun_kernels::{Kernels, Serial};
use homespun_runtime::adapter::Adapter;
use homespun_runtime::checkpoint::Checkpoint;
use homespun_runtime::state::Base;
use homespun_runtime::{engine, quantize};

use crate::quantised::{Q4, copy};
use crate::small_model::{SmallModel, put, safetensors_file};

/// xorshift64*, enough to pick places.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// `bytes` with one to four bytes changed among the first `within`.
fn damaged(bytes: &[u8], within: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(within);
        bytes[at] = match dice.below(4) {
            0 => bytes[at] ^ (1 << dice.below(8)),
            1 => b"0123456789[]{},:\"-"[dice.below(18)],
            2 => 0xff,
            _ => dice.below(256) as u8,
        };
    }
    bytes
}

#[test]
fn weights_cut_anywhere_are_refused() {
    let model = SmallModel::new();
    model.write();
    let whole = safetensors_file(&model.tensors);
    let ends = (0..whole.len()).step_by(61).chain(0..64).chain(whole.len() - 64..whole.len());
    for end in ends {
        model.put("model.safetensors", &whole[..end]);
        let error = Checkpoint::open(model.path()).expect_err("cut").to_string();
        assert!(error.contains("model.safetensors"), "{error}");
    }
    model.put("model.safetensors", [whole.as_slice(), &[0]].concat());
    assert!(Checkpoint::open(model.path()).is_err(), "a byte too many");
}

#[test]
fn flipped_bytes_of_a_header_never_panic() {
    let model = SmallModel::new();
    model.write();
    let whole = safetensors_file(&model.tensors);
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize;
    let mut dice = Dice(7);
    let mut refused = 0;
    for round in 0..2000 {
        let bytes = damaged(&whole, header, &mut dice);
        model.put("model.safetensors", &bytes);
        let opened = catch_unwind(|| Checkpoint::open(model.path()).map(|c| c.base_hash()));
        let Ok(opened) = opened else {
            panic!("round {round} panics: {}", String::from_utf8_lossy(&bytes[..header]));
        };
        refused += usize::from(opened.is_err());
    }
    assert!(refused > 1000, "only {refused} of 2000 refused");
}

/// The planted bug: a reader that believes the header.
fn trusting(bytes: &[u8]) -> usize {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header: serde_json::Value = match serde_json::from_slice(&bytes[8..8 + length]) {
        Ok(header) => header,
        Err(_) => return 0,
    };
    let data = &bytes[8 + length..];
    let tensors = header.as_object().into_iter().flat_map(|o| o.values());
    let ends = tensors.map(|t| [0, 1].map(|i| t["data_offsets"][i].as_u64().unwrap_or(0) as usize));
    ends.map(|[from, to]| data[from..to].len()).sum()
}

#[test]
fn the_same_damage_panics_a_reader_that_believes_the_header() {
    let whole = safetensors_file(&SmallModel::new().tensors);
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize;
    let mut dice = Dice(7);
    let panics = (0..200).filter(|_| {
        let bytes = damaged(&whole, header, &mut dice);
        catch_unwind(|| trusting(&bytes)).is_err()
    });
    assert!(panics.count() > 0);
}

#[test]
fn flipped_bytes_of_a_configuration_never_panic() {
    let model = SmallModel::new();
    model.write();
    let whole = model.config.to_string().into_bytes();
    let mut dice = Dice(11);
    for round in 0..2000 {
        let bytes = damaged(&whole, whole.len(), &mut dice);
        model.put("config.json", &bytes);
        let opened = catch_unwind(|| Checkpoint::open(model.path()).map(drop));
        assert!(opened.is_ok(), "round {round} panics: {}", String::from_utf8_lossy(&bytes));
    }
}

/// The model at work, with activations in f32 and in int8; NaN is no failure.
fn logits(checkpoint: &Checkpoint) -> Result<(), ()> {
    let layers = checkpoint.layers().map_err(drop)?;
    let model = checkpoint.model(&layers).map_err(drop)?;
    for int8 in [false, true] {
        let compute = Compute::serial(Kernels::detect()).with_int8(int8);
        let found = engine::logits(&model, compute, KvType::F32, None, &[1, 5, 2]).map_err(drop)?;
        assert_eq!(found.len(), 3 * checkpoint.config().vocab);
    }
    Ok(())
}

#[test]
fn flipped_bytes_of_a_quantised_folder_never_panic() {
    let (_place, packed) = copy(&SmallModel::new().write(), Q4);
    let read = |name| std::fs::read(packed.path().join(name)).expect("file");
    let (config, weights) = (read("config.json"), read("model.safetensors"));
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().expect("8 bytes")) as usize;
    let from = config.windows(12).position(|w| w == b"quantization").expect("quantization_config");
    let folder = tempfile::tempdir().expect("folder");
    let mut dice = Dice(17);
    let mut refused = 0;
    for round in 0..2000 {
        let (config, weights) = match round % 3 {
            0 => (config.clone(), damaged(&weights, header, &mut dice)),
            1 => (config.clone(), damaged(&weights, weights.len(), &mut dice)),
            _ => {
                let tail = damaged(&config[from..], config.len() - from, &mut dice);
                ([&config[..from], &tail].concat(), weights.clone())
            }
        };
        put(folder.path(), "config.json", &config);
        put(folder.path(), "model.safetensors", &weights);
        let scan = || {
            let checkpoint = Checkpoint::open(folder.path()).map_err(drop)?;
            logits(&checkpoint)?;
            let verdict = quantize::verify(&checkpoint, &Serial).map_err(drop)?;
            if verdict.damage.is_empty() { Ok(()) } else { Err(()) }
        };
        let Ok(found) = catch_unwind(scan) else {
            panic!("round {round} panics: {}", String::from_utf8_lossy(&config));
        };
        refused += usize::from(found.is_err());
    }
    assert!(refused > 1000, "only {refused} of 2000 refused");
}

#[test]
fn flipped_bytes_of_an_adapter_never_panic() {
    let base = *Checkpoint::open(&SmallModel::new().write()).expect("base").config();
    let config = LoraConfig::new(2, 4.0, 0.0, Targets::ATTENTION);
    let parameters = vec![0.5; config.parameters(&base)];
    let folder = tempfile::tempdir().expect("folder");
    let hash = "0123456789abcdef".repeat(4);
    let on = Base { weights: hash.clone(), tokenizer: hash.clone(), template: hash };
    let adapter = Adapter { config, parameters, base: None, trained_on: Some(on) };
    let [json, tensors] = adapter.files(&base).expect("files");
    let mut dice = Dice(13);
    for round in 0..2000 {
        let (json, tensors) = match round % 2 {
            0 => (damaged(&json, json.len(), &mut dice), tensors.clone()),
            _ => (json.clone(), damaged(&tensors, tensors.len(), &mut dice)),
        };
        put(folder.path(), "adapter_config.json", &json);
        put(folder.path(), "adapter_model.safetensors", &tensors);
        let open = AssertUnwindSafe(|| Adapter::open(folder.path(), &base).map(drop));
        assert!(catch_unwind(open).is_ok(), "round {round} panics");
    }
}
