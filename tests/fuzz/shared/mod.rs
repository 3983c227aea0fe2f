//! What fuzz targets and tests have in common: bytes become work for a sample buffer.
//!
//! ```text
//! operations  what is put, removed, sealed anew, cut, broken; against what was acknowledged
//! image       what lies in the flash when a buffer is mounted; against panics
//! ```
#![allow(dead_code)]

pub mod dialogue;
pub mod faults;
pub mod image;
pub mod keys;
pub mod layout;
pub mod operations;

/// The bytes of an input, one after another; zeros when they have run out.
pub struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Bytes(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first)
    }

    pub fn word(&mut self) -> usize {
        self.byte() | self.byte() << 8
    }

    /// The next `length` bytes, or those that are left.
    pub fn take(&mut self, length: usize) -> &'b [u8] {
        let (now, later) = self.0.split_at(length.min(self.0.len()));
        self.0 = later;
        now
    }
}
