//! A model wide enough to be cut into chunks: neither the number of threads nor the order of the
//! chunks changes a bit, and every kernel table agrees with scalar.

use super::golden::relative_error;
use super::gradients::examples;
use core::convert::Infallible;
use core::sync::atomic::{AtomicUsize, Ordering};
use homespun_core::arena::Arena;
use homespun_core::cache::{KvCache, KvType};
use homespun_core::compute::Compute;
use homespun_core::config::{Config, RopeScaling};
use homespun_core::dora;
use homespun_core::family::Family;
use homespun_core::lora::{Lora, LoraConfig, Targets};
use homespun_core::model::{Model, inference_bytes};
use homespun_core::rng::{Rng, hash};
use homespun_core::train::{Dropout, Example, Pieces, loss_and_gradients, training_bytes};
use homespun_core::weights::{Layer, TensorSource, load};
use homespun_kernels::{Data, Kernels, Pool, Serial};

const CONFIG: Config = Config {
    family: Family::Qwen3,
    dim: 192,
    hidden: 500,
    layers: 2,
    heads: 6,
    kv_heads: 2,
    head_dim: 40,
    vocab: 1500,
    max_context: 512,
    norm_eps: 1e-5,
    rope_theta: 10_000.0,
    rope_scaling: RopeScaling::None,
    tied: false,
    qkv_bias: true,
    o_bias: true,
    mlp_bias: false,
    qk_norm: true,
};

const LORA: LoraConfig = LoraConfig::new(8, 16.0, 0.1, Targets::ALL);

/// Uniform in `-scale .. scale`.
fn random(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| (2.0 * rng.next_f32() - 1.0) * scale).collect()
}

/// Random tensors of any name and shape.
struct Source;

impl TensorSource<'static> for Source {
    type Error = Infallible;

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Option<Data<'static>>, Infallible> {
        let seed = hash(&name.bytes().map(u64::from).collect::<Vec<_>>());
        let inputs = *shape.last().expect("shape");
        let scale = if shape.len() == 1 { 1.0 } else { 2.0 / (inputs as f32).sqrt() };
        Ok(Some(Data::F32(random(seed, shape.iter().product(), scale).leak())))
    }
}

/// Runs chunks backwards, or on several threads at once, each taking every n-th.
struct Odd {
    threads: usize,
    most_chunks: AtomicUsize,
}

impl Pool for Odd {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        self.most_chunks.fetch_max(chunks, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for thread in 0..self.threads {
                let mine = (0..chunks).rev().filter(move |chunk| chunk % self.threads == thread);
                scope.spawn(move || mine.for_each(job));
            }
        });
    }

    fn threads(&self) -> usize {
        self.threads
    }
}

/// Logits of 150 tokens, the loss of three dialogues and its gradients.
fn run(
    model: &Model,
    config: LoraConfig,
    kernels: &'static Kernels,
    pool: &dyn Pool,
) -> (Vec<f32>, f64, Vec<f32>) {
    let compute = Compute::new(kernels, pool);
    let mut parameters = random(3, config.parameters(&CONFIG), 0.1);
    let mut bytes = vec![0; dora::bytes(&CONFIG, &config)];
    dora::prepare(model, compute, &config, &mut parameters, &mut Arena::new(&mut bytes))
        .expect("norms");
    let lora = Lora { config, parameters: &parameters };
    let sequence = |seed: u64, n: usize| -> (Vec<u32>, Vec<bool>) {
        let mut rng = Rng::new(seed);
        let tokens = (0..n).map(|_| rng.below(CONFIG.vocab as u64) as u32).collect();
        (tokens, (0..n).map(|i| i > n / 3).collect())
    };
    let sequences = [sequence(1, 150), sequence(2, 33), sequence(3, 90)];

    let tokens = &sequences[0].0;
    let mut memory = vec![u32::MAX; KvCache::words(&CONFIG, KvType::F32, tokens.len())];
    let mut cache = KvCache::new(&CONFIG, KvType::F32, &mut memory).expect("cache");
    let mut bytes = vec![0; inference_bytes(&CONFIG, Some(&config), tokens.len())];
    let mut states = vec![0.0; tokens.len() * CONFIG.dim];
    let mut arena = Arena::new(&mut bytes);
    let forward = model.forward(compute, Some(lora), tokens, &mut cache, &mut arena, &mut states);
    forward.expect("forward");
    let mut normed = vec![0.0; states.len()];
    model.final_norm(compute, &states, &mut normed).expect("norm");
    let mut logits = vec![0.0; tokens.len() * CONFIG.vocab];
    model.logits(compute, &normed, &mut Arena::new(&mut []), &mut logits).expect("logits");

    let examples = examples(&sequences);
    let rows = examples.iter().map(Example::rows).sum();
    let mut bytes = vec![0; training_bytes(&CONFIG, &config, rows)];
    let mut gradients = vec![0.0; config.trainable(&CONFIG)];
    let dropout = Some(Dropout { seed: 5, step: 6 });
    let mut arena = Arena::new(&mut bytes);
    let loss = loss_and_gradients(
        model,
        compute,
        lora,
        dropout,
        0.01,
        Pieces { mlp_rows: 50, head_rows: 40, half_inputs: false },
        &examples,
        &mut arena,
        &mut gradients,
    );
    (logits, loss.expect("loss"), gradients)
}

#[test]
fn threads_and_the_order_of_chunks_change_no_bit_and_tables_agree() {
    let mut layers = vec![Layer::empty(); CONFIG.layers];
    let weights = load(&Source, &CONFIG, &mut layers).expect("weights");
    let model = Model { config: CONFIG, weights };
    for config in [LORA, LoraConfig { dora: true, ..LORA }] {
        agree(&model, config);
    }
}

fn agree(model: &Model, config: LoraConfig) {
    let scalar = run(model, config, Kernels::available().next().expect("scalar"), &Serial);
    assert!(scalar.2.iter().any(|&g| g.abs() > 1e-3));
    for kernels in Kernels::available() {
        let serial = run(model, config, kernels, &Serial);
        for threads in [1, 2, 5] {
            let pool = Odd { threads, most_chunks: AtomicUsize::new(0) };
            let odd = run(model, config, kernels, &pool);
            assert_eq!(serial, odd, "{} on {threads} threads", kernels.isa().name());
            assert!(pool.most_chunks.into_inner() > 5, "nothing was cut");
        }
        let logits = relative_error(&serial.0, &scalar.0);
        let loss = (serial.1 / scalar.1 - 1.0).abs();
        let gradients = relative_error(&serial.2, &scalar.2);
        let isa = kernels.isa().name();
        println!("{isa}: logits {logits:.1e}, loss {loss:.1e}, gradients {gradients:.1e}");
        assert!(logits <= 1e-5 && loss <= 1e-6 && gradients <= 1e-4, "{isa}");
    }
}
