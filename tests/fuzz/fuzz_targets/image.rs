//! No image makes a buffer panic, whatever is done with it.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../shared/mod.rs"]
mod shared;

fuzz_target!(|bytes: &[u8]| {
    if let Err(wrong) = shared::image::run(bytes) {
        panic!("{wrong}");
    }
});
