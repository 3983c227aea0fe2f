//! Order, batches and resumption, on the built-in model.

use homespun_core::lora::{LoraConfig, Targets};
use homespun_kernels::{Isa, Kernels, Serial};

use super::*;
use crate::dialogue::{Message, Role};

pub(super) const CONFIG: LoraConfig = LoraConfig::new(2, 4.0, 0.1, Targets::ATTENTION);

pub(super) fn options(length: Length) -> Options {
    Options {
        lr: 1e-2,
        batch: 2,
        micro_batch: None,
        length,
        warmup: 1,
        schedule: Schedule::Cosine,
        weight_decay: 0.01,
        clip: 1.0,
        shuffle: true,
        seed: 5,
    }
}

fn dialogues() -> Vec<Dialogue> {
    let tea = ["mint", "lime blossom", "green", "black", "jasmine"];
    tea.iter()
        .map(|tea| {
            Dialogue::new(vec![
                Message::new(Role::User, format!("Is {tea} tea good in the evening?")),
                Message::new(Role::Assistant, format!("I would have a cup of {tea} tea.")),
            ])
        })
        .collect()
}

/// Runs `work` with an engine over the built-in model and its examples.
pub(super) fn with_engine(work: impl FnOnce(&Engine, &[Example], Adapter)) {
    with_kernels(Kernels::detect(), work);
}

/// The same with kernels of one's own.
pub(super) fn with_kernels(
    kernels: &'static Kernels,
    work: impl FnOnce(&Engine, &[Example], Adapter),
) {
    let base = Base::builtin(None).unwrap();
    let layers = base.layers().unwrap();
    let engine = Engine::new(&base, &layers, kernels, &Serial).unwrap();
    let examples =
        prepare(&base, &dialogues(), Loss::Response, 64, |line| panic!("{line}")).unwrap();
    work(&engine, &examples, Adapter::fresh(CONFIG, base.config(), "builtin", 3));
}

#[test]
fn a_frozen_a_stays_as_it_is_and_the_bs_move() {
    for (freeze_a, dora) in [(false, false), (true, false), (true, true)] {
        with_engine(|engine, examples, _| {
            let config = LoraConfig { freeze_a, dora, ..CONFIG };
            let mut start = Adapter::fresh(config, engine.base().config(), "builtin", 3);
            engine.prepare(&mut start).unwrap();
            let mut end = start.clone();
            let mut trainer =
                Trainer::new(engine, &mut end, examples, options(Length::Epochs(3))).unwrap();
            while trainer.step().unwrap().is_some() {}
            let (config, base) = (start.config, engine.base().config());
            let plain = LoraConfig { freeze_a: false, ..config };
            let ends = &end.parameters;
            for (all, trained) in plain.trained(base).zip(config.trained(base)) {
                let moved = ends[trained.clone()].iter().zip(&start.parameters[trained.clone()]);
                assert!(moved.filter(|(a, b)| a != b).count() > trained.len() / 2);
                let frozen = all.start..trained.start;
                assert_eq!(frozen.is_empty(), !freeze_a);
                assert_eq!(ends[frozen.clone()], start.parameters[frozen]);
            }
        });
    }
}

/// The gradient of two examples, with dropout, under some kernels.
fn gradient(kernels: &'static Kernels, config: LoraConfig, moved: bool) -> Vec<f32> {
    let mut gradients = Vec::new();
    with_kernels(kernels, |engine, examples, _| {
        let base = engine.base().config();
        let mut adapter = Adapter::fresh(config, base, "builtin", 3);
        if moved {
            // A fresh adapter's Bs are zero, and so are the gradients of its As.
            for (i, b) in adapter.parameters.iter_mut().enumerate().filter(|(_, b)| **b == 0.0) {
                *b = (i % 7) as f32 * 0.01 - 0.03;
            }
        }
        let examples: Vec<_> = examples[..2].iter().map(Example::lend).collect();
        let rows = examples.iter().map(train::Example::rows).sum();
        let mut bytes = vec![0; train::training_bytes(base, &config, rows)];
        gradients = vec![0.0; config.trainable(base)];
        let dropout = Dropout { seed: 1, step: 0 };
        let (arena, pieces) = (Arena::new(&mut bytes), train::Pieces::default());
        engine
            .gradients(
                adapter.lora(),
                dropout,
                &examples,
                0.1,
                pieces,
                false,
                arena,
                &mut gradients,
            )
            .unwrap();
    });
    gradients
}

#[test]
fn the_first_gradient_is_the_scalar_ones_with_every_kernel_table() {
    let config = LoraConfig::new(8, 16.0, 0.05, Targets::ALL);
    for moved in [false, true] {
        let scalar = gradient(Kernels::for_isa(Isa::Scalar).unwrap(), config, moved);
        let largest = scalar.iter().fold(0.0f32, |most, g| most.max(g.abs()));
        assert!(largest > 1e-3, "{largest}");
        let zeros = scalar.iter().filter(|&&g| g == 0.0).count();
        assert_eq!(zeros > scalar.len() / 4, !moved, "{zeros} of {}", scalar.len());
        for kernels in Kernels::available().skip(1) {
            let ours = gradient(kernels, config, moved);
            let apart = ours.iter().zip(&scalar).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let (isa, apart) = (kernels.isa().name(), apart / largest);
            println!("{isa}: {apart:.1e} of the largest component");
            assert!(apart <= 1e-4, "{isa}: {apart:.1e}");
        }
    }
}

#[test]
fn every_epoch_sees_each_dialogue_once_in_an_order_of_its_own() {
    with_engine(|engine, examples, mut adapter| {
        let mut trainer =
            Trainer::new(engine, &mut adapter, examples, options(Length::Epochs(2))).unwrap();
        let n = examples.len();
        let order: Vec<usize> = (0..2 * n).map(|place| trainer.example_at(place)).collect();
        for epoch in order.chunks(n) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        }
        assert_ne!(order[..n], order[n..]);
        assert_eq!(trainer.steps(), n, "two dialogues a step, two epochs");
    });
}

#[test]
fn micro_batches_cover_the_batch_in_order() {
    with_engine(|engine, examples, mut adapter| {
        for micro_batch in [None, Some(1), Some(2), Some(9)] {
            let options = Options { micro_batch, ..options(Length::Epochs(1)) };
            let trainer = Trainer::new(engine, &mut adapter, examples, options).unwrap();
            let batch: Vec<usize> = (0..examples.len()).collect();
            let ranges = trainer.micro_batches(&batch);
            assert_eq!(ranges.iter().cloned().flatten().collect::<Vec<_>>(), batch);
            assert!(ranges.iter().all(|r| r.len() <= micro_batch.unwrap_or(usize::MAX)));
        }
    });
}

#[test]
fn a_dialogue_without_a_reply_is_left_out_and_said() {
    let base = Base::builtin(None).unwrap();
    let question = Dialogue::new(vec![Message::new(Role::User, "Tea?")]);
    let mut said = Vec::new();
    let say = |line: &str| said.push(line.to_owned());
    let examples = prepare(&base, &[question], Loss::Response, 64, say).unwrap();
    assert!(examples.is_empty());
    assert_eq!(said, ["dialogue 1: does not end with a reply, so it has no target"]);
}
