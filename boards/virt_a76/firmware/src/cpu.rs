//! What the processor has, by its own registers, and whether that is what the program was compiled for.

use core::arch::asm;

/// Names of Linux, and whether the processor has it and the compiler relies on it.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// As `/proc/cpuinfo` calls it.
    pub name: &'static str,
    has: bool,
    needed: bool,
}

/// Field `from .. from + 4` of an identification register.
const fn field(register: u64, from: u32) -> u64 {
    register >> from & 15
}

/// What kernels are written for or could be.
pub fn features() -> [Feature; 7] {
    let (pfr0, isar0, isar1): (u64, u64, u64);
    // SAFETY: the registers can be read at EL1 and above; reading them changes nothing.
    unsafe {
        asm!(
            "mrs {}, id_aa64pfr0_el1",
            "mrs {}, id_aa64isar0_el1",
            "mrs {}, id_aa64isar1_el1",
            out(reg) pfr0,
            out(reg) isar0,
            out(reg) isar1,
            options(nomem, nostack, preserves_flags),
        );
    }
    let simd = field(pfr0, 20);
    let feature = |name, has, needed| Feature { name, has, needed };
    [
        feature("asimd", simd != 15, cfg!(target_feature = "neon")),
        feature("asimdhp", simd == 1, cfg!(target_feature = "fp16")),
        feature("asimddp", field(isar0, 44) != 0, cfg!(target_feature = "dotprod")),
        feature("asimdrdm", field(isar0, 28) != 0, cfg!(target_feature = "rdm")),
        feature("atomics", field(isar0, 20) != 0, cfg!(target_feature = "lse")),
        feature("bf16", field(isar1, 44) != 0, cfg!(target_feature = "bf16")),
        feature("i8mm", field(isar1, 52) != 0, cfg!(target_feature = "i8mm")),
    ]
}

/// The names of what there is, in `names`.
///
/// # Errors
/// The name of what the program was compiled for and the processor lacks: nothing more must be run then.
pub fn check<'n>(names: &'n mut [&'static str; 7]) -> Result<&'n [&'static str], &'static str> {
    let mut count = 0;
    for Feature { name, has, needed } in features() {
        match (has, needed) {
            (false, true) => return Err(name),
            (false, false) => {}
            (true, _) => {
                names[count] = name;
                count += 1;
            }
        }
    }
    Ok(&names[..count])
}
