//! The program of a board with a Cortex-M: start, faults and what the mission is given.
//!
//! ```text
//! RAM   [ .data | .bss, the arena in it | guard, 4 KiB | stack ...            ]
//!                                        no access     ^ _stack_end           ^ _stack_start
//! ```
//! `main` of the crate gives `BOARD` and `ARENA_BYTES`; cortex-m-rt sets up RAM, the FPU and the vectors.

use cortex_m_rt::entry;
use homespun_boards::Partition;
use homespun_firmware::arena::StaticArena;
use homespun_firmware::fail::{self, fail};
use homespun_firmware::file_flash::{FileError, FileFlash};
use homespun_firmware::{Machine, mission, semihosting, stack};

use crate::{ARENA_BYTES, BOARD};

const WEIGHTS: Partition = *BOARD.partition("weights");
const SAMPLES: Partition = *BOARD.partition("samples");
const ADAPTER: Partition = *BOARD.partition("adapter");
/// Bytes of the file with the samples and the adapter.
const FILE_BYTES: u32 = (SAMPLES.len + ADAPTER.len) as u32;

static ARENA: StaticArena<ARENA_BYTES> = StaticArena::new();

#[entry]
fn main() -> ! {
    guard_stack();
    stack::paint();
    let result = machine().and_then(mission::run);
    match result {
        Ok(()) => semihosting::exit(0),
        Err(why) => fail(fail::FAILED, format_args!("{}: {why}", BOARD.name)),
    }
}

/// What this board gives, once.
fn machine() -> Result<Machine<'static, FileFlash>, &'static str> {
    let samples = open(&SAMPLES).map_err(|_| "flash.bin cannot be opened")?;
    let adapter = open(&ADAPTER).map_err(|_| "flash.bin cannot be opened")?;
    let arena = ARENA.take().ok_or("the arena is taken")?;
    Ok(Machine { board: &BOARD, features: &[], weights: weights(), arena, samples, adapter })
}

fn open(part: &Partition) -> Result<FileFlash, FileError> {
    let range = part.start as u32..(part.start + part.len) as u32;
    FileFlash::open(c"flash.bin", FILE_BYTES, range)
}

/// The weights where they lie in flash.
fn weights() -> &'static [u8] {
    let at = core::ptr::with_exposed_provenance(WEIGHTS.start as usize);
    // SAFETY: these addresses are flash of the board, behind the code as memory.x says, and nothing
    // writes there.
    unsafe { core::slice::from_raw_parts(at, WEIGHTS.len as usize) }
}

unsafe extern "C" {
    /// The lowest byte of the stack, behind the guard: of memory.x.
    static _stack_end: u8;
}

/// Forbids access to the 4 KiB before the stack, so that a stack that is too small is a fault. Armv8-M
/// has a limit for the stack instead, which cortex-m-rt sets.
fn guard_stack() {
    #[cfg(not(armv8m))]
    {
        const BYTES: usize = 4096;
        /// Enabled, 2^12 bytes, no access, nothing executed.
        const ATTRIBUTES: u32 = 1 << 28 | 11 << 1 | 1;
        let end = (&raw const _stack_end).addr();
        // SAFETY: this runs once, before anything else uses the peripherals of the core.
        let mpu = unsafe { cortex_m::Peripherals::steal() }.MPU;
        // SAFETY: the region lies between the statics and the stack, where nothing is yet; all else keeps
        // the default map.
        unsafe {
            mpu.rnr.write(0);
            mpu.rbar.write((end - BYTES) as u32);
            mpu.rasr.write(ATTRIBUTES);
            mpu.ctrl.write(0b101);
        }
        cortex_m::asm::dsb();
        cortex_m::asm::isb();
    }
}

/// The exception that all faults end in. The stack may be what failed, so another frame begins at its top,
/// and where there is a limit it is lifted; what the processor had pushed is read before.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn HardFault() -> ! {
    #[cfg(armv8m)]
    macro_rules! lift {
        () => {
            "movs r2, #0\n msr msplim, r2"
        };
    }
    #[cfg(not(armv8m))]
    macro_rules! lift {
        () => {
            ""
        };
    }
    core::arch::naked_asm!(
        "mrs r2, msp",
        "ldr r0, [r2, #24]",
        "ldr r1, [r2, #20]",
        lift!(),
        "ldr r2, =_stack_start",
        "mov sp, r2",
        "b {fault}",
        fault = sym fault,
    )
}

/// Says where it happened, and ends.
extern "C" fn fault(at: u32, from: u32) -> ! {
    // SAFETY: the core's own registers are read, where nothing else runs any more.
    let scb = unsafe { cortex_m::Peripherals::steal() }.SCB;
    let status = scb.cfsr.read();
    // Bit 7: the address is that of the memory protection unit.
    let address = if status & 1 << 7 != 0 { scb.mmfar.read() } else { scb.bfar.read() };
    fail(
        fail::FAULT,
        format_args!(
            "{}: a fault at {at:#010x}, called from {from:#010x}, status {status:#010x}, address \
             {address:#010x}",
            BOARD.name
        ),
    )
}
