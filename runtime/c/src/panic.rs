//! A panic is a fault of the library, and never crosses the border: the caller's hook is told, and then
//! the call does not come back.
//!
//! ```text
//! panic -> hook(file, line), which resets, aborts or writes a log -> if it returns: an endless loop
//! ```

use core::ffi::c_char;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Told where the library panicked: a file of its source, without a NUL at the end, and a line.
pub type hs_panic_hook =
    Option<unsafe extern "C" fn(file: *const c_char, file_bytes: usize, line: u32)>;

static HOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Sets what is called when the library panics; null for nothing. It is of all devices.
///
/// The hook should not return: reset, or `abort()`. Where it returns or there is none, the call loops for
/// good, for the watchdog to see. The device that was in use stays `HS_BUSY`; what it saved before counts.
///
/// # Safety
/// `hook` is null or can be called from wherever the library is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hs_on_panic(hook: hs_panic_hook) {
    HOOK.store(hook.map_or(null_mut(), |hook| hook as *mut ()), Ordering::Release);
}

/// Tells the hook, if there is one.
fn tell(file: &str, line: u32) {
    let hook = HOOK.load(Ordering::Acquire);
    // SAFETY: only `hs_on_panic` stores, null or such a function, and null is `None` of the one type as of
    // the other.
    let hook: hs_panic_hook = unsafe { core::mem::transmute(hook) };
    if let Some(hook) = hook {
        // SAFETY: by the contract of `hs_on_panic`; the file's name is there for good.
        unsafe { hook(file.as_ptr().cast(), file.len(), line) };
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("", 0), |at| (at.file(), at.line()));
    tell(file, line);
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;

    static TOLD: AtomicU32 = AtomicU32::new(0);

    unsafe extern "C" fn hook(_: *const c_char, file_bytes: usize, line: u32) {
        TOLD.store(line + file_bytes as u32, Ordering::Relaxed);
    }

    #[test]
    fn the_hook_is_told_where() {
        tell("x.rs", 1);
        // SAFETY: it can be called from anywhere.
        unsafe { hs_on_panic(Some(hook)) };
        tell("x.rs", 7);
        assert_eq!(TOLD.load(Ordering::Relaxed), 11);
        // SAFETY: there is none.
        unsafe { hs_on_panic(None) };
        tell("x.rs", 8);
        assert_eq!(TOLD.load(Ordering::Relaxed), 11);
    }
}
