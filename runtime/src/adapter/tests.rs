//! Adapters out and in.

use homespun_core::config::RopeScaling;
use homespun_core::family::Family;
use homespun_core::lora::{Scaling, Target, Targets};

use super::*;

pub(super) fn base() -> Config {
    Config {
        family: Family::Llama,
        dim: 8,
        hidden: 12,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 2,
        vocab: 16,
        max_context: 32,
        norm_eps: 1e-5,
        rope_theta: 1e4,
        rope_scaling: RopeScaling::None,
        tied: true,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
    }
}

pub(super) fn adapter(targets: Targets) -> Adapter {
    let config = LoraConfig::new(3, 6.5, 0.05, targets);
    let n = config.parameters(&base());
    Adapter {
        config,
        parameters: (0..n).map(|i| i as f32 * 0.25 - 7.0).collect(),
        base: Some("tiny".to_owned()),
        trained_on: None,
    }
}

#[test]
fn an_adapter_comes_back_as_it_was_written() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("adapter");
    let hash = |digit: &str| digit.repeat(64);
    let on = state::Base { weights: hash("1"), tokenizer: hash("2"), template: hash("3") };
    for (targets, trained_on) in [
        (Targets::ALL, None),
        (Targets::ATTENTION, Some(on)),
        (Targets::NONE.with(Target::Down), None),
    ] {
        let adapter = Adapter { trained_on, ..adapter(targets) };
        adapter.save(&path, &base()).expect("save");
        assert_eq!(Adapter::open(&path, &base()).expect("open"), adapter);
        let first = adapter.files(&base()).expect("files");
        assert_eq!(first, adapter.files(&base()).expect("again"), "not deterministic");
    }
}

#[test]
fn the_scaling_is_kept_and_a_frozen_a_is_not_in_the_file() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("adapter");
    let mut adapter = adapter(Targets::ALL);
    adapter.config.scaling = Scaling::RankStabilised;
    adapter.config.freeze_a = true;
    adapter.save(&path, &base()).expect("save");
    let read = Adapter::open(&path, &base()).expect("open");
    adapter.config.freeze_a = false;
    assert_eq!(read, adapter);
}

#[test]
fn an_adapter_for_another_base_names_the_tensor_and_both_shapes() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("adapter");
    adapter(Targets::ATTENTION).save(&path, &base()).expect("save");
    let other = Config { dim: 16, ..base() };
    let message = Adapter::open(&path, &other).expect_err("other base").to_string();
    for part in ["adapter_model.safetensors", "another base", "q_proj.lora_A", "[3, 8]", "[3, 16]"]
    {
        assert!(message.contains(part), "{message}");
    }
    let deeper = Config { layers: 3, ..base() };
    let message = Adapter::open(&path, &deeper).expect_err("deeper").to_string();
    assert!(message.contains("layers.2") && message.contains("missing"), "{message}");
    let flatter = Config { layers: 1, ..base() };
    let message = Adapter::open(&path, &flatter).expect_err("flatter").to_string();
    assert!(message.contains("layers.1") && message.contains("not expected"), "{message}");
}
