//! Checkpoints cut, damaged, refused and gone on from, on the built-in model.

mod sealed;

use std::collections::BTreeSet;
use std::io::ErrorKind;

use homespun_core::lora::LoraConfig;
use homespun_kernels::{Isa, Kernels};

use super::*;
use crate::adapter::Adapter;
use crate::durable::disk::{Bug, Did, Recorder, after_a_cut, lay_out};
use crate::durable::{Op, Step};
use crate::engine::Engine;
use crate::tune::tests::{CONFIG, options, with_engine, with_kernels};
use crate::tune::{Budget, Event, Example, Length, Options};

/// Two dialogues a step, each a micro-batch of its own: every other checkpoint is within a step.
fn run_options() -> Options {
    Options { micro_batch: Some(1), ..options(Length::Epochs(3)) }
}

fn trainer<'t, 'm>(
    engine: &'t Engine<'m>,
    examples: &'t [Example],
    adapter: &'t mut Adapter,
) -> Trainer<'t, 'm> {
    Trainer::new(engine, adapter, examples, run_options()).unwrap()
}

fn store(folder: &Path) -> Store {
    Store::new(folder, "model".into())
}

/// All that a checkpoint is to bring back.
fn state(trainer: &Trainer) -> Vec<u64> {
    let [first, second] = &trainer.moments;
    let gradients = if trainer.parts > 0 { &trainer.gradients[..] } else { &[] };
    let floats = [&trainer.adapter.parameters[..], first, second, gradients];
    let bits = floats.into_iter().flatten().map(|x| u64::from(x.to_bits()));
    let (at, step, parts) = (trainer.at as u64, trainer.step as u64, trainer.parts as u64);
    bits.chain([at, step, parts, trainer.updates, trainer.nll.to_bits()]).collect()
}

fn advance(trainer: &mut Trainer, events: usize) {
    for _ in 0..events {
        trainer.advance().unwrap();
    }
}

/// The adapter's bits at the end of the run.
fn finish(mut trainer: Trainer) -> Vec<u32> {
    while trainer.advance().unwrap() != Event::Ended {}
    trainer.adapter.parameters.iter().map(|p| p.to_bits()).collect()
}

/// Loads what is in `folder` into a new trainer, and gives what it then is.
fn load(engine: &Engine, examples: &[Example], start: &Adapter, folder: &Path) -> Option<Vec<u64>> {
    let mut adapter = start.clone();
    let mut trainer = trainer(engine, examples, &mut adapter);
    store(folder).resume(&mut trainer, false).unwrap().map(|_| state(&trainer))
}

#[test]
fn a_run_cut_after_any_micro_batch_ends_bit_identical_to_an_unbroken_one() {
    cut_everywhere(CONFIG);
}

#[test]
fn so_does_one_that_trains_and_keeps_moments_of_the_bs_alone() {
    cut_everywhere(LoraConfig { freeze_a: true, ..CONFIG });
}

#[test]
fn so_does_one_with_magnitudes() {
    cut_everywhere(LoraConfig { dora: true, ..CONFIG });
}

fn cut_everywhere(config: LoraConfig) {
    with_engine(|engine, examples, _| {
        let mut start = Adapter::fresh(config, engine.base().config(), "builtin", 3);
        engine.prepare(&mut start).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut adapter = start.clone();
        let whole = finish(trainer(engine, examples, &mut adapter));
        assert_ne!(adapter, start, "the run taught nothing");
        let mut cuts = 0;
        loop {
            let mut adapter = start.clone();
            let mut first = trainer(engine, examples, &mut adapter);
            advance(&mut first, cuts);
            store(folder.path()).save(&first, Judged::default()).unwrap();
            let ended = first.advance().unwrap() == Event::Ended;
            let mut adapter = start.clone();
            let mut second = trainer(engine, examples, &mut adapter);
            assert!(store(folder.path()).resume(&mut second, false).unwrap().is_some());
            assert!(finish(second) == whole, "cut after {cuts} micro-batches");
            if ended {
                break;
            }
            cuts += 1;
        }
        assert_eq!(cuts, 15, "three times through five dialogues");
    });
}

