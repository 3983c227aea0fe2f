//! The whole model's gradient against central differences, and what must not change a result.

use homespun_kernels::quant::Format;

use super::*;
use crate::config::RopeScaling;
use crate::lora::{Target, Targets};
use crate::testing::{Random, check_gradient, compute, gradient_fails, random, tiny};

fn lora(targets: Targets, dropout: f32) -> LoraConfig {
    LoraConfig::new(2, 3.0, dropout, targets)
}

fn dialogue(id: u64, n: usize) -> (Vec<u32>, Vec<bool>) {
    let tokens = random(40 + id, n).iter().map(|x| ((x + 1.0) * 15.4) as u32).collect();
    (tokens, (0..n).map(|i| i > 0 && !(i as u64 + id).is_multiple_of(3)).collect())
}

struct Case {
    random: Random,
    lora: LoraConfig,
    parameters: Vec<f32>,
    dropout: Option<Dropout>,
    pieces: Pieces,
    dialogues: Vec<(Vec<u32>, Vec<bool>)>,
}

impl Case {
    fn new(config: Config, lora: LoraConfig) -> Self {
        let parameters = random(9, lora.parameters(&config)).iter().map(|x| 0.5 * x).collect();
        Self {
            random: Random::new(config),
            lora,
            parameters,
            dropout: (lora.dropout > 0.0).then_some(Dropout { seed: 3, step: 4 }),
            pieces: Pieces::default(),
            dialogues: vec![dialogue(0, 7), dialogue(1, 5)],
        }
    }

    fn examples(&self) -> Vec<Example<'_>> {
        let dialogues = self.dialogues.iter().enumerate();
        dialogues
            .map(|(id, (tokens, targets))| Example { tokens, targets, id: id as u64 })
            .collect()
    }

    /// The loss and the gradient of `examples` with an arena of `bytes`.
    fn run(
        &self,
        parameters: &[f32],
        examples: &[Example],
        bytes: usize,
    ) -> Result<(f64, Vec<f32>), Error> {
        self.run_with(compute(), parameters, examples, bytes)
    }

    /// The same as `compute` makes them.
    fn run_with(
        &self,
        compute: Compute,
        parameters: &[f32],
        examples: &[Example],
        bytes: usize,
    ) -> Result<(f64, Vec<f32>), Error> {
        let layers = self.random.layers();
        let model = self.random.model(&layers);
        let lora = Lora { config: self.lora, parameters };
        let mut memory = vec![0xff; bytes];
        let mut gradients = vec![0.0; parameters.len()];
        let sum = loss_and_gradients(
            &model,
            compute,
            lora,
            self.dropout,
            1.0,
            self.pieces,
            examples,
            &mut Arena::new(&mut memory),
            &mut gradients,
        )?;
        Ok((sum, gradients))
    }

    /// The loss, from the forward alone where there is no dropout.
    fn loss(&self, parameters: &[f32], examples: &[Example]) -> f64 {
        if self.dropout.is_some() {
            return self.full(parameters, examples).0;
        }
        let layers = self.random.layers();
        let lora = Some(Lora { config: self.lora, parameters });
        let longest = examples.iter().map(Example::rows).max().unwrap();
        let mut memory =
            vec![0; loss_bytes(&self.random.config, Some(&self.lora), longest, self.pieces, 1)];
        let mut arena = Arena::new(&mut memory);
        let model = self.random.model(&layers);
        loss(&model, compute(), lora, self.pieces, examples, &mut arena).unwrap().0
    }

    fn rows(examples: &[Example]) -> usize {
        examples.iter().map(Example::rows).sum()
    }

    fn full(&self, parameters: &[f32], examples: &[Example]) -> (f64, Vec<f32>) {
        let bytes = training_bytes(&self.random.config, &self.lora, Self::rows(examples));
        self.run(parameters, examples, bytes).unwrap()
    }
}

