//! What can go wrong with a pair of halves.

use crate::seal::{KeyName, NoRandom};

/// An error of a pair or, as [`Error::Flash`], of the flash below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The flash failed.
    Flash(E),
    /// The flash's units do not suit: blocks are not whole units of reading and writing, or a unit is
    /// longer than the stage.
    Geometry,
    /// The range is not two halves of whole erase blocks in the flash.
    Range {
        /// Its first byte.
        from: u32,
        /// The byte behind it.
        to: u32,
        /// Bytes of an erase block.
        block: usize,
        /// Bytes of the flash.
        available: usize,
    },
    /// There is no content.
    Empty,
    /// The content was damaged after it was written, or not written as it was asked.
    Corrupt,
    /// The content is sealed, and there is no key.
    Sealed,
    /// There is a key, and the content is plain.
    Plain,
    /// The content was sealed with a key that is not there.
    Key {
        /// What the key is called.
        name: KeyName,
    },
    /// There are no random bytes for a nonce.
    Random,
    /// The content is longer than a half has room for.
    TooLong {
        /// Bytes needed.
        needed: usize,
        /// Bytes of a half.
        available: usize,
    },
    /// Bytes were asked for that are behind the content's end.
    Behind {
        /// The byte behind those that were asked for.
        asked: u64,
        /// Bytes of content.
        length: u32,
    },
    /// Part of the content could not be written: there is nothing to commit.
    Unfinished,
    /// No more writes: their numbers have run out.
    Generations,
}

impl<E: core::fmt::Display> core::fmt::Display for Error<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::Flash(error) => error.fmt(f),
            Error::Geometry => f.write_str("the flash's units do not suit a pair of halves"),
            Error::Range { from, to, block, available } => write!(
                f,
                "bytes {from} to {to} are not two halves of whole blocks of {block} bytes in a flash \
                 of {available}"
            ),
            Error::Empty => f.write_str("there is no content"),
            Error::Corrupt => f.write_str("the content is damaged"),
            Error::Sealed => f.write_str("the content is sealed, and there is no key"),
            Error::Plain => f.write_str("the content is not sealed, and there is a key"),
            Error::Key { name } => {
                write!(f, "the content was sealed with the key {name}, which is not there")
            }
            Error::Random => NoRandom.fmt(f),
            Error::TooLong { needed, available } => {
                write!(f, "content of {needed} bytes or more, a half has room for {available}")
            }
            Error::Behind { asked, length } => {
                write!(f, "the content has {length} bytes, asked for was up to {asked}")
            }
            Error::Unfinished => f.write_str("part of the content could not be written"),
            Error::Generations => f.write_str("the pair has no more generations"),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Error::Flash(error) => error.source(),
            _ => None,
        }
    }
}
