//! Attention over the cache, one thread, for every instruction set that this CPU has: a prompt, and
//! one token behind 1,023.
//!
//! The model is one layer whose heads are those of a 135M one and whose other sizes are as small as
//! can be, so that attention (and RoPE, which cannot be called alone) is nearly all there is.

use core::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use homespun_benches::numbers;
use homespun_core::arena::Arena;
use homespun_core::cache::{KvCache, KvType};
use homespun_core::compute::Compute;
use homespun_core::config::{Config, RopeScaling};
use homespun_core::family::Family;
use homespun_core::model::{Model, inference_bytes};
use homespun_core::weights::{Layer, Linear, Weights};
use homespun_kernels::{Data, Kernels, Matrix};

const CONFIG: Config = Config {
    family: Family::Llama,
    dim: 16,
    hidden: 16,
    layers: 1,
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
    vocab: 16,
    max_context: CONTEXT,
    norm_eps: 1e-5,
    rope_theta: 10_000.0,
    rope_scaling: RopeScaling::None,
    tied: true,
    qkv_bias: false,
    o_bias: false,
    mlp_bias: false,
    qk_norm: false,
};

/// Tokens that the cache holds.
const CONTEXT: usize = 1024;
/// Tokens of the prompt.
const PROMPT: usize = 256;

fn attention(c: &mut Criterion) {
    let Config { dim, hidden, head_dim, .. } = CONFIG;
    let w = numbers(dim * CONFIG.heads * head_dim);
    let linear = |n: usize, k: usize| {
        let weight = Matrix::new(Data::F32(&w[..n * k]), n, k);
        Linear { weight, bias: None }
    };
    let norm = Data::F32(&w[..dim]);
    let (queries, keys) = (CONFIG.heads * head_dim, CONFIG.kv_heads * head_dim);
    let layers = [Layer {
        input_norm: norm,
        q_proj: linear(queries, dim),
        k_proj: linear(keys, dim),
        v_proj: linear(keys, dim),
        o_proj: linear(dim, queries),
        q_norm: None,
        k_norm: None,
        post_norm: norm,
        gate_proj: linear(hidden, dim),
        up_proj: linear(hidden, dim),
        down_proj: linear(dim, hidden),
    }];
    let embed = linear(CONFIG.vocab, dim).weight;
    let weights = Weights { embed, layers: &layers, norm, head: embed };
    let model = Model { config: CONFIG, weights };
    let tokens: Vec<u32> = (0..CONTEXT).map(|i| (i * i % 13) as u32).collect();
    let mut bytes = vec![0; inference_bytes(&CONFIG, None, CONTEXT)];
    let mut arena = Arena::new(&mut bytes);
    let mut states = vec![0.0; CONTEXT * dim];
    for (name, past, new) in [("prefill", 0, PROMPT), ("one_token", CONTEXT - 1, 1)] {
        let mut group = c.benchmark_group(format!("attention_{name}"));
        group.throughput(Throughput::Elements(new as u64));
        for kv in KvType::ALL {
            for kernels in Kernels::available() {
                let compute = Compute::serial(kernels);
                let mut memory = vec![0; KvCache::words(&CONFIG, kv, CONTEXT)];
                let mut cache = KvCache::new(&CONFIG, kv, &mut memory).expect("it fits");
                let mut run = |past: usize, tokens: &[u32]| {
                    cache.truncate(past);
                    let states = &mut states[..tokens.len() * dim];
                    model
                        .forward(compute, None, tokens, &mut cache, &mut arena, states)
                        .expect("finite weights");
                };
                run(0, &tokens[..past]);
                group.bench_function(BenchmarkId::new(kernels.isa().name(), kv.name()), |b| {
                    b.iter(|| run(past, &tokens[past..past + new]));
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .sample_size(10);
    targets = attention
}
criterion_main!(benches);