#[test]
fn the_comparison_sees_a_lost_gradient_and_a_cursor_off_by_one() {
    with_engine(|engine, examples, start| {
        let folder = tempfile::tempdir().unwrap();
        let resumed = |plant: fn(&mut Trainer)| {
            let mut adapter = start.clone();
            let mut first = trainer(engine, examples, &mut adapter);
            advance(&mut first, 5);
            assert_eq!(first.parts, 1, "within a step");
            store(folder.path()).save(&first, Judged::default()).unwrap();
            let mut adapter = start.clone();
            let mut second = trainer(engine, examples, &mut adapter);
            store(folder.path()).resume(&mut second, false).unwrap().unwrap();
            plant(&mut second);
            finish(second)
        };
        let good = resumed(|_| {});
        assert!(good != resumed(|trainer| trainer.gradients.fill(0.0)), "the gradient");
        assert!(good != resumed(|trainer| trainer.parts += 1), "the micro-batch");
        assert!(good != resumed(|trainer| trainer.at += 1), "the cursor");
        assert!(good != resumed(|trainer| trainer.step += 1), "the step");
        assert!(good != resumed(|trainer| trainer.updates += 1), "the optimiser's step");
        assert!(good != resumed(|trainer| trainer.moments[1].fill(0.0)), "the second moments");
        assert!(good != resumed(|trainer| trainer.options.seed += 1), "the seed");
    });
}

/// Checks every state that a power cut may leave during any of the saves, of which `ends` gives the
/// operations; the number of states, or what is wrong.
fn check(
    did: &[Did],
    ends: &[usize],
    load: impl Fn(&Path) -> Result<Option<usize>, String>,
) -> Result<usize, String> {
    let place = tempfile::tempdir().unwrap();
    let (root, mut seen, mut count) = (place.path().join("root"), BTreeSet::new(), 0);
    for done in 0..=did.len() {
        let saved = ends.iter().filter(|&&end| end <= done).count();
        for tree in after_a_cut(&did[..done]) {
            if !seen.insert((saved, tree.clone())) {
                continue;
            }
            count += 1;
            lay_out(&tree, &root);
            let folder = root.join("training");
            for name in FILES {
                checkpoint::check(&Vault::plain(&folder), name)?;
            }
            let loaded = load(&folder)?.map_or(0, |one| one + 1);
            if loaded < saved || loaded > saved + 1 {
                return Err(format!("after {done} operations: {loaded}, and {saved} were saved"));
            }
        }
    }
    Ok(count)
}

#[test]
fn after_a_power_cut_anywhere_the_last_checkpoint_or_the_new_one_is_whole() {
    with_engine(|engine, examples, start| {
        let place = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(place.path());
        let mut store = store(&place.path().join("training"));
        let mut adapter = start.clone();
        let mut first = trainer(engine, examples, &mut adapter);
        let (mut ends, mut states) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            advance(&mut first, 3);
            let note = &mut |op: Op<'_>| recorder.note(op);
            store.save_steps(&first, Judged::default(), note).unwrap();
            ends.push(recorder.did.len());
            states.push(state(&first));
        }
        let whole = finish(first);
        let loaded = |folder: &Path| -> Result<Option<usize>, String> {
            match load(engine, examples, &start, folder) {
                None => Ok(None),
                Some(one) => {
                    let known = states.iter().position(|state| *state == one);
                    known.map(Some).ok_or_else(|| "a state that never was".to_owned())
                }
            }
        };
        let count = check(&recorder.did, &ends, loaded).expect("every state is good");
        assert!(count > 100, "{count} states");
        // From each of them a run ends as the unbroken one: a state is all that a run depends on.
        for done in &ends {
            for tree in after_a_cut(&recorder.did[..*done]).iter().take(1) {
                let root = place.path().join("root");
                lay_out(tree, &root);
                let mut adapter = start.clone();
                let mut second = trainer(engine, examples, &mut adapter);
                let folder = root.join("training");
                super::tests::store(&folder).resume(&mut second, false).unwrap().unwrap();
                assert!(finish(second) == whole, "after {done} operations");
            }
        }
        for bug in Bug::ALL {
            let mut bad = Vec::new();
            let mut bad_ends = Vec::new();
            let mut from = 0;
            for &end in &ends {
                bad.extend(bug.plant(&recorder.did[from..end]));
                bad_ends.push(bad.len());
                from = end;
            }
            let wrong = check(&bad, &bad_ends, loaded).expect_err(&format!("{bug:?} is not seen"));
            eprintln!("{bug:?}: {wrong}");
        }
        eprintln!("{count} states");
    });
}

