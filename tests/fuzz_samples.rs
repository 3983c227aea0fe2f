//! The sample buffer under the inputs of its fuzz targets (`fuzz/`): some that the fuzzer kept, and
//! some by chance.

use std::panic::catch_unwind;
use std::time::Instant;

use homespun_runtime::flash::faulty::FaultyFlash;
use homespun_runtime::samples::header::HEADER_BYTES;

#[path = "fuzz/shared/mod.rs"]
mod shared;
use shared::layout::geometry;
use shared::operations::Told;
use shared::{Bytes, image, layout, operations};

/// Inputs by chance, of each target.
const INPUTS: u64 = 20_000;

/// The inputs that a target's fuzzer kept: hexadecimal, one in a line.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/fuzz/kept/{target}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let byte = |pair: &[u8]| {
        let digits = core::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(digits, 16).expect("a hexadecimal byte")
    };
    text.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// The `seed`-th input by chance.
fn chance(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 24
    };
    let length = 4 + next() % 60;
    (0..length).map(|_| next() as u8).collect()
}

/// Runs `test` on all inputs of a target, on all cores; gives how many there were.
fn on_all(target: &str, test: fn(&[u8]) -> Result<(), String>) -> usize {
    let (kept, began) = (kept(target), Instant::now());
    let inputs: Vec<_> = kept.into_iter().chain((0..INPUTS).map(chance)).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = inputs.chunks(inputs.len().div_ceil(threads));
        let work = work.map(|inputs| {
            scope.spawn(move || {
                for input in inputs {
                    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
                    match catch_unwind(|| test(input)) {
                        Ok(Ok(())) => {}
                        Ok(Err(wrong)) => panic!("{hex}: {wrong}"),
                        Err(_) => panic!("{hex} panics"),
                    }
                }
            })
        });
        let work: Vec<_> = work.collect();
        work.into_iter().for_each(|work| work.join().expect("every input is as it should be"));
    });
    println!("{target}: {} inputs in {:.1} s", inputs.len(), began.elapsed().as_secs_f64());
    inputs.len()
}

#[test]
fn whatever_is_asked_and_whatever_fails_what_was_acknowledged_is_there() {
    let inputs = on_all("operations", |input| operations::run(input, Told::Truth).map(drop));
    assert!(inputs > INPUTS as usize, "some were kept");
    let mut sum = operations::Did::default();
    for seed in 0..500 {
        let did = operations::run(&chance(seed), Told::Truth).expect("was right above");
        sum.acknowledged += did.acknowledged;
        sum.refused += did.refused;
        sum.cuts += did.cuts;
        sum.mounts += did.mounts;
    }
    println!("500 of them: {sum:?}");
    assert!(sum.acknowledged > 1500 && sum.refused > 50 && sum.cuts > 50, "{sum:?}");
}

#[test]
fn an_oracle_that_is_told_a_wrong_thing_says_so() {
    let wrong = (0..500).filter(|&seed| operations::run(&chance(seed), Told::Lie).is_err()).count();
    assert!(wrong > 100, "{wrong}");
}

#[test]
fn no_image_makes_a_buffer_panic() {
    let inputs = on_all("image", |input| image::run(input).map(drop));
    assert!(inputs > INPUTS as usize, "some were kept");
    let mut sum = image::Did::default();
    for seed in 0..500 {
        let did = image::run(&chance(seed)).expect("was right above");
        sum.mounted += did.mounted;
        sum.read += did.read;
        sum.refused += did.refused;
    }
    println!("500 of them: {sum:?}");
    assert!(sum.mounted > 200 && sum.read > 300 && sum.refused > 200, "{sum:?}");
}

/// The planted bug: a reader that believes the lengths in a header.
fn trusting(image: &[u8], places: &layout::Places) -> usize {
    let mut seen = 0;
    for slot in 0..places.slots {
        let start = places.start(slot);
        let header = &image[start + places.header..][..HEADER_BYTES];
        if header.starts_with(b"HSMR") {
            let length = u32::from_le_bytes(header[24..28].try_into().expect("four bytes"));
            seen += image[start + places.payload..][..length as usize].len();
        }
    }
    seen
}

#[test]
fn the_same_images_panic_a_reader_that_believes_their_headers() {
    let panics = (0..4000).filter(|&seed| {
        let input = chance(seed);
        let mut bytes = Bytes::new(&input);
        geometry!(bytes.byte(), R, W, E => {
            let image = image::made::<R, W, E>(&mut bytes);
            let places = layout::Places::of::<FaultyFlash<R, W, E>>(image.len());
            catch_unwind(|| trusting(&image, &places)).is_err()
        })
    });
    assert!(panics.count() > 0);
}
