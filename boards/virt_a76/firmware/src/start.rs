//! The first instructions: down to exception level 1, a stack, zeroed statics, vector registers, and what
//! is done when something cannot go on.
//!
//! ```text
//! EL3    nobody starts there: wait for ever
//! EL2    as with `-M virt,virtualization=on`: to EL1, in AArch64, without traps
//! EL1    registers of floats on, exceptions to `vectors`, stack, .bss = 0, `mmu::turn_on`, `main`
//! ```
//! Interrupts stay masked throughout; the other cores, if there are any, are never started.

use core::arch::global_asm;

use homespun_boards::VIRT_A76 as BOARD;
use homespun_firmware::fail::{self, fail};

global_asm!(
    r#"
    .section .text.start, "ax"
    .global _start
_start:
    msr     daifset, #15
    mrs     x0, CurrentEL
    lsr     x0, x0, #2
    cmp     x0, #1
    b.eq    1f
    cmp     x0, #2
    b.eq    0f
9:  wfi
    b       9b

0:  mov     x0, #(1 << 31)          // HCR_EL2.RW: EL1 is AArch64
    msr     hcr_el2, x0
    mov     x0, #0x33ff             // CPTR_EL2: floats are not trapped
    msr     cptr_el2, x0
    ldr     x0, =0x30d00800         // SCTLR_EL1: MMU and caches off, its fixed bits
    msr     sctlr_el1, x0
    mov     x0, #0x3c5              // SPSR_EL2: EL1 with its own stack, all masked
    msr     spsr_el2, x0
    adr     x0, 1f
    msr     elr_el2, x0
    eret

1:  mov     x0, #(3 << 20)          // CPACR_EL1: floats are not trapped
    msr     cpacr_el1, x0
    ldr     x0, =vectors
    msr     vbar_el1, x0
    isb
    ldr     x0, =_stack_start
    mov     sp, x0
    ldr     x0, =_bss_start
    ldr     x1, =_bss_end
2:  cmp     x0, x1
    b.hs    3f
    stp     xzr, xzr, [x0], #16
    b       2b
3:  bl      {turn_on}
    bl      {main}
    b       9b

    // Sixteen entries of 128 bytes: each gives its number, and none returns. The stack may be what failed.
    .section .text.vectors, "ax"
    .balign 2048
vectors:
    .set    entry, 0
    .rept   16
    .balign 128
    mov     x0, #entry
    b       8f
    .set    entry, entry + 1
    .endr
    .balign 128
8:  ldr     x1, =_fault_stack_start
    mov     sp, x1
    mrs     x1, esr_el1
    mrs     x2, elr_el1
    mrs     x3, far_el1
    b       {fault}

    .section .bss.fault_stack, "aw", %nobits
    .balign 16
    .skip   16384
_fault_stack_start:
"#,
    turn_on = sym crate::mmu::turn_on,
    main = sym crate::main,
    fault = sym fault,
);

/// Says what happened where, and ends.
extern "C" fn fault(entry: u64, syndrome: u64, at: u64, address: u64) -> ! {
    let what = match (entry % 4, syndrome >> 26) {
        (0, 0x00) => "an instruction that there is not",
        (0, 0x20 | 0x21) => "no code",
        (0, 0x24 | 0x25) => "no memory, or not to be written",
        (0, 0x22 | 0x26) => "not aligned",
        (0, _) => "a fault",
        (1 | 2, _) => "an interrupt",
        _ => "an error of the system",
    };
    let class = syndrome >> 26;
    fail(
        fail::FAULT,
        format_args!(
            "{}: {what} at {at:#x}, address {address:#x}, syndrome {syndrome:#x} (class {class:#x}), \
             entry {entry}",
            BOARD.name
        ),
    )
}
