//! Says which tables this CPU can run; with `--sdot`, executes that instruction whatever it can.
//!
//! The second is for a check of the first: on a CPU without the table `dotprod` it must die.

use homespun_kernels::Kernels;

fn main() {
    for kernels in Kernels::available() {
        println!("{}", kernels.isa().name());
    }
    if std::env::args().nth(1).as_deref() == Some("--sdot") {
        #[cfg(target_arch = "aarch64")]
        execute_sdot();
        #[cfg(not(target_arch = "aarch64"))]
        panic!("this is no AArch64");
    }
}

#[cfg(target_arch = "aarch64")]
fn execute_sdot() {
    // SAFETY: the instruction writes one register that the compiler knows of. Where the CPU lacks
    // it, the process ends by SIGILL, which is what the caller asked to see.
    unsafe {
        core::arch::asm!(
            ".arch_extension dotprod",
            "sdot v0.4s, v0.16b, v0.16b",
            out("v0") _,
            options(nomem, nostack)
        );
    }
    println!("executed sdot");
}
