//! The most that was used of the stack: what is free of it is painted at the start, and looked for at the
//! end.
//!
//! ```text
//! _stack_end                                     _stack_start
//! [ paint | paint | ... | paint | used .. | the caller of `paint` ]    the stack grows down
//!                                 the first word that is no paint
//! ```
//! A word that was never written counts as used, so that what is reported is no less than what was used,
//! but for words that happened to be written with the paint.

use core::ptr::addr_of_mut;

/// What is painted.
const PAINT: usize = 0xA5C3_5A3C_u32 as usize;
/// Bytes below the stack pointer that are left as they are: the frame of `paint`.
const MARGIN: usize = 256;

unsafe extern "C" {
    /// The stack's highest address, exclusive, and its lowest: of the link script.
    static mut _stack_start: usize;
    static mut _stack_end: usize;
}

/// The stack's words from the lowest.
fn words() -> (*mut usize, usize) {
    let (end, start) = (addr_of_mut!(_stack_end), addr_of_mut!(_stack_start));
    (end, (start.addr() - end.addr()) / size_of::<usize>())
}

/// Bytes of the stack.
pub fn size() -> usize {
    words().1 * size_of::<usize>()
}

/// Paints what is free of the stack.
pub fn paint() {
    let (end, _) = words();
    let here = 0usize;
    let free = (core::ptr::from_ref(&here).addr() - end.addr()).saturating_sub(MARGIN);
    for at in 0..free / size_of::<usize>() {
        // SAFETY: the word is of the stack, as the link script says, and below all frames: `here` lies in
        // that of this function, which has no more than the margin below it and calls nothing.
        unsafe { end.add(at).write_volatile(PAINT) };
    }
}

/// The most bytes that were used since [`paint`]: all of them where the stack was too small.
pub fn used() -> usize {
    let (end, length) = words();
    // SAFETY: the words are of the stack, as the link script says; they are read as they are.
    let is_paint = |at: &usize| unsafe { end.add(*at).read_volatile() } == PAINT;
    let free = (0..length).take_while(is_paint).count();
    (length - free) * size_of::<usize>()
}
