//! A plugin of QEMU that counts the instructions that the emulated program executes.
//!
//! ```text
//! a block is translated  ->  "add its number of instructions to COUNT when it runs" goes into it
//! the program ends       ->  COUNT is printed by qemu
//! ```
//! Built by rustc alone: `rustc --edition 2024 -O --crate-type cdylib qemu_count.rs -o libcount.so`;
//! used as `qemu-aarch64 -plugin ./libcount.so -d plugin PROGRAM ...`.
//! The interface is QEMU's `qemu-plugin.h`, version 1. One emulated thread, or counts are lost.

use std::ffi::{c_char, c_int, c_void};

/// The version of the interface; QEMU reads it.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// What QEMU adds to.
static mut COUNT: u64 = 0;

type Translated = extern "C" fn(id: u64, block: *mut c_void);
type AtExit = extern "C" fn(id: u64, data: *mut c_void);

/// "Add a number to a variable".
const ADD: c_int = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, then: Translated);
    fn qemu_plugin_register_atexit_cb(id: u64, then: AtExit, data: *mut c_void);
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_register_vcpu_tb_exec_inline(
        block: *mut c_void,
        operation: c_int,
        variable: *mut c_void,
        number: u64,
    );
    fn qemu_plugin_outs(text: *const c_char);
}

extern "C" fn translated(_: u64, block: *mut c_void) {
    // SAFETY: QEMU lends the block for this call; COUNT lives as long as the process.
    unsafe {
        let instructions = qemu_plugin_tb_n_insns(block) as u64;
        let count = (&raw mut COUNT).cast();
        qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, count, instructions);
    }
}

extern "C" fn at_exit(_: u64, _: *mut c_void) {
    // SAFETY: the emulated program has ended, so nobody adds any more.
    let text = format!("instructions {}\n\0", unsafe { COUNT });
    // SAFETY: the text ends in a zero and lives until the call returns.
    unsafe { qemu_plugin_outs(text.as_ptr().cast()) }
}

/// QEMU calls this when it has loaded the plugin.
#[unsafe(no_mangle)]
pub extern "C" fn qemu_plugin_install(
    id: u64,
    _: *const c_void,
    _: c_int,
    _: *mut *mut c_char,
) -> c_int {
    // SAFETY: `id` is the one that QEMU gave, and both functions have the types that it calls.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        qemu_plugin_register_atexit_cb(id, at_exit, std::ptr::null_mut());
    }
    0
}