fn assert_close(a: &[f32], b: &[f32]) {
    let largest = a.iter().fold(0.0_f32, |m, a| m.max(a.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5 * largest, "off by {worst} of {largest}");
}

#[test]
fn the_gradient_of_every_adapter_is_the_central_difference_in_every_kind_of_model() {
    let kinds: [fn() -> Config; 4] = [
        tiny,
        || Config { tied: true, qkv_bias: true, o_bias: true, mlp_bias: true, ..tiny() },
        || Config { qk_norm: true, kv_heads: 1, ..tiny() },
        || Config {
            head_dim: 6,
            kv_heads: 4,
            rope_scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 64,
            },
            ..tiny()
        },
    ];
    let plain = kinds.into_iter().map(|config| (config(), 0.0));
    for (config, dropout) in plain.chain([(tiny(), 0.2)]) {
        let case = Case::new(config, lora(Targets::ALL, dropout));
        let examples = case.examples();
        let (_, mut gradient) = case.full(&case.parameters, &examples);
        let loss = |parameters: &[f32]| case.loss(parameters, &examples);
        check_gradient(&case.parameters, &gradient, loss);
        for layer in 0..config.layers {
            for target in Target::ALL {
                let from = case.lora.offset(&config, layer, target).unwrap();
                let part = &gradient[from..from + case.lora.target_parameters(&config, target)];
                assert!(part.iter().any(|g| g.abs() > 1e-3), "{target:?} of {layer} is zero");
            }
        }
        // Planted bug: one adapter's gradient zeroed.
        let from = case.lora.offset(&config, 1, Target::K).unwrap();
        gradient[from..from + case.lora.target_parameters(&config, Target::K)].fill(0.0);
        assert!(gradient_fails(&case.parameters, &gradient, loss));
    }
}

#[test]
fn a_single_target_has_the_gradient_that_it_has_among_all() {
    let config = tiny();
    let all = Case::new(config, lora(Targets::ALL, 0.0));
    for target in Target::ALL {
        let mut one = Case::new(config, lora(Targets::NONE.with(target), 0.0));
        // All others' adapters are off where B is zero.
        let mut parameters = vec![0.0; all.parameters.len()];
        let size = one.lora.target_parameters(&config, target);
        let places: Vec<_> = (0..config.layers)
            .map(|l| {
                let among = all.lora.offset(&config, l, target).unwrap();
                (one.lora.offset(&config, l, target).unwrap(), among)
            })
            .collect();
        for &(alone, among) in &places {
            let values = &one.parameters[alone..alone + size];
            parameters[among..among + size].copy_from_slice(values);
        }
        one.dialogues.truncate(1);
        let examples = one.examples();
        let (loss_alone, g_alone) = one.full(&one.parameters, &examples);
        let (loss_among, g_among) = all.full(&parameters, &examples);
        assert!((loss_alone - loss_among).abs() < 1e-5);
        for (alone, among) in places {
            assert_close(&g_alone[alone..alone + size], &g_among[among..among + size]);
        }
    }
}

#[test]
fn memory_changes_no_bit_and_too_little_is_an_error_that_says_how_much() {
    let config = Config { layers: 5, qk_norm: true, ..tiny() };
    for half_inputs in [false, true] {
        let pieces = Pieces { mlp_rows: 4, head_rows: 3, half_inputs };
        let case = Case { pieces, ..Case::new(config, lora(Targets::ALL, 0.3)) };
        let examples = case.examples();
        let memory = Memory::new(&config, &case.lora, Case::rows(&examples), pieces, 1);
        let full = case.run(&case.parameters, &examples, memory.all()).unwrap();
        let mut seen = Vec::new();
        for bytes in (memory.least()..=memory.all()).step_by(64) {
            let layout = memory.layout(bytes).unwrap();
            if seen.contains(&layout) {
                continue;
            }
            seen.push(layout);
            let found = case.run(&case.parameters, &examples, bytes).unwrap();
            if half_inputs {
                let largest = full.1.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
                let worst = found.1.iter().zip(&full.1).map(|(a, b)| (a - b).abs());
                assert!(found.0 == full.0 && worst.fold(0.0, f32::max) < 2e-2 * largest);
            } else {
                assert!(found == full, "{layout:?}");
            }
        }
        // Keep all, keep each number of layers, inputs alone, segments.
        assert!(seen.len() > config.layers + 1, "{seen:?}");
        // In memory that happens to be aligned, one ALIGN less is still enough.
        let error = case.run(&case.parameters, &examples, memory.least() - 2 * ALIGN).unwrap_err();
        let Error::OutOfMemory(error) = error else { panic!("{error}") };
        assert_eq!(error.needed, memory.least());
    }
}

#[test]
fn a_head_larger_than_a_block_fits_its_own_plan() {
    // A vocabulary so wide that the head's logits outweigh what a block works in.
    let config = Config { vocab: 900, ..tiny() };
    for half_inputs in [false, true] {
        let pieces = Pieces { half_inputs, ..Pieces::default() };
        let mut case = Case { pieces, ..Case::new(config, lora(Targets::ALL, 0.0)) };
        case.dialogues = vec![dialogue(0, 101)];
        let examples = case.examples();
        let memory = Memory::new(&config, &case.lora, Case::rows(&examples), pieces, 1);
        for bytes in [memory.least(), memory.inputs(), memory.all()] {
            case.run(&case.parameters, &examples, bytes).unwrap();
        }
    }
}