#[test]
fn a_full_or_failing_disk_loses_nothing_and_names_the_file() {
    with_engine(|engine, examples, start| {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("training");
        let mut adapter = start.clone();
        let mut first = trainer(engine, examples, &mut adapter);
        advance(&mut first, 1);
        let mut store = store(&folder);
        store.save(&first, Judged::default()).unwrap();
        let mut before = state(&first);
        let load = || load(engine, examples, &start, &folder).unwrap();
        let mut seen = BTreeSet::new();
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            for (short, fail) in (0..).map(|i| (i % 2 == 1, i / 2)) {
                advance(&mut first, 1);
                let (mut count, mut failed) = (0, None);
                let error = store.save_steps(&first, Judged::default(), &mut |op| {
                    count += 1;
                    if count <= fail {
                        let write = matches!(op, Op::Write(..));
                        return Ok(if short && write { 30_000 } else { usize::MAX });
                    }
                    failed.get_or_insert(op.step());
                    Err(kind.into())
                });
                if failed.is_none() {
                    before = state(&first);
                    break;
                }
                let Err(Error::Write(error)) = error else { panic!("{fail}: {error:?}") };
                assert_eq!(Some(error.step), failed);
                assert!(error.to_string().contains("training/checkpoint."), "{error}");
                assert_eq!(error.source.kind(), kind);
                let mut names: Vec<_> =
                    fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
                names.sort();
                assert!(
                    names.iter().all(|name| FILES.iter().any(|file| name == *file)),
                    "{names:?}"
                );
                // Its name may be on the disk after all.
                let expected =
                    if error.step == Step::SyncFolder { state(&first) } else { before.clone() };
                assert!(load() == expected, "{kind:?} at operation {fail}");
                before = expected;
                seen.insert(error.step.to_string());
            }
        }
        assert_eq!(seen.len(), 5, "{seen:?}");
        store.save(&first, Judged::default()).unwrap();
        assert!(load() == state(&first), "once there is room, it goes on");
    });
}

#[test]
fn a_damaged_newest_checkpoint_falls_back_to_the_other() {
    with_engine(|engine, examples, start| {
        let place = tempfile::tempdir().unwrap();
        let mut adapter = start.clone();
        let mut first = trainer(engine, examples, &mut adapter);
        let mut store = store(place.path());
        let mut states = Vec::new();
        for _ in 0..2 {
            advance(&mut first, 1);
            store.save(&first, Judged::default()).unwrap();
            states.push(state(&first));
        }
        let file = place.path().join(FILES[1]);
        let whole = fs::read(&file).unwrap();
        assert_eq!(load(engine, examples, &start, place.path()), states.pop());
        let places = [0, 8, 12, 16, 17, 40, 150, 300, whole.len() / 2, whole.len() - 1];
        for at in places {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x41;
            for bytes in [&damaged[..], &whole[..at]] {
                fs::write(&file, bytes).unwrap();
                let mut adapter = start.clone();
                let mut second = trainer(engine, examples, &mut adapter);
                let mut store = super::tests::store(place.path());
                let cut = store.resume(&mut second, false).unwrap().unwrap();
                assert!(cut.damaged.is_some_and(|why| why.starts_with("checkpoint.1 ")), "{at}");
                assert!(state(&second) == states[0], "byte {at}");
                assert_eq!(store.slot, 1, "the next one replaces the damaged one");
            }
        }
        fs::write(place.path().join(FILES[0]), "x").unwrap();
        let mut adapter = start.clone();
        let mut second = trainer(engine, examples, &mut adapter);
        let error = super::tests::store(place.path()).resume(&mut second, false).unwrap_err();
        assert!(error.is_of_another() && error.to_string().contains("checkpoint.0 is cut short"));
        assert_eq!(*second.adapter, start, "nothing changed");
    });
}

