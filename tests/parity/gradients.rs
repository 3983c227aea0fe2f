//! The loss and every LoRA gradient of every golden adapter, with every kernel table.

use super::golden::{self, Golden, relative_error};
use homespun_core::arena::Arena;
use homespun_core::compute::Compute;
use homespun_core::config::Config;
use homespun_core::lora::{Lora, LoraConfig, Scaling, Target};
use homespun_core::model::Model;
use homespun_core::train::{
    self, Example, Memory, Pieces, loss_and_gradients, loss_bytes, training_bytes,
};
use homespun_kernels::Kernels;
use homespun_runtime::adapter::Adapter;
use homespun_runtime::checkpoint::Checkpoint;

/// The bar of each gradient: `max |ours - theirs| / max |theirs|`.
pub const BAR: f64 = 1e-3;

/// The bar of a loss.
pub const LOSS_BAR: f64 = 1e-5;

/// Bytes of an arena: one of the memory plans.
pub type ArenaBytes = fn(&Config, &LoraConfig, usize) -> usize;

/// Small enough that the goldens' sequences take several of each.
const PIECES: Pieces = Pieces { mlp_rows: 5, head_rows: 7, half_inputs: false };

/// What one thread needs to keep everything, the inputs of all layers, or as little as can be.
pub fn all(config: &Config, lora: &LoraConfig, rows: usize) -> usize {
    Memory::new(config, lora, rows, PIECES, 1).all()
}

pub fn inputs(config: &Config, lora: &LoraConfig, rows: usize) -> usize {
    Memory::new(config, lora, rows, PIECES, 1).inputs()
}

pub fn least(config: &Config, lora: &LoraConfig, rows: usize) -> usize {
    Memory::new(config, lora, rows, PIECES, 1).least()
}

/// Lends the sequences as examples.
pub fn examples(sequences: &[(Vec<u32>, Vec<bool>)]) -> Vec<Example<'_>> {
    sequences
        .iter()
        .enumerate()
        .map(|(id, (tokens, targets))| Example { tokens, targets, id: id as u64 })
        .collect()
}

/// The mean loss over all targets of `examples`; its gradient is added to `gradients`.
pub fn mean_loss(
    model: &Model,
    kernels: &'static Kernels,
    lora: Lora,
    examples: &[Example],
    arena_bytes: ArenaBytes,
    gradients: &mut [f32],
) -> f64 {
    let rows = examples.iter().map(Example::rows).sum();
    let targets: usize = examples.iter().map(Example::count).sum();
    let mut bytes = vec![0; arena_bytes(&model.config, &lora.config, rows)];
    let mut arena = Arena::new(&mut bytes);
    let (compute, scale) = (Compute::serial(kernels), 1.0 / targets as f32);
    let sum = loss_and_gradients(
        model, compute, lora, None, scale, PIECES, examples, &mut arena, gradients,
    );
    sum.expect("gradients") / targets as f64
}

/// Each gradient of PEFT's file as it lies in our flat ones: its name, where, and how many.
fn parts(model: &Model, lora: &LoraConfig) -> Vec<(String, usize, usize)> {
    let mut parts = Vec::new();
    for layer in 0..model.config.layers {
        for target in lora.targets.iter() {
            let (outputs, inputs) = target.shape(&model.config);
            let mut at = lora.gradient_offset(&model.config, layer, target).expect("adapted");
            let (parent, module) = (target.parent(), target.name());
            let name = format!("base_model.model.model.layers.{layer}.{parent}.{module}");
            if !lora.freeze_a {
                parts.push((format!("{name}.lora_A.weight"), at, lora.rank * inputs));
                at += lora.rank * inputs;
            }
            parts.push((format!("{name}.lora_B.weight"), at, lora.rank * outputs));
            if lora.dora {
                at += lora.rank * outputs;
                parts.push((format!("{name}.lora_magnitude_vector"), at, outputs));
            }
        }
    }
    parts
}

