//! Tells the linker where everything lies.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo:rustc-link-arg-bins=-T{folder}/virt.ld");
    // Sections are where the script says, and not moved to a page of 64 KiB.
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rerun-if-changed=virt.ld");
    println!("cargo:rerun-if-changed=build.rs");
}