#[test]
fn a_checkpoint_of_another_run_is_refused_by_what_differs() {
    with_engine(|engine, examples, start| {
        let place = tempfile::tempdir().unwrap();
        let mut adapter = start.clone();
        let first = trainer(engine, examples, &mut adapter);
        store(place.path()).save(&first, Judged::default()).unwrap();
        let tell = |options: Options, examples: &[Example], start: &Adapter, model: &str| {
            let mut adapter = start.clone();
            let mut trainer = Trainer::new(engine, &mut adapter, examples, options).unwrap();
            let mut store = Store::new(place.path(), model.into());
            store.resume(&mut trainer, true).map_err(|error| error.to_string()).unwrap_err()
        };
        let mut warm = start.clone();
        warm.parameters[0] += 1.0;
        let seed = Options { seed: 6, ..run_options() };
        for (error, part) in [
            (tell(seed, examples, &start, "model"), "other options"),
            (tell(run_options(), &examples[1..], &start, "model"), "other data"),
            (tell(run_options(), examples, &warm, "model"), "another starting adapter"),
            (tell(run_options(), examples, &start, "mode"), "another model"),
        ] {
            assert!(error.ends_with(part) && error.contains(place.path().to_str().unwrap()));
        }
    });
}

#[test]
fn a_checkpoint_of_other_kernels_is_refused_unless_it_is_asked_for() {
    if Kernels::detect().isa() == Isa::Scalar {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut saved = Vec::new();
    with_engine(|engine, examples, start| {
        let mut adapter = start.clone();
        let mut first = trainer(engine, examples, &mut adapter);
        advance(&mut first, 3);
        store(place.path()).save(&first, Judged::default()).unwrap();
        saved = state(&first);
    });
    let scalar = Kernels::for_isa(Isa::Scalar).unwrap();
    with_kernels(scalar, |engine, examples, mut adapter| {
        let start = adapter.clone();
        let mut second = trainer(engine, examples, &mut adapter);
        let error = store(place.path()).resume(&mut second, false).unwrap_err();
        assert!(matches!(&error, Error::OtherIsa { ours, .. } if ours == "scalar"), "{error}");
        assert!(error.to_string().contains("--any-isa") && !error.is_of_another(), "{error}");
        assert_eq!(*second.adapter, start, "nothing changed");
        let cut = store(place.path()).resume(&mut second, true).unwrap().unwrap();
        assert_eq!(cut.other_isa.as_deref(), Some(Kernels::detect().isa().name()));
        assert!(state(&second) == saved);
    });
}

#[test]
fn a_run_keeps_its_pieces_in_another_memory() {
    with_engine(|engine, examples, start| {
        let place = tempfile::tempdir().unwrap();
        let mut adapter = start.clone();
        let options = options(Length::Epochs(3));
        let mut first = Trainer::new(engine, &mut adapter, examples, options).unwrap();
        // As a smaller memory would have had it.
        let longest = examples.iter().map(|example| example.lend().rows()).max().unwrap();
        let words = [longest as u64, 16, 32, 0];
        assert_ne!(first.plan.words(), words, "nothing to take over");
        first.plan_again(&words).unwrap();
        advance(&mut first, 2);
        store(place.path()).save(&first, Judged::default()).unwrap();
        let expected = finish(first);
        let mut adapter = start.clone();
        let mut second = Trainer::new(engine, &mut adapter, examples, options).unwrap();
        store(place.path()).resume(&mut second, false).unwrap().unwrap();
        assert_eq!(second.plan.words(), words);
        assert!(finish(second) == expected);
        let half = engine.with_budget(Budget { half_inputs: true, ..Budget::default() });
        let mut adapter = start.clone();
        let mut second = Trainer::new(&half, &mut adapter, examples, options).unwrap();
        let error = store(place.path()).resume(&mut second, false).unwrap_err().to_string();
        assert!(error.contains("--half-inputs"), "{error}");
    });
}

#[test]
fn the_best_so_far_comes_back_with_its_loss() {
    with_engine(|engine, examples, start| {
        let place = tempfile::tempdir().unwrap();
        let mut adapter = start.clone();
        let first = trainer(engine, examples, &mut adapter);
        let best: Vec<f32> = (0..start.parameters.len()).map(|i| i as f32 * 0.1).collect();
        let judged = Judged { best: Some((0.25, &best)), waited: 3 };
        store(place.path()).save(&first, judged).unwrap();
        let mut adapter = start.clone();
        let mut second = trainer(engine, examples, &mut adapter);
        let cut = store(place.path()).resume(&mut second, false).unwrap().unwrap();
        assert_eq!((cut.best, cut.waited), (Some((0.25, best)), 3));
    });
}
