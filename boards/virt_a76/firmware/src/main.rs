//! Homespun on QEMU's `virt` machine: a bare Cortex-A76, with weights in place in an emulated NOR flash and
//! samples and adapter in other parts of it.
#![no_std]
#![no_main]

mod cpu;
mod mmu;
mod nor;
mod start;

use homespun_boards::{Partition, VIRT_A76 as BOARD};
use homespun_firmware::arena::StaticArena;
use homespun_firmware::fail::{self, fail};
use homespun_firmware::{Machine, mission, semihosting, stack};

use nor::{Nor, NorError};

const WEIGHTS: Partition = *BOARD.partition("weights");
/// Where the chips lie.
const CHIPS: usize = match BOARD.partition("weights").address() {
    Some(at) => (at - BOARD.partition("weights").start) as usize,
    None => panic!("the weights lie in flash"),
};
/// Bytes that the model may write to.
const ARENA_BYTES: usize = 96 << 20;

static ARENA: StaticArena<ARENA_BYTES> = StaticArena::new();

/// Called by the first instructions, with memory mapped.
extern "C" fn main() -> ! {
    stack::paint();
    let mut names = [""; 7];
    let features = match cpu::check(&mut names) {
        Ok(features) => features,
        Err(name) => fail(fail::FAILED, format_args!("{}: the CPU has no {name}", BOARD.name)),
    };
    match machine(features) {
        Ok(machine) => match mission::run(machine) {
            Ok(()) => semihosting::exit(0),
            Err(why) => fail(fail::FAILED, format_args!("{}: {why}", BOARD.name)),
        },
        Err(error) => fail(fail::FAILED, format_args!("{}: {error}", BOARD.name)),
    }
}

/// What this board gives.
fn machine<'m>(features: &'m [&'static str]) -> Result<Machine<'m, Nor>, NorError> {
    let (samples, adapter) = (open(BOARD.partition("samples")), open(BOARD.partition("adapter")));
    let Some(arena) = ARENA.take() else { unreachable!("the machine is made once") };
    Ok(Machine {
        board: &BOARD,
        features,
        weights: weights(),
        arena,
        samples: samples?,
        adapter: adapter?,
    })
}

fn open(part: &Partition) -> Result<Nor, NorError> {
    let range = part.start as u32..(part.start + part.len) as u32;
    // SAFETY: the chips lie there on this machine, which has one core at work and no interrupts; `mmu` maps
    // all but the weights as a device. Partitions do not overlap, which is checked where they are listed,
    // and this is called once for each of two.
    unsafe { Nor::new(CHIPS, range) }
}

/// The weights where they lie in flash.
fn weights() -> &'static [u8] {
    let at = core::ptr::with_exposed_provenance(CHIPS + WEIGHTS.start as usize);
    // SAFETY: these addresses are flash, mapped to be read; no driver has them, and the drivers of others
    // return with the chips as an array, so that every load finds the same bytes.
    unsafe { core::slice::from_raw_parts(at, WEIGHTS.len as usize) }
}
