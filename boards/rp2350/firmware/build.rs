//! Puts the memory map where the linker looks for it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::copy("memory.x", out.join("memory.x")).expect("the memory map is beside this file");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // Sections are where the memory map says, and not moved to a page of 64 KiB.
    println!("cargo:rustc-link-arg-bins=--nmagic");
    // Armv8-M limits the stack by a register instead of the memory protection unit.
    println!("cargo:rustc-check-cfg=cfg(armv8m)");
    println!("cargo:rustc-cfg=armv8m");
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-changed=build.rs");
}
