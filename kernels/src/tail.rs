//! The last elements of a vector, when they do not fill a register.

/// The elements of `tail`, fewer than eight, then `fill`.
#[inline]
pub(crate) fn padded(tail: &[f32], fill: f32) -> [f32; 8] {
    let mut eight = [fill; 8];
    eight[..tail.len()].copy_from_slice(tail);
    eight
}
