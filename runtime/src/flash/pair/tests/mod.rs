//! A pair against what was committed: what it does, what it refuses, and what becomes of it when the
//! power goes, bits flip and blocks wear out.

use core::cell::RefCell;
use std::collections::HashSet;

use super::*;
use crate::flash::faulty::{Fault, FaultyFlash};
use crate::seal::{Key, NoRandom};

mod basic;
mod cuts;
mod flips;

type Faulty<const R: usize, const W: usize, const E: usize> = FaultyFlash<R, W, E>;
type On<const R: usize, const W: usize, const E: usize> = Pair<FaultyFlash<R, W, E>>;

std::thread_local! {
    /// What random numbers go on from, whatever image is put back; and those that were given.
    static RANDOM: RefCell<(u64, HashSet<[u8; 24]>)> = RefCell::new((1, HashSet::new()));
}

/// Random bytes that are the same in every run.
fn random(bytes: &mut [u8]) -> Result<(), NoRandom> {
    RANDOM.with_borrow_mut(|(state, given)| {
        for byte in bytes.iter_mut() {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (*state >> 56) as u8;
        }
        given.extend(<[u8; 24]>::try_from(&*bytes));
    });
    Ok(())
}

fn seal(key: u8, previous: Option<u8>) -> Seal {
    let of = |byte| Key::new([byte; 32]);
    Seal { key: of(key), previous: previous.map(of), random }
}

/// Words that are in every content.
const WORDS: &[u8] = b"I like mint tea. ";

/// What content is called, and its bytes.
type Content = ([u8; 8], Vec<u8>);

/// The content of a number.
fn content(id: usize, length: usize) -> Content {
    let text = format!("{id}: ").into_bytes();
    let bytes = text.into_iter().chain(WORDS.iter().copied().cycle().take(3 * WORDS.len()));
    let bytes = bytes.chain((0..).map(|i: usize| (i * 31 + id * 7) as u8));
    ((id as u64).to_le_bytes(), bytes.take(length).collect())
}

/// The bytes of a pair with halves of `blocks` blocks, behind one block of something else.
fn range<const E: usize>(blocks: usize) -> Range<u32> {
    E as u32..((1 + 2 * blocks) * E) as u32
}

fn flash<const R: usize, const W: usize, const E: usize>(blocks: usize) -> Faulty<R, W, E> {
    Faulty::new((2 + 2 * blocks) * E)
}

fn mount<const R: usize, const W: usize, const E: usize>(
    flash: Faulty<R, W, E>,
    blocks: usize,
    sealed: bool,
) -> Result<On<R, W, E>, Error<Fault>> {
    let range = range::<E>(blocks);
    let pair = if sealed {
        Pair::mount_sealed(flash, range, seal(1, None))
    } else {
        Pair::mount(flash, range)
    };
    Ok(pair?.with_barrier(FaultyFlash::sync))
}

/// Writes the content of a number, in pieces.
fn write<F: NorFlash>(
    pair: &mut Pair<F>,
    id: usize,
    length: usize,
) -> Result<Header, Error<F::Error>> {
    let (kind, bytes) = content(id, length);
    let mut write = pair.begin(kind)?;
    for piece in bytes.chunks(7 + id) {
        write.push(piece)?;
    }
    write.commit()
}

/// Reads what counts, in pieces, the last first.
fn read<F: NorFlash>(pair: &mut Pair<F>) -> Result<Content, Error<F::Error>> {
    let header = *pair.info().ok_or(Error::Empty)?;
    let mut bytes = vec![0; header.length as usize];
    let starts: Vec<usize> = (0..bytes.len()).step_by(61).collect();
    pair.read(0, &mut [])?;
    for start in starts.into_iter().rev() {
        let end = bytes.len().min(start + 61);
        pair.read(start as u32, &mut bytes[start..end])?;
    }
    Ok((header.kind, bytes))
}
