//! Virtual memory that maps every address to itself, so that memory is cached and vectors may be loaded
//! from any address: without it all of memory is a device, and a load that is not aligned faults.
//!
//! ```text
//! level 1, 1 GiB each           level 2, 2 MiB each
//!   0x0000_0000  table -------> 0x0000_0000  nothing: a null pointer faults
//!                               0x0400_0000  weights, 32 MiB     normal, not cached, read only
//!                               0x0600_0000  samples, adapter    device
//!                               0x0800_0000  peripherals         device
//!   0x4000_0000  table -------> 0x4000_0000  device tree         nothing
//!                               0x4020_0000  code, constants     normal, cached, read only, executed
//!                               0x4040_0000  statics             normal, cached
//!                               0x4fc0_0000  guard               nothing
//!                               0x4fe0_0000  stack               normal, cached
//! ```
//! Commands to the flash must arrive one by one and in order, so the part that is written is a device. Of
//! that, vectors cannot be loaded, so the weights are normal memory. While the chip is programmed all of it
//! reads as its status; a load ahead of time could put that into a cache and keep it, so the weights are not
//! cached. (Arm ARM, B2.10, D8.)

use core::arch::asm;
use core::cell::UnsafeCell;

use homespun_boards::{Partition, VIRT_A76};

const BLOCK: u64 = 2 << 20;
const RAM: u64 = 0x4000_0000;
const CODE: u64 = 0x4020_0000;
const STATICS: u64 = 0x4040_0000;
const GUARD: u64 = 0x4FC0_0000;
const STACK: u64 = 0x4FE0_0000;
const RAM_END: u64 = RAM + VIRT_A76.ram;

/// The kinds of memory, as MAIR_EL1 numbers them: nGnRnE, write-back, not cached.
const KINDS: u64 = 0x00_44_FF_00;
const DEVICE: u64 = 0 << 2;
const CACHED: u64 = 1 << 2 | 3 << 8;
const UNCACHED: u64 = 2 << 2 | 2 << 8;
/// A block that was accessed before, so that no access needs to be noted.
const VALID: u64 = 1 | 1 << 10;
const READ_ONLY: u64 = 1 << 7;
const NEVER_EXECUTED: u64 = 1 << 53 | 1 << 54;
/// What lower levels are reached by.
const TABLE: u64 = 3;

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: written by `turn_on` alone, before there is anybody else; then only the processor reads it.
unsafe impl Sync for Table {}

static LEVEL_1: Table = Table(UnsafeCell::new([0; 512]));
static LOW: Table = Table(UnsafeCell::new(level_2(0)));
static HIGH: Table = Table(UnsafeCell::new(level_2(RAM)));

/// The blocks of 1 GiB from `base` on.
const fn level_2(base: u64) -> [u64; 512] {
    let mut table = [0; 512];
    let mut i = 0;
    while i < 512 {
        let at = base + i as u64 * BLOCK;
        let kind = kind(at);
        table[i] = if kind == 0 { 0 } else { at | kind | VALID };
        i += 1;
    }
    table
}

/// How the block at `at` may be used; 0 where there is nothing.
const fn kind(at: u64) -> u64 {
    let weights: &Partition = VIRT_A76.partition("weights");
    let (Some(flash), length) = (weights.address(), weights.len) else { panic!("in flash") };
    match at {
        at if at < flash => 0,
        at if at < flash + length => UNCACHED | READ_ONLY | NEVER_EXECUTED,
        at if at < RAM => DEVICE | NEVER_EXECUTED,
        at if at < CODE => 0,
        at if at < STATICS => CACHED | READ_ONLY,
        at if at < GUARD => CACHED | NEVER_EXECUTED,
        at if at < STACK => 0,
        at if at < RAM_END => CACHED | NEVER_EXECUTED,
        _ => 0,
    }
}

/// Turns translation and caches on. Called once, by the first instructions.
pub extern "C" fn turn_on() {
    // SAFETY: nobody else has the table yet. The address of a static is below 2^36 and aligned to a page.
    unsafe {
        let level_1 = LEVEL_1.0.get().cast::<u64>();
        level_1.write_volatile(LOW.0.get().expose_provenance() as u64 | TABLE);
        level_1.add(1).write_volatile(HIGH.0.get().expose_provenance() as u64 | TABLE);
    }
    /// 39 bits of address, tables cached, 4 KiB pages, no second half; 36 bits of physical address.
    const CONTROL: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 1 << 32;
    /// MMU, caches of data and instructions, nothing both written and executed; unaligned loads are allowed.
    const ON: u64 = 0x30D0_0800 | 1 | 1 << 2 | 1 << 12 | 1 << 19;
    // SAFETY: the tables map this code, its data and its stack to where they are, so that the next
    // instruction finds them.
    unsafe {
        asm!(
            "msr mair_el1, {kinds}",
            "msr tcr_el1, {control}",
            "msr ttbr0_el1, {table}",
            "dsb sy",
            "tlbi vmalle1",
            "ic iallu",
            "dsb sy",
            "isb",
            "msr sctlr_el1, {on}",
            "isb",
            kinds = in(reg) KINDS,
            control = in(reg) CONTROL,
            table = in(reg) LEVEL_1.0.get(),
            on = in(reg) ON,
            options(nostack),
        );
    }
}
