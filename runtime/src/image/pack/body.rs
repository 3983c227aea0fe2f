//! The body of an image in the making.

use bytemuck::Pod;

use crate::image::ALIGN;
use crate::image::header::Section;

/// Sections, each at a multiple of [`ALIGN`].
#[derive(Debug, Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Adds a section. One beyond four gigabytes has a wrong place; the caller looks at the length.
    pub fn push(&mut self, bytes: &[u8]) -> Section {
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
        let section = Section { at: self.0.len() as u32, bytes: bytes.len() as u32 };
        self.0.extend_from_slice(bytes);
        section
    }

    /// Adds a section of words.
    pub fn push_words<T: Pod>(&mut self, words: &[T]) -> Section {
        self.push(bytemuck::cast_slice(words))
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
