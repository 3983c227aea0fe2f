//! Shapes make models that open; their weights are as said; rates are what the clock says.

use std::path::Path;

use homespun_kernels::Serial;
use tempfile::tempdir;

use super::shape::{ALL, Kind};
use super::*;
use crate::pool::Threads;

#[test]
fn every_shape_has_as_many_parameters_as_its_model() {
    let known = [15_191_712, 134_515_008, 361_821_120, 494_032_768, 1_235_814_400];
    for (shape, known) in ALL.into_iter().zip(known) {
        let sizes = shape.tensors().into_iter().map(|(_, kind)| match kind {
            Kind::Matrix(rows, cols) => rows * cols,
            Kind::Bias(len) | Kind::Norm(len) => len,
        });
        assert_eq!(sizes.sum::<usize>(), known, "{}", shape.name);
    }
}

#[test]
fn random_weights_open_as_a_model_whatever_the_number_of_threads_and_leave_no_file() {
    let dir = tempdir().unwrap();
    let pool = Threads::new(3).unwrap();
    for dtype in synthetic::DTYPES {
        let open = |pool: &dyn Pool| {
            let weights = synthetic::write(&ALL[0], dtype, dir.path(), pool).unwrap();
            let subject = Subject::Synthetic { shape: ALL[0], dtype, weights, tokenizer: None };
            subject.checkpoint().unwrap()
        };
        let one = open(&Serial);
        assert_eq!(one.base_hash(), open(&pool).base_hash(), "{dtype:?}");
        let bytes = one.weight_bytes() as f64 / 15_191_712.0;
        let expected = match dtype {
            DType::F32 => 4.0..=4.0,
            DType::Bf16 | DType::F16 => 2.0..=2.0,
            DType::Q8 => 1.06..=1.08,
            // 61% of the parameters are the head's, in q8.
            DType::Q4 => 0.86..=0.89,
            DType::I8 => panic!("no model is stored so"),
        };
        assert!(expected.contains(&bytes), "{dtype:?}: {bytes} bytes a parameter");
        let layers = one.layers().unwrap();
        let embed = one.weights(&layers).unwrap().embed;
        let mut row = vec![0.0; 288];
        let mut square = 0.0;
        for i in 0..1000 {
            for (k, x) in row.iter_mut().enumerate() {
                *x = embed.get(i * 31, k);
            }
            square += row.iter().map(|x| f64::from(x * x)).sum::<f64>();
        }
        let deviation = (square / 288_000.0).sqrt();
        assert!((deviation - 0.02).abs() < 2e-4, "{dtype:?}: {deviation}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a file is left");
}

#[test]
fn a_hollow_model_opens_with_every_byte_of_a_written_one_and_is_known_by_its_shape() {
    let dir = tempdir().unwrap();
    for dtype in synthetic::DTYPES {
        let bytes = |weights| {
            let subject = Subject::Synthetic { shape: ALL[0], dtype, weights, tokenizer: None };
            let checkpoint = subject.checkpoint().unwrap();
            (checkpoint.weight_bytes(), subject.identity(&checkpoint))
        };
        let written = bytes(synthetic::write(&ALL[0], dtype, dir.path(), &Serial).unwrap());
        assert_eq!(bytes(synthetic::hollow(&ALL[0], dtype).unwrap()), written);
        assert_eq!(written.1, format!("stories-15m-{}", dtype.name()));
    }
    for shape in ALL {
        let weights = synthetic::hollow(&shape, DType::Q4).unwrap();
        let subject = Subject::Synthetic { shape, dtype: DType::Q4, weights, tokenizer: None };
        subject.checkpoint().unwrap().layers().unwrap();
    }
}

#[test]
fn a_cache_in_memory_or_nowhere_is_refused_by_name() {
    for dir in ["/dev/shm", "/proc", "/nowhere/at/all"] {
        let dir = Path::new(dir);
        match synthetic::write(&ALL[0], DType::F32, dir, &Serial) {
            Err(error) => {
                assert!(error.to_string().starts_with(&format!("--cache: {}: ", dir.display())));
            }
            // A system may keep /dev/shm on a disk, or have none.
            Ok(_) => assert_eq!(dir, Path::new("/dev/shm")),
        }
    }
}

#[test]
fn a_token_of_a_known_shape_takes_the_operations_that_others_count() {
    let lora = LoraConfig::new(8, 16.0, 0.0, Targets::ALL);
    // 584 million at SmolLM2-135M's shape and 256 tokens, as PyTorch's step is counted.
    let token = useful(&crate::tune::plan::tests::CONFIG, &lora, 256) / 256.0;
    assert!((token / 584e6 - 1.0).abs() < 0.02, "{token}");
}

#[test]
fn rates_are_of_the_best_and_the_median_repetition() {
    let rate = Rate::new(10, vec![4.0, 1.0, 2.0]);
    assert_eq!(rate, Rate { tokens: 10, best: 10.0, median: 5.0 });
}

#[test]
fn a_token_that_generate_would_not_choose_is_named() {
    assert!(agree(&[1, 2, 3], &[1, 2, 3]).is_ok());
    assert!(agree(&[1, 2, 3], &[1, 2]).is_ok(), "generate stopped at an end token");
    let planted = agree(&[1, 2, 3], &[1, 4, 3]);
    assert!(matches!(planted, Err(Error::Differs { index: 1, timed: 2, generated: 4 })));
}

#[test]
fn sizes_beyond_the_context_are_named_by_their_option() {
    let good =
        Settings { prefill: 8, decode: 8, train: None, repeat: 1, precision: Precision::FAST };
    assert!(good.check(8).is_ok());
    let train =
        |length, batch| Some(Train { length, batch, accumulate: 1, budget: Budget::default() });
    for (settings, option) in [
        (Settings { prefill: 0, ..good }, "--prefill"),
        (Settings { prefill: 9, ..good }, "--prefill"),
        (Settings { decode: 0, ..good }, "--decode"),
        (Settings { decode: 9, ..good }, "--decode"),
        (Settings { repeat: 0, ..good }, "--repeat"),
        (Settings { train: train(9, 1), ..good }, "--length"),
        (Settings { train: train(1, 1), ..good }, "--length"),
        (Settings { train: train(8, 0), ..good }, "--batch"),
    ] {
        let error = settings.check(8).unwrap_err().to_string();
        assert!(error.starts_with(option), "{error}");
    }
}
