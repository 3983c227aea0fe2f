//! Tells the linker where the memory map is.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo:rustc-link-search={folder}");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // Sections are where the memory map says, and not moved to a page of 64 KiB.
    println!("cargo:rustc-link-arg-bins=--nmagic");
    // Armv8-M limits the stack by a register instead of the memory protection unit.
    println!("cargo:rustc-check-cfg=cfg(armv8m)");
    println!("cargo:rustc-cfg=armv8m");
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-changed=build.rs");
}
