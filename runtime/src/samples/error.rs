//! What can go wrong with the sample buffer.

use homespun_core::select;

use crate::seal::{KeyName, NoRandom};

/// An error of the buffer or, as [`Error::Flash`], of the flash below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The flash failed.
    Flash(E),
    /// The flash's units do not suit: blocks are not whole units of reading and writing, or a unit is
    /// longer than the buffer's stage.
    Geometry,
    /// The flash is too small for that many bins and a spare slot, or there are no bins.
    Capacity {
        /// Bins.
        bins: usize,
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        available: usize,
    },
    /// There is no buffer in the flash.
    Unformatted,
    /// The buffer has another version.
    Version {
        /// The version found.
        found: u16,
    },
    /// The buffer was made for a flash of other units.
    SlotBytes {
        /// Bytes of a slot as found.
        found: u32,
        /// And in this flash.
        expected: u32,
        /// Bytes of a unit as found.
        unit: u32,
        /// And in this flash.
        expected_unit: u32,
    },
    /// The records are sealed, and there is no key.
    Sealed,
    /// There is a key, and the records are plain.
    Plain,
    /// A record was sealed with a key that is not there.
    Key {
        /// What the key is called.
        name: KeyName,
    },
    /// There are no random bytes for a nonce.
    Random,
    /// Every free slot failed to be erased or written.
    NoSlot {
        /// How many were tried.
        tried: u32,
    },
    /// The index is too short.
    Index {
        /// Entries needed, one per slot.
        needed: usize,
        /// Entries lent.
        available: usize,
    },
    /// There is no bin of that number.
    NoSuchBin {
        /// The bin.
        bin: usize,
        /// How many there are.
        bins: usize,
    },
    /// The bin is free.
    Empty {
        /// The bin.
        bin: usize,
    },
    /// The bin's record was damaged after it was written.
    Corrupt {
        /// The bin.
        bin: usize,
    },
    /// The last message with its embedding does not fit into a record.
    TooLong {
        /// Bytes needed.
        needed: usize,
        /// Bytes of a record.
        available: usize,
    },
    /// The memory lent for reading is too small.
    Scratch {
        /// Bytes needed, or floats for a decision.
        needed: usize,
        /// Bytes or floats lent.
        available: usize,
    },
    /// The bin's embedding has another length.
    Embedding {
        /// The bin.
        bin: usize,
        /// Components in the record.
        stored: usize,
        /// Components asked for.
        asked: usize,
    },
    /// The text cannot be encoded.
    Encoding,
    /// No more puts: their numbers have run out.
    Generations,
}

impl<E> From<select::Error> for Error<E> {
    fn from(error: select::Error) -> Self {
        match error {
            select::Error::Unreadable(select::Unreadable { bin }) => Error::Corrupt { bin },
            select::Error::Scratch { needed, available } => Error::Scratch { needed, available },
        }
    }
}

impl<E: core::fmt::Display> core::fmt::Display for Error<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::Flash(error) => error.fmt(f),
            Error::Geometry => f.write_str("the flash's units do not suit the sample buffer"),
            Error::Capacity { bins, needed, available } => {
                write!(f, "{bins} bins need {needed} bytes of flash, there are {available}")
            }
            Error::Unformatted => f.write_str("the flash holds no sample buffer"),
            Error::Version { found } => write!(f, "the sample buffer has version {found}"),
            Error::SlotBytes { found, expected, unit, expected_unit } => write!(
                f,
                "the sample buffer has slots of {found} bytes and units of {unit}, this flash \
                 {expected} and {expected_unit}"
            ),
            Error::Sealed => f.write_str("the sample buffer is sealed, and there is no key"),
            Error::Plain => f.write_str("the sample buffer is not sealed, and there is a key"),
            Error::Key { name } => {
                write!(f, "a record was sealed with the key {name}, which is not there")
            }
            Error::Random => NoRandom.fmt(f),
            Error::NoSlot { tried } => {
                write!(f, "no free slot can be written ({tried} tried): the flash is worn out")
            }
            Error::Index { needed, available } => {
                write!(f, "the index needs {needed} entries, has {available}")
            }
            Error::NoSuchBin { bin, bins } => write!(f, "there is no bin {bin}, only {bins}"),
            Error::Empty { bin } => write!(f, "bin {bin} is free"),
            Error::Corrupt { bin } => write!(f, "the record in bin {bin} is damaged"),
            Error::TooLong { needed, available } => {
                write!(f, "the last message makes a record of {needed} bytes, over {available}")
            }
            Error::Scratch { needed, available } => {
                write!(f, "the scratch memory needs a length of {needed}, has {available}")
            }
            Error::Embedding { bin, stored, asked } => {
                write!(f, "the embedding in bin {bin} has {stored} components, not {asked}")
            }
            Error::Encoding => f.write_str("the text cannot be encoded"),
            Error::Generations => f.write_str("the sample buffer has no more generations"),
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
