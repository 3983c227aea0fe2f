//! How a firmware ends when it cannot go on: a line on standard error and an exit code that is not zero.

use core::fmt::{Arguments, Write};

use crate::host::Output;
use crate::semihosting;

/// The mission failed.
pub const FAILED: u8 = 1;
/// The processor could not go on: a fault.
pub const FAULT: u8 = 70;
/// The program could not: a panic, as Rust's own code for it.
pub const PANIC: u8 = 101;

/// Says why, and ends with `code`.
pub fn fail(code: u8, why: Arguments<'_>) -> ! {
    if let Ok(mut out) = Output::error() {
        let _ = writeln!(out, "{why}");
    }
    semihosting::exit(code)
}

#[cfg(all(target_os = "none", not(test)))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    fail(PANIC, format_args!("{info}"))
}
