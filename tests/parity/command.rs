//! `homespun logits`, as a user runs it: the folders have weights and no tokenizer.

use super::golden::{self, Golden, relative_error};
use clap::Parser;
use homespun_runtime::cli::Cli;
use safetensors::SafeTensors;
use std::ffi::OsString;
use std::path::Path;

/// The logits `(T, V)` that `homespun logits` writes for one sequence, and their shape.
fn logits(model: &Path, adapter: Option<&Path>, tokens: &[u32]) -> (Vec<usize>, Vec<f32>) {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("logits.safetensors");
    let tokens = tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut line: Vec<OsString> = vec!["homespun".into(), "logits".into(), "--model".into()];
    line.extend([
        model.into(),
        "--tokens".into(),
        tokens.into(),
        "--out".into(),
        out.clone().into(),
    ]);
    if let Some(adapter) = adapter {
        line.extend(["--adapter".into(), adapter.into()]);
    }
    Cli::try_parse_from(line).expect("command line").run().expect("logits");
    let bytes = std::fs::read(&out).expect("file");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let view = tensors.tensor("logits").expect("logits");
    let values = view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    (view.shape().to_vec(), values)
}

#[test]
fn the_command_writes_the_logits_of_transformers_and_peft() {
    for name in golden::ALL {
        let golden = Golden::open(name);
        let adapters = golden.adapters();
        let keys = adapters.iter().map(|key| Some(key.as_str())).chain([None]);
        for key in keys {
            let adapter = key.map(|key| golden.folder.join(key));
            let expected = key.map_or("logits".to_owned(), |key| format!("{key}.logits"));
            let mut ours = Vec::new();
            for (tokens, _) in golden.sequences() {
                let (shape, values) = logits(&golden.folder, adapter.as_deref(), &tokens);
                assert_eq!(shape, [tokens.len(), values.len() / tokens.len()], "{name}");
                ours.extend(values);
            }
            let error = relative_error(&ours, &golden.f32(&expected));
            assert!(error <= 1e-4, "{name} {expected}: {error:.1e}");
        }
    }
}
