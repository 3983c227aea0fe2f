//! Opening whole folders.

use std::path::Path;

use homespun_core::family::Family;

use super::*;

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn stories260k_opens_with_all_its_weights() {
    let Some(path) = shared("stories260K") else { return };
    let checkpoint = Checkpoint::open(&path).expect("stories260K");
    let config = checkpoint.config();
    assert_eq!(config.family, Family::Llama);
    assert_eq!((config.dim, config.hidden, config.layers, config.vocab), (64, 172, 5, 512));
    assert_eq!((config.heads, config.kv_heads, config.head_dim), (8, 4, 8));
    assert_eq!(checkpoint.special_tokens().bos, Some(1));
    assert_eq!(checkpoint.special_tokens().eos, [1, 2]);
    let layers = checkpoint.layers().expect("layers");
    let weights = checkpoint.weights(&layers).expect("weights");
    assert_eq!(weights.layers.len(), 5);
    assert_eq!((weights.head.rows(), weights.head.cols()), (512, 64));
    assert_eq!(checkpoint.base_hash().len(), 64);
}