/// The worst gradient against PEFT's and its name; infinite where ours is zero and PEFT's is not.
pub fn worst(
    golden: &Golden,
    key: &str,
    model: &Model,
    lora: &LoraConfig,
    ours: &[f32],
) -> (f64, String) {
    let mut worst = (0.0, String::new());
    for (name, at, n) in parts(model, lora) {
        let theirs = golden.f32(&format!("{key}.gradient.{name}"));
        let ours = &ours[at..at + n];
        let zero = |x: &[f32]| x.iter().all(|&x| x == 0.0);
        let error = match zero(ours) && !zero(&theirs) {
            true => f64::INFINITY,
            false => relative_error(ours, &theirs),
        };
        if error > worst.0 {
            worst = (error, name);
        }
    }
    worst
}

/// An adapter of a golden model, ready to compute; its name tells whether its As are frozen.
pub fn adapter(golden: &Golden, key: &str, model: &Model) -> Adapter {
    let mut adapter = Adapter::open(&golden.folder.join(key), &model.config).expect(key);
    adapter.config.freeze_a = key.ends_with("frozen-a");
    adapter.prepare(model, Compute::serial(Kernels::detect())).expect(key);
    adapter
}

/// Opens an adapter of a golden model and lends both to `job`.
pub fn with_adapter(name: &str, key: &str, job: impl FnOnce(&Golden, &mut Model, &mut Adapter)) {
    let golden = Golden::open(name);
    let checkpoint = Checkpoint::open(&golden.folder).expect(name);
    let layers = checkpoint.layers().expect(name);
    let mut model = golden::model(&checkpoint, &layers);
    let mut adapter = adapter(&golden, key, &model);
    job(&golden, &mut model, &mut adapter);
}

#[test]
fn the_loss_and_every_gradient_are_those_of_peft() {
    for name in golden::ALL {
        for key in Golden::open(name).adapters() {
            with_adapter(name, &key, |golden, model, adapter| {
                let sequences = golden.sequences();
                let examples = examples(&sequences);
                let theirs = f64::from(golden.f32(&format!("{key}.loss"))[0]);
                for kernels in Kernels::available() {
                    for bytes in [training_bytes, all, inputs, least] {
                        let mut ours = vec![0.0; adapter.config.trainable(&model.config)];
                        let lora = adapter.lora();
                        let loss = mean_loss(model, kernels, lora, &examples, bytes, &mut ours);
                        let (error, which) = worst(golden, &key, model, &adapter.config, &ours);
                        let isa = kernels.isa().name();
                        let apart = (loss - theirs).abs();
                        println!(
                            "{name} {key} {isa}: loss {apart:.1e}, gradient {error:.1e} {which}"
                        );
                        assert!(apart <= LOSS_BAR, "{name} {key} {isa}: loss {loss}, not {theirs}");
                        assert!(error <= BAR, "{name} {key} {isa} {which}: {error:.1e}");
                    }
                }
            });
        }
    }
}

#[test]
fn the_loss_without_gradients_is_that_of_transformers_and_of_peft() {
    for name in golden::ALL {
        with_adapter(name, "adapter", |golden, model, adapter| {
            let sequences = golden.sequences();
            let examples = examples(&sequences);
            for (lora, expected) in [(None, "loss"), (Some(adapter.lora()), "adapter.loss")] {
                let rows = examples.iter().map(Example::rows).max().expect("examples");
                let lora_config = lora.as_ref().map(|l| &l.config);
                let mut bytes = vec![0; loss_bytes(&model.config, lora_config, rows, PIECES, 1)];
                let mut arena = Arena::new(&mut bytes);
                for kernels in Kernels::available() {
                    let compute = Compute::serial(kernels);
                    let (sum, count) =
                        train::loss(model, compute, lora, PIECES, &examples, &mut arena)
                            .expect("loss");
                    let (ours, theirs) = (sum / count as f64, f64::from(golden.f32(expected)[0]));
                    let isa = kernels.isa().name();
                    println!("{name} {expected} {isa}: {:.1e}", (ours - theirs).abs());
                    assert!((ours - theirs).abs() <= LOSS_BAR, "{name} {expected} {isa}: {ours}");
                }
            }
        });
    }
}

/// Changes a model, an adapter or the sequences' targets.
type Bug = fn(&mut Model, &mut Adapter, &mut [Vec<bool>]);

