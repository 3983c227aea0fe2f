//! `config.json` as transformers 4 and as transformers 5 writes it means the same model.

use super::golden::{self, Golden};
use homespun_core::config::RopeScaling;
use homespun_core::family::Family;
use homespun_kernels::DType;
use homespun_runtime::checkpoint::Checkpoint;
use std::fs;

#[test]
fn either_style_of_config_gives_the_same_model() {
    for name in golden::ALL {
        let golden = Golden::open(name);
        let other = tempfile::tempdir().expect("folder");
        for entry in fs::read_dir(&golden.folder).expect("folder") {
            let file = entry.expect("entry").path();
            let target = match file.file_name().and_then(|n| n.to_str()) {
                Some("config.json") => continue,
                Some("config-other.json") => "config.json",
                Some(name) if file.is_file() => name,
                _ => continue,
            };
            fs::copy(&file, other.path().join(target)).expect("copy");
        }
        let texts = ["config.json", "config-other.json"]
            .map(|file| fs::read_to_string(golden.folder.join(file)).expect("text"));
        let styles = texts.map(|text| text.contains("rope_parameters"));
        assert_ne!(styles[0], styles[1], "{name}: both files are of one style");

        let one = Checkpoint::open(&golden.folder).expect(name);
        let two = Checkpoint::open(other.path()).expect(name);
        assert_eq!(one.config(), two.config(), "{name}");
        assert_eq!(one.special_tokens(), two.special_tokens(), "{name}");
        assert_eq!(one.base_hash(), two.base_hash(), "{name}");
    }
}

#[test]
fn the_goldens_cover_what_they_are_for() {
    let (mut families, mut dtypes) = (Vec::new(), Vec::new());
    let (mut scaled, mut untied, mut head_100, mut shared_kv, mut mlp_bias) = (0, 0, 0, 0, 0);
    for name in golden::ALL {
        let golden = Golden::open(name);
        let checkpoint = Checkpoint::open(&golden.folder).expect(name);
        let config = checkpoint.config();
        let layers = checkpoint.layers().expect(name);
        families.push(config.family);
        dtypes.push(layers[0].q_proj.weight.dtype());
        scaled += usize::from(config.rope_scaling != RopeScaling::None);
        untied += usize::from(!config.tied);
        head_100 += usize::from(config.head_dim == 100);
        shared_kv += usize::from(config.kv_heads < config.heads);
        mlp_bias += usize::from(config.mlp_bias && config.o_bias && config.qkv_bias);
    }
    for family in [Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3] {
        assert!(families.contains(&family), "{family:?}");
    }
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        assert!(dtypes.contains(&dtype), "{dtype:?}");
    }
    assert!(scaled > 0 && untied > 0 && head_100 > 0 && shared_kv > 0 && mlp_bias > 0);
    let shards = fs::read_dir(golden::models().join("llama-sharded")).expect("folder");
    let shards = shards.filter(|e| {
        let file = e.as_ref().expect("entry").path();
        file.extension().is_some_and(|x| x == "safetensors")
            && !file.ends_with("expected.safetensors")
    });
    assert!(shards.count() > 1);
}
