//! Prefill and decode agree, errors name what is wrong, and nothing of a failed call stays.

use homespun_kernels::quant::Format;

use super::*;
use crate::cache::KvType;
use crate::lora::{LoraConfig, Targets};
use crate::testing::{Random, compute, random, tiny};

const CONFIGS: [fn() -> Config; 4] = [
    tiny,
    || Config { tied: true, qkv_bias: true, o_bias: true, mlp_bias: true, ..tiny() },
    || Config { qk_norm: true, kv_heads: 1, ..tiny() },
    || Config { head_dim: 10, kv_heads: 4, qkv_bias: true, ..tiny() },
];

fn tokens(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i + 3 * i + 1) % 31).collect()
}

fn lora() -> LoraConfig {
    LoraConfig::new(2, 4.0, 0.5, Targets::ALL)
}

/// The states of `pieces`, one call each, from an empty cache of `context` tokens.
fn states(
    random: &Random,
    parameters: Option<&[f32]>,
    pieces: &[&[u32]],
    context: usize,
) -> Result<Vec<f32>, Error> {
    let layers = random.layers();
    let model = random.model(&layers);
    let lora = parameters.map(|parameters| Lora { config: lora(), parameters });
    run(compute(), KvType::F32, &model, lora, pieces, context)
}

/// The states of `pieces` as `compute` and `kv` make them.
fn run(
    compute: Compute,
    kv: KvType,
    model: &Model,
    lora: Option<Lora>,
    pieces: &[&[u32]],
    context: usize,
) -> Result<Vec<f32>, Error> {
    let config = &model.config;
    let mut memory = vec![u32::MAX; KvCache::words(config, kv, context)];
    let mut cache = KvCache::new(config, kv, &mut memory).unwrap();
    let mut all = Vec::new();
    for piece in pieces {
        let lora_config = lora.as_ref().map(|l| &l.config);
        let mut memory = vec![0xff; inference_bytes(config, lora_config, piece.len())];
        let mut arena = Arena::new(&mut memory);
        let mut states = vec![f32::NAN; piece.len() * config.dim];
        model.forward(compute, lora, piece, &mut cache, &mut arena, &mut states)?;
        all.extend(states);
    }
    Ok(all)
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 2e-5, "off by {worst}");
}

