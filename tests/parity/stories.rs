//! A real checkpoint end to end: stories260K (llama2.c) tells its published story.

use super::golden;
use homespun_core::arena::Arena;
use homespun_core::cache::{KvCache, KvType};
use homespun_core::compute::Compute;
use homespun_core::model::inference_bytes;
use homespun_kernels::Kernels;
use homespun_runtime::checkpoint::Checkpoint;
use homespun_runtime::tokenizer::Tokenizer;
use std::path::Path;

/// The greedy story of llama2.c's own test, up to where 199 tokens end.
const STORY: &str = "Once upon a time, there was a little girl named Lily. She loved to play outside \
in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \
\"I want to play with your ball, but I can't find it.\"
Lily was sad and didn't know what to do. She said, \"I'm sorry, Lily. I didn't know what to do.\"
Lily didn't want to help her mom, so";

#[test]
fn stories260k_tells_its_published_story() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models/stories260K");
    if !folder.exists() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let checkpoint = Checkpoint::open(&folder).expect("checkpoint");
    let tokenizer = Tokenizer::load(&folder).expect("tokenizer");
    let layers = checkpoint.layers().expect("layers");
    let model = golden::model(&checkpoint, &layers);
    let config = &model.config;
    tokenizer.check_vocab(config.vocab).expect("vocabulary");
    for kernels in Kernels::available() {
        let compute = Compute::serial(kernels);
        let mut memory = vec![u32::MAX; KvCache::words(config, KvType::F32, 200)];
        let mut cache = KvCache::new(config, KvType::F32, &mut memory).expect("cache");
        let mut bytes = vec![0; inference_bytes(config, None, 1)];
        let (mut state, mut normed) = (vec![0.0; config.dim], vec![0.0; config.dim]);
        let mut logits = vec![0.0; config.vocab];
        let mut story = vec![tokenizer.bos().expect("bos")];
        for i in 0..199 {
            let mut arena = Arena::new(&mut bytes);
            let last = &story[i..];
            model
                .forward(compute, None, last, &mut cache, &mut arena, &mut state)
                .expect("forward");
            model.final_norm(compute, &state, &mut normed).expect("norm");
            model.logits(compute, &normed, &mut Arena::new(&mut []), &mut logits).expect("logits");
            let best = (0..config.vocab).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            story.push(best.expect("vocabulary") as u32);
        }
        let text = tokenizer.decode(&story).expect("text");
        assert_eq!(text, STORY, "{}", kernels.isa().name());
    }
}
