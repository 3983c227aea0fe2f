//! Bits flip: what is read is right or refused, and the older content is there to fall back to.

use super::*;
use crate::plant;

/// What flips did.
#[derive(Debug, Default)]
struct Flips {
    flips: u64,
    /// Of those, ones that made the newer content refused, or its header unknown.
    refused: u64,
    hidden: u64,
    /// Contents that were not what was written, or older ones that nobody told of.
    wrong: u64,
    /// Flips that cost both contents.
    lost: u64,
}

const LENGTH: usize = 250;

/// Reads what counts; an older one counts only where it is told that something is damaged.
fn look(pair: &mut On<1, 4, 256>, found: &mut Flips) {
    let newest = pair.info().is_some_and(|header| header.generation == 2);
    found.hidden += u64::from(!newest);
    found.wrong += u64::from(!newest && !pair.is_damaged());
    let mut there = read(pair);
    if there == Err(Error::Corrupt) {
        found.refused += 1;
        found.wrong +=
            u64::from(pair.verify().is_ok() && !pair.info().is_some_and(Header::is_sealed));
        there = pair.fall_back().copied().and_then(|_| read(pair));
    }
    match there {
        Ok(bytes) => {
            let id = pair.info().map_or(0, |header| header.generation) as usize;
            found.wrong += u64::from(bytes != content(id, LENGTH));
        }
        Err(_) => found.lost += 1,
    }
}

/// Flips single bits everywhere, and bursts of bits within a block.
fn flip(sealed: bool, bursts: u64) -> Flips {
    let mut pair = mount(flash::<1, 4, 256>(2), 2, sealed).unwrap();
    write(&mut pair, 1, LENGTH).unwrap();
    write(&mut pair, 2, LENGTH).unwrap();
    let image = pair.into_flash();
    let mut found = Flips::default();
    for bit in 8 * 256..8 * 256 * 5 {
        let mut flash = image.clone();
        flash.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
        look(&mut mount(flash, 2, sealed).unwrap(), &mut found);
        found.flips += 1;
    }
    let mut state = 5_u64;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..bursts {
        let mut flash = image.clone();
        let block = 256 * (1 + next(4));
        for _ in 0..1 + next(64) {
            flash.bytes_mut()[block + next(256)] ^= 1 << next(8);
        }
        look(&mut mount(flash, 2, sealed).unwrap(), &mut found);
        found.flips += 1;
    }
    found
}

#[test]
fn flipped_bits_give_no_wrong_content_and_leave_one_of_the_two() {
    for sealed in [false, true] {
        let found = flip(sealed, 100_000);
        println!("sealed {sealed}: {found:?}");
        assert_eq!((found.wrong, found.lost), (0, 0), "{found:?}");
        assert!(found.refused > 20_000 && found.hidden > 10_000, "{found:?}");
    }
}

#[test]
fn unchecked_content_is_found_wrong() {
    for sealed in [false, true] {
        let found = plant::with(Bug::Unchecked, || flip(sealed, 1000));
        assert!(found.wrong > 1000, "{found:?}");
    }
}