#[test]
fn pieces_change_the_gradient_by_rounding_alone() {
    let config = Config { o_bias: true, mlp_bias: true, ..tiny() };
    let whole = Case::new(config, lora(Targets::ALL, 0.3));
    let (loss, gradient) = whole.full(&whole.parameters, &whole.examples());
    for (mlp_rows, head_rows) in [(1, 1), (2, 5), (3, 2), (10, 4)] {
        let pieces = Pieces { mlp_rows, head_rows, half_inputs: false };
        let case = Case { pieces, ..Case::new(config, lora(Targets::ALL, 0.3)) };
        let (found, parts) = case.full(&case.parameters, &case.examples());
        assert!((found - loss).abs() < 1e-6 * loss);
        assert_close(&gradient, &parts);
    }
}

#[test]
fn packed_dialogues_have_the_loss_and_gradient_of_separate_ones_dropout_included() {
    let mut case = Case::new(tiny(), lora(Targets::ALL, 0.4));
    case.dialogues = vec![dialogue(0, 70), dialogue(1, 5), dialogue(2, 21), dialogue(3, 100)];
    let examples = case.examples();
    let (together, gradient) = case.full(&case.parameters, &examples);
    let (mut sum, mut added) = (0.0, vec![0.0; gradient.len()]);
    for example in examples.iter().rev() {
        let (loss, part) = case.full(&case.parameters, core::slice::from_ref(example));
        sum += loss;
        added.iter_mut().zip(part).for_each(|(a, p)| *a += p);
    }
    assert!((together - sum).abs() < 1e-6 * sum.abs());
    assert_close(&gradient, &added);
    // Another step has other masks, and with them another loss.
    case.dropout = Some(Dropout { seed: 3, step: 5 });
    assert!((case.full(&case.parameters, &case.examples()).0 - together).abs() > 1e-3);
}

#[test]
fn the_loss_alone_is_that_of_training_without_dropout_and_counts_targets() {
    let case = Case::new(tiny(), lora(Targets::ATTENTION, 0.0));
    let examples = case.examples();
    let layers = case.random.layers();
    let lora = Lora { config: case.lora, parameters: &case.parameters };
    let longest = examples.iter().map(Example::rows).max().unwrap();
    let mut memory = vec![0xff; loss_bytes(&tiny(), Some(&case.lora), longest, case.pieces, 1)];
    let mut arena = Arena::new(&mut memory);
    let model = case.random.model(&layers);
    let (sum, count) =
        loss(&model, compute(), Some(lora), case.pieces, &examples, &mut arena).unwrap();
    assert!((sum - case.full(&case.parameters, &examples).0).abs() < 1e-5);
    assert_eq!(count, examples.iter().map(Example::count).sum::<usize>());
}

#[test]
fn the_loss_is_the_log_softmax_of_the_inference_logits() {
    use crate::cache::{KvCache, KvType};
    let mut case = Case::new(Config { tied: true, ..tiny() }, lora(Targets::ALL, 0.0));
    case.dialogues.truncate(1);
    let config = case.random.config;
    let examples = case.examples();
    let layers = case.random.layers();
    let model = case.random.model(&layers);
    let lora = Lora { config: case.lora, parameters: &case.parameters };
    let tokens = examples[0].tokens;
    let mut memory = vec![u32::MAX; KvCache::words(&config, KvType::F32, tokens.len())];
    let mut cache = KvCache::new(&config, KvType::F32, &mut memory).unwrap();
    let mut bytes = vec![0; crate::model::inference_bytes(&config, Some(&case.lora), 7)];
    let mut arena = Arena::new(&mut bytes);
    let mut states = vec![0.0; 7 * config.dim];
    model.forward(compute(), Some(lora), tokens, &mut cache, &mut arena, &mut states).unwrap();
    let mut normed = vec![0.0; states.len()];
    model.final_norm(compute(), &states, &mut normed).unwrap();
    let mut logits = vec![0.0; 7 * config.vocab];
    model.logits(compute(), &normed, &mut Arena::new(&mut []), &mut logits).unwrap();
    let mut expected = 0.0;
    for i in (1..7).filter(|&i| examples[0].targets[i]) {
        let row = &logits[(i - 1) * config.vocab..i * config.vocab];
        let sum: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
        expected += sum.ln() - f64::from(row[tokens[i] as usize]);
    }
    assert!((case.full(&case.parameters, &examples).0 - expected).abs() < 1e-5);
}

