//! A buffer does what its oracle says, whatever it is asked and whatever fails.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../shared/mod.rs"]
mod shared;
use shared::operations::{Told, run};

fuzz_target!(|bytes: &[u8]| {
    if let Err(wrong) = run(bytes, Told::Truth) {
        panic!("{wrong}");
    }
});
