//! Keys by number, and nonces that are the same in every run.

use core::cell::Cell;

use homespun_runtime::samples::Seal;
use homespun_runtime::seal::{Key, NoRandom};

std::thread_local! {
    static STATE: Cell<u64> = const { Cell::new(1) };
}

pub fn random(bytes: &mut [u8]) -> Result<(), NoRandom> {
    for byte in bytes {
        let state = STATE.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        STATE.set(state);
        *byte = (state >> 56) as u8;
    }
    Ok(())
}

pub fn key(number: u8) -> Key {
    Key::new([number; 32])
}

pub fn seal(number: u8, previous: Option<u8>) -> Seal {
    Seal { key: key(number), previous: previous.map(key), random }
}
