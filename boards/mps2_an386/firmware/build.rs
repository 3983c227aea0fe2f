//! Puts the memory map where the linker looks for it: all RAM, or with the feature `ram-512k` a part of it.
//! Neither is called `memory.x` here, for the linker would look beside this file first.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let small = env::var_os("CARGO_FEATURE_RAM_512K").is_some();
    let name = if small { "memory_512k.x" } else { "memory_16m.x" };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::copy(name, out.join("memory.x")).expect("the memory map is beside this file");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // Sections are where the memory map says, and not moved to a page of 64 KiB.
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rustc-check-cfg=cfg(armv8m)");
    println!("cargo:rerun-if-changed={name}");
    println!("cargo:rerun-if-changed=build.rs");
}