#[test]
fn decoding_one_by_one_gives_the_states_of_prefill_across_tiles_and_pieces() {
    for config in CONFIGS {
        let random = Random::new(config());
        let tokens = tokens(BATCH + 20);
        let at_once = states(&random, None, &[&tokens], 200).unwrap();
        let singles: Vec<&[u32]> = tokens.chunks(1).collect();
        assert_close(&at_once, &states(&random, None, &singles, tokens.len()).unwrap());
        let mixed = [&tokens[..70], &tokens[70..71], &tokens[71..]];
        assert_close(&at_once, &states(&random, None, &mixed, 150).unwrap());
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_a_trained_one_does() {
    let weights = Random::new(tiny());
    let tokens = tokens(9);
    let plain = states(&weights, None, &[&tokens], 9).unwrap();
    let mut parameters = vec![0.0; lora().parameters(&tiny())];
    lora().init(&tiny(), &mut crate::rng::Rng::new(1), &mut parameters);
    assert_eq!(plain, states(&weights, Some(&parameters), &[&tokens], 9).unwrap());
    let parameters = random(5, parameters.len());
    let adapted = states(&weights, Some(&parameters), &[&tokens], 9).unwrap();
    assert!(adapted.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn a_wrong_token_a_full_cache_a_short_adapter_and_little_memory_are_errors() {
    let random = Random::new(tiny());
    let error = states(&random, None, &[&[1, 31]], 9).unwrap_err();
    assert_eq!(error, Error::Token { index: 1, token: 31, vocab: 31 });
    let error = states(&random, None, &[&[1, 2], &[3, 4]], 3).unwrap_err();
    assert_eq!(error, Error::Full { tokens: 2, len: 2, capacity: 3 });
    let error = states(&random, Some(&[0.0; 5]), &[&[1]], 9).unwrap_err();
    assert_eq!(error, Error::Adapter { expected: lora().parameters(&tiny()), found: 5 });

    let layers = random.layers();
    let mut memory = vec![u32::MAX; KvCache::words(&tiny(), KvType::F32, 4)];
    let mut cache = KvCache::new(&tiny(), KvType::F32, &mut memory).unwrap();
    let mut bytes = vec![0u8; 200];
    let mut arena = Arena::new(&mut bytes);
    let mut states = vec![0.0; 2 * 12];
    let error = random
        .model(&layers)
        .forward(compute(), None, &[1, 2], &mut cache, &mut arena, &mut states)
        .unwrap_err();
    let Error::OutOfMemory(OutOfMemory { needed, .. }) = error else { panic!("{error}") };
    assert!(needed <= inference_bytes(&tiny(), None, 2) && needed > 200);
    assert_eq!(cache.len(), 0);
    let other = Config { layers: 1, ..tiny() };
    let mut cache = KvCache::new(&other, KvType::F32, &mut memory).unwrap();
    let error = random
        .model(&layers)
        .forward(compute(), None, &[1, 2], &mut cache, &mut arena, &mut states)
        .unwrap_err();
    assert_eq!(error, Error::Cache);
    assert!(KvCache::new(&tiny(), KvType::F32, &mut [0; 3]).is_err());
}

#[test]
fn a_weight_that_is_not_finite_is_named_by_layer_and_module() {
    let config = Config { qk_norm: true, ..tiny() };
    // Tensors of layer 1, as `testing::Random` lays them out, and the module that must be named.
    let cases = [
        (0, "input_layernorm"),
        (1, "post_attention_layernorm"),
        (2, "self_attn.q_norm"),
        (3, "self_attn.k_norm"),
        (4, "self_attn.q_proj"),
        (6, "self_attn.k_proj"),
        (8, "self_attn.v_proj"),
        (10, "self_attn.o_proj"),
        (12, "mlp.gate_proj"),
        (14, "mlp.up_proj"),
        (16, "mlp.down_proj"),
    ];
    for value in [f32::NAN, f32::INFINITY] {
        for (tensor, module) in cases {
            let mut random = Random::new(config);
            random.tensors[18 + tensor][1] = value;
            let error = states(&random, None, &[&tokens(5)], 9).unwrap_err();
            assert_eq!(error, Error::NonFinite { layer: Some(1), tensor: module });
        }
    }
    let mut random = Random::new(config);
    random.tensors[37][0] = f32::NAN;
    let error = states(&random, None, &[&[0]], 9).unwrap_err();
    assert_eq!(error, Error::NonFinite { layer: None, tensor: "model.embed_tokens" });
}

#[test]
fn the_final_norm_and_the_head_are_named_too() {
    let mut random = Random::new(tiny());
    random.tensors[36][0] = f32::NAN;
    random.tensors[38][0] = f32::NAN;
    let layers = random.layers();
    let model = random.model(&layers);
    let (mut normed, mut logits) = ([0.0; 12], [0.0; 31]);
    let norm = model.final_norm(compute(), &[1.0; 12], &mut normed);
    assert_eq!(norm, Err(Error::NonFinite { layer: None, tensor: "model.norm" }));
    let head = model.logits(compute(), &[1.0; 12], &mut Arena::new(&mut []), &mut logits);
    assert_eq!(head, Err(Error::NonFinite { layer: None, tensor: "lm_head" }));
}

#[test]
fn forgetting_tokens_gives_the_states_as_if_they_had_not_been() {
    let random = Random::new(tiny());
    let layers = random.layers();
    let model = random.model(&layers);
    let mut memory = vec![u32::MAX; KvCache::words(&tiny(), KvType::F32, 20)];
    let mut cache = KvCache::new(&tiny(), KvType::F32, &mut memory).unwrap();
    let mut bytes = vec![0u8; inference_bytes(&tiny(), None, 8)];
    let mut arena = Arena::new(&mut bytes);
    let mut run = |tokens: &[u32], keep: usize| {
        cache.truncate(keep);
        let mut states = vec![0.0; tokens.len() * 12];
        model.forward(compute(), None, tokens, &mut cache, &mut arena, &mut states).unwrap();
        states
    };
    run(&[1, 2, 3, 4], 0);
    let again = run(&[5, 6], 2);
    let fresh = run(&[1, 2, 5, 6], 0);
    assert_close(&again, &fresh[2 * 12..]);
}

/// The largest difference, relative to the largest magnitude.
fn deviation(a: &[f32], b: &[f32]) -> f32 {
    let largest = b.iter().fold(0.0_f32, |m, b| m.max(b.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

#[test]
fn a_smaller_cache_changes_the_states_a_little_and_the_same_in_any_pieces() {
    for config in CONFIGS {
        let random = Random::new(config());
        let layers = random.layers();
        let model = random.model(&layers);
        let tokens = tokens(70);
        let want = states(&random, None, &[&tokens], 70).unwrap();
        for (kv, bound) in [(KvType::F16, 2e-3), (KvType::I8, 5e-2)] {
            let run = |pieces: &[&[u32]]| run(compute(), kv, &model, None, pieces, 80).unwrap();
            let whole = run(&[&tokens]);
            let off = deviation(&whole, &want);
            assert!(off > 0.0 && off < bound, "{kv:?} is off by {off}");
            assert_close(&whole, &run(&[&tokens[..33], &tokens[33..34], &tokens[34..]]));
        }
    }
}

#[test]
fn a_key_beyond_the_range_of_a_smaller_cache_is_an_error_and_not_a_weight_of_zero() {
    for i in 0..31 {
        let tokens = [i, (7 * i + 3) % 31];
        let keys = |random: &Random| {
            let mut memory = vec![u32::MAX; KvCache::words(&tiny(), KvType::F32, 2)];
            let mut cache = KvCache::new(&tiny(), KvType::F32, &mut memory).unwrap();
            let mut bytes = vec![0; inference_bytes(&tiny(), None, 2)];
            let (mut arena, mut states) = (Arena::new(&mut bytes), [0.0; 2 * 12]);
            let layers = random.layers();
            let model = random.model(&layers);
            model.forward(compute(), None, &tokens, &mut cache, &mut arena, &mut states).unwrap();
            let (keys, _) = cache.layer(0);
            let keys = keys.view().data;
            (0..keys.len()).map(|i| keys.get(i).abs()).fold(0.0, f32::max)
        };
        for (largest, fits) in [(65_000.0, true), (66_000.0, false)] {
            let mut random = Random::new(tiny());
            let scale = largest / keys(&random);
            random.tensors[6].iter_mut().for_each(|w| *w *= scale);
            assert!((keys(&random) - largest).abs() < 1.0);
            let layers = random.layers();
            let model = random.model(&layers);
            let found = run(compute(), KvType::F16, &model, None, &[&tokens], 2).map(|_| ());
            let error = Error::NonFinite { layer: Some(0), tensor: "self_attn.k_proj" };
            assert_eq!(found, if fits { Ok(()) } else { Err(error) }, "{tokens:?}");
        }
    }
}

#[test]
fn packed_weights_are_the_model_of_their_values_and_int8_activations_come_close() {
    for (config, format) in CONFIGS.iter().flat_map(|c| [Format::Q8, Format::Q4].map(|f| (c, f))) {
        let (quantised, dense) = Random::quantised(config(), format);
        let (layers, dense_layers) = (quantised.layers(), dense.layers());
        let (model, dense) = (quantised.model(&layers), dense.model(&dense_layers));
        let tokens = tokens(40);
        let run = |compute, model| run(compute, KvType::F32, model, None, &[&tokens], 40).unwrap();
        let want = run(compute(), &dense);
        assert_close(&run(compute(), &model), &want);
        let int8 = run(compute().with_int8(true), &model);
        let off = deviation(&int8, &want);
        assert!(off > 0.0 && off < 0.05, "{format:?}: int8 activations are off by {off}");
        let logits = |compute: Compute, model: &Model| {
            let mut logits = vec![0.0; model.config.vocab];
            let mut memory = vec![0; logits_bytes(&model.config, 1)];
            let arena = &mut Arena::new(&mut memory);
            model.logits(compute, &want[..model.config.dim], arena, &mut logits).unwrap();
            logits
        };
        assert_close(&logits(compute(), &model), &logits(compute(), &dense));
        let off = deviation(&logits(compute().with_int8(true), &model), &logits(compute(), &dense));
        assert!(off > 0.0 && off < 0.05, "{format:?}: int8 logits are off by {off}");
    }
}

#[test]
fn a_prefill_leaves_the_last_state_and_the_cache_of_a_forward() {
    for config in CONFIGS {
        let random = Random::new(config());
        let layers = random.layers();
        let model = random.model(&layers);
        let parameters = crate::testing::random(5, lora().parameters(&model.config));
        let adapted = Lora { config: lora(), parameters: &parameters };
        for (n, lora) in [1, 2, 30, BATCH, BATCH + 1, 2 * BATCH + 9]
            .into_iter()
            .flat_map(|n| [None, Some(adapted)].map(|lora| (n, lora)))
        {
            let (tokens, dim) = (tokens(n + 1), model.config.dim);
            let pieces: [&[u32]; 2] = [&tokens[..n], &tokens[n..]];
            let all = run(compute(), KvType::F32, &model, lora, &pieces, n + 1).unwrap();
            let mut memory = vec![u32::MAX; KvCache::words(&model.config, KvType::F32, n + 1)];
            let mut cache = KvCache::new(&model.config, KvType::F32, &mut memory).unwrap();
            let lora_config = lora.as_ref().map(|l| &l.config);
            let mut bytes = vec![0xff; inference_bytes(&model.config, lora_config, n)];
            let mut arena = Arena::new(&mut bytes);
            let mut state = vec![f32::NAN; dim];
            for (i, piece) in pieces.iter().enumerate() {
                model.prefill(compute(), lora, piece, &mut cache, &mut arena, &mut state).unwrap();
                let last = (n + i) * dim;
                assert_close(&state, &all[last - dim..last]);
            }
        }
    }
}