/// The worst error, and the loss's, of the golden `llama` once `bend` has changed something.
fn bent(bend: impl FnOnce(&mut Model, &mut Adapter, &mut [Vec<bool>])) -> (f64, f64) {
    bent_under("adapter", bend)
}

fn bent_under(
    key: &str,
    bend: impl FnOnce(&mut Model, &mut Adapter, &mut [Vec<bool>]),
) -> (f64, f64) {
    let mut result = (0.0, 0.0);
    with_adapter("llama", key, |golden, model, adapter| {
        let mut sequences = golden.sequences();
        let mut targets: Vec<_> = sequences.iter().map(|(_, targets)| targets.clone()).collect();
        bend(model, adapter, &mut targets);
        sequences.iter_mut().zip(targets).for_each(|(s, targets)| s.1 = targets);
        let examples = examples(&sequences);
        let mut ours = vec![0.0; adapter.config.trainable(&model.config)];
        let kernels = Kernels::detect();
        let lora = adapter.lora();
        let loss = mean_loss(model, kernels, lora, &examples, training_bytes, &mut ours);
        let (error, _) = worst(golden, key, model, &adapter.config, &ours);
        result = (error, (loss - f64::from(golden.f32(&format!("{key}.loss"))[0])).abs());
    });
    result
}

#[test]
fn planted_bugs_of_the_shape_the_adapter_and_the_mask_are_seen() {
    let (gradient, loss) = bent(|_, _, _| ());
    assert!(gradient <= BAR && loss <= LOSS_BAR);
    let bugs: [(&str, Bug); 4] = [
        ("rope_theta", |model, _, _| model.config.rope_theta *= 1.01),
        ("alpha", |_, adapter, _| adapter.config.alpha *= 1.01),
        ("one element of the last B", |_, adapter, _| {
            *adapter.parameters.last_mut().expect("parameters") += 0.05;
        }),
        ("one target fewer", |_, _, targets| targets[0][1] = false),
    ];
    for (what, bug) in bugs {
        let (gradient, loss) = bent(bug);
        assert!(gradient > BAR && loss > LOSS_BAR, "{what}: {gradient:.1e} {loss:.1e}");
    }
}

#[test]
fn rslora_scaled_by_alpha_over_the_rank_is_seen() {
    let (gradient, loss) = bent_under("adapter-rslora", |_, _, _| ());
    assert!(gradient <= BAR && loss <= LOSS_BAR);
    let (gradient, loss) = bent_under("adapter-rslora", |_, adapter, _| {
        assert_eq!(adapter.config.scaling, Scaling::RankStabilised);
        adapter.config.scaling = Scaling::Standard;
    });
    assert!(gradient > BAR && loss > LOSS_BAR, "{gradient:.1e} {loss:.1e}");
}

#[test]
fn a_planted_zero_or_swapped_gradient_of_any_tensor_is_seen() {
    let each = [
        ("llama", "adapter", 2),
        ("llama", "adapter-frozen-a", 1),
        ("llama-biases", "adapter-dora", 3),
    ];
    for (name, key, tensors) in each {
        with_adapter(name, key, |golden, model, adapter| {
            let sequences = golden.sequences();
            let examples = examples(&sequences);
            let mut ours = vec![0.0; adapter.config.trainable(&model.config)];
            let (kernels, lora) = (Kernels::detect(), adapter.lora());
            mean_loss(model, kernels, lora, &examples, training_bytes, &mut ours);
            let parts = parts(model, &adapter.config);
            assert_eq!(parts.len(), tensors * model.config.layers * Target::ALL.len());
            for (name, at, n) in &parts {
                let mut zeroed = ours.clone();
                zeroed[*at..at + n].fill(0.0);
                let found = worst(golden, key, model, &adapter.config, &zeroed);
                assert_eq!(found, (f64::INFINITY, name.clone()));
            }
            for pair in parts.windows(1 + tensors) {
                let ((_, a, n), (name, b, m)) = (&pair[0], &pair[tensors]);
                let mut swapped = ours.clone();
                for i in 0..*n.min(m) {
                    swapped.swap(a + i, b + i);
                }
                let (error, _) = worst(golden, key, model, &adapter.config, &swapped);
                assert!(error > BAR, "{name}: {error:.1e}");
            }
        });
    }
}
