//! Ten steps of AdamW with clipping on every golden adapter: the losses are those of torch and PEFT.

use super::golden::{self, Golden};
use super::gradients::{examples, mean_loss, with_adapter};
use homespun_core::adamw::{AdamW, Moments, clip};
use homespun_core::compute::Compute;
use homespun_core::model::Model;
use homespun_core::train::training_bytes;
use homespun_kernels::Kernels;
use homespun_runtime::adapter::Adapter;

/// The bar of each loss.
pub const BAR: f64 = 1e-4;

/// What `tests/oracle/models.py` trains with.
pub const OPTIMISER: AdamW = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
pub const RATE: f64 = 1e-2;
pub const CLIP: f64 = 1.0;

/// The largest differences of ten losses and of ten gradient norms (these relative) from torch's.
fn errors(
    name: &str,
    key: &str,
    kernels: &'static Kernels,
    (optimiser, rate, max_norm): (AdamW, f64, f64),
) -> (f64, f64) {
    let mut worst = (0.0, 0.0);
    with_adapter(name, key, |golden, model, adapter| {
        worst = ten_steps(golden, key, model, adapter, kernels, (optimiser, rate, max_norm));
    });
    worst
}

/// The same of a model and an adapter that are open, against what `golden` expects of `key`.
pub fn ten_steps(
    golden: &Golden,
    key: &str,
    model: &Model,
    adapter: &mut Adapter,
    kernels: &'static Kernels,
    how: (AdamW, f64, f64),
) -> (f64, f64) {
    let renew = |adapter: &mut Adapter| {
        adapter.renew(model, Compute::serial(kernels)).expect("norms");
    };
    ten_steps_with(golden, key, model, adapter, kernels, how, renew)
}

/// The same, doing `after` each step what has to be done.
#[allow(clippy::too_many_arguments, reason = "one more than the rest")]
fn ten_steps_with(
    golden: &Golden,
    key: &str,
    model: &Model,
    adapter: &mut Adapter,
    kernels: &'static Kernels,
    (optimiser, rate, max_norm): (AdamW, f64, f64),
    after: impl Fn(&mut Adapter),
) -> (f64, f64) {
    let mut worst: (f64, f64) = (0.0, 0.0);
    let (losses, norms) =
        (golden.f32(&format!("{key}.adamw_losses")), golden.f32(&format!("{key}.grad_norms")));
    assert!(losses.len() == 10 && norms.len() == 10);
    let sequences = golden.sequences();
    let examples = examples(&sequences);
    let n = adapter.config.trainable(&model.config);
    let (mut first, mut second, mut steps) = (vec![0.0; n], vec![0.0; n], 0);
    for (loss, norm) in losses.iter().zip(norms) {
        let mut gradients = vec![0.0; n];
        let lora = adapter.lora();
        let ours = mean_loss(model, kernels, lora, &examples, training_bytes, &mut gradients);
        let our_norm = clip(&mut gradients, max_norm);
        worst.0 = worst.0.max((ours - f64::from(*loss)).abs());
        worst.1 = worst.1.max((our_norm / f64::from(norm) - 1.0).abs());
        let mut moments = Moments { first: &mut first, second: &mut second, steps: &mut steps };
        let trained = adapter.config.trained(&model.config);
        let parameters = &mut adapter.parameters;
        optimiser.step_parts(rate, &gradients, &mut moments, parameters, trained);
        after(adapter);
    }
    worst
}

#[test]
fn ten_losses_and_gradient_norms_are_those_of_torch() {
    for name in golden::ALL {
        for key in Golden::open(name).adapters() {
            for kernels in Kernels::available() {
                let (loss, norm) = errors(name, &key, kernels, (OPTIMISER, RATE, CLIP));
                let isa = kernels.isa().name();
                println!("{name} {key} {isa}: losses {loss:.1e}, norms {norm:.1e}");
                assert!(loss <= BAR, "{name} {key} {isa}: {loss:.1e}");
                assert!(norm <= 1e-3, "{name} {key} {isa}: {norm:.1e}");
            }
        }
    }
}

#[test]
fn norms_that_are_not_made_anew_after_a_step_are_seen() {
    with_adapter("llama-biases", "adapter-dora", |golden, model, adapter| {
        let (kernels, how) = (Kernels::detect(), (OPTIMISER, RATE, CLIP));
        let key = "adapter-dora";
        let (loss, _) = ten_steps_with(golden, key, model, adapter, kernels, how, |_| ());
        assert!(loss > BAR, "{loss:.1e}");
    });
}

#[test]
fn a_planted_change_of_the_optimiser_is_seen() {
    let kernels = Kernels::detect();
    let bugs = [
        ("no decay", (AdamW { weight_decay: 0.0, ..OPTIMISER }, RATE, CLIP)),
        ("beta1", (AdamW { beta1: 0.85, ..OPTIMISER }, RATE, CLIP)),
        ("beta2", (AdamW { beta2: 0.99, ..OPTIMISER }, RATE, CLIP)),
        ("rate", (OPTIMISER, 1.01 * RATE, CLIP)),
        ("no clipping", (OPTIMISER, RATE, f64::INFINITY)),
    ];
    for (what, bug) in bugs {
        let (loss, _) = errors("qwen3", "adapter", kernels, bug);
        assert!(loss > BAR, "{what}: {loss:.1e}");
    }
}