#[test]
fn a_scale_scales_the_gradient_and_malformed_examples_are_errors() {
    let case = Case::new(tiny(), lora(Targets::ALL, 0.0));
    let examples = case.examples();
    let layers = case.random.layers();
    let model = case.random.model(&layers);
    let lora = Lora { config: case.lora, parameters: &case.parameters };
    let rows = Case::rows(&examples);
    let mut memory = vec![0; training_bytes(&tiny(), &case.lora, rows)];
    let mut run = |examples: &[Example], scale: f32, gradients: &mut [f32]| {
        let mut arena = Arena::new(&mut memory);
        let pieces = Pieces::default();
        loss_and_gradients(
            &model,
            compute(),
            lora,
            None,
            scale,
            pieces,
            examples,
            &mut arena,
            gradients,
        )
    };
    let (sum, gradient) = case.full(&case.parameters, &examples);
    let mut scaled = vec![0.0; gradient.len()];
    assert_eq!(run(&examples, 0.125, &mut scaled), Ok(sum));
    let back: Vec<f32> = scaled.iter().map(|g| 8.0 * g).collect();
    assert_close(&gradient, &back);

    let good = examples[0];
    let short = Example { targets: &good.targets[1..], ..good };
    assert_eq!(run(&[good, short], 1.0, &mut scaled), Err(Error::Example { index: 1 }));
    let first = Example { tokens: &[1], targets: &[true], id: 0 };
    assert_eq!(run(&[first], 1.0, &mut scaled), Err(Error::Example { index: 0 }));
    let token = Example { tokens: &[1, 99], targets: &[false, true], id: 0 };
    let error = Error::Token { index: 1, token: 99, vocab: 31 };
    assert_eq!(run(&[token], 1.0, &mut scaled), Err(error));
    let nothing = Example { tokens: &[1, 2], targets: &[false, false], id: 0 };
    assert_eq!(run(&[nothing], 1.0, &mut scaled), Ok(0.0));
    let wrong = run(&[good], 1.0, &mut []);
    assert_eq!(wrong, Err(Error::Adapter { expected: gradient.len(), found: 0 }));
}

#[test]
fn with_a_frozen_a_the_gradients_are_those_of_the_bs_alone() {
    let plain = lora(Targets::ALL, 0.5);
    let case = Case::new(tiny(), plain);
    let examples = case.examples();
    let layers = case.random.layers();
    let model = case.random.model(&layers);
    let bytes = training_bytes(&tiny(), &plain, Case::rows(&examples));
    let run = |config: LoraConfig, n: usize| {
        let (mut memory, mut gradients) = (vec![0; bytes], vec![0.0; n]);
        let lora = Lora { config, parameters: &case.parameters };
        let arena = &mut Arena::new(&mut memory);
        let dropout = case.dropout;
        loss_and_gradients(
            &model,
            compute(),
            lora,
            dropout,
            1.0,
            case.pieces,
            &examples,
            arena,
            &mut gradients,
        )
        .map(|sum| (sum, gradients))
    };
    let frozen = LoraConfig { freeze_a: true, ..plain };
    let (sum, all) = run(plain, plain.trainable(&tiny())).unwrap();
    let of_bs = frozen.trained(&tiny()).flat_map(|range| all[range].to_vec()).collect();
    assert_eq!(run(frozen, frozen.trainable(&tiny())), Ok((sum, of_bs)));
    let (expected, found) = (frozen.trainable(&tiny()), all.len());
    assert_eq!(run(frozen, found), Err(Error::Adapter { expected, found }));
}

#[test]
fn gradients_over_packed_weights_are_those_of_the_dense_model_of_their_values() {
    for format in [Format::Q8, Format::Q4] {
        let (quantised, dense) = Random::quantised(tiny(), format);
        let lora = lora(Targets::ALL, 0.0);
        let run = |random: Random| {
            let case = Case { random, ..Case::new(tiny(), lora) };
            let bytes = training_bytes(&tiny(), &lora, 12);
            let (parameters, examples) = (&case.parameters, &case.examples());
            let found = case.run(parameters, examples, bytes).unwrap();
            // Gradients are never taken through int8 activations.
            let int8 = compute().with_int8(true);
            assert!(case.run_with(int8, parameters, examples, bytes).unwrap() == found);
            found
        };
        let ((loss, found), (want_loss, want)) = (run(quantised), run(dense));
        assert!((loss - want_loss).abs() < 1e-5 * want_loss, "{loss} {want_loss}");
        let largest = want.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
        let worst = found.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5 * largest, "{format:?}: off by {worst} of {largest}");
    }
}
