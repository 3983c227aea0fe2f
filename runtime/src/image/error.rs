//! Why an image cannot be used.

use homespun_core::config::ConfigError;

/// Why an image cannot be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Error {
    /// The bytes do not begin with an image.
    NoImage,
    /// It is of a version that this program does not know.
    Version {
        /// The version.
        found: u8,
    },
    /// The bytes do not begin at a multiple of [`ALIGN`](super::ALIGN).
    Misaligned,
    /// It is cut short.
    Short {
        /// Its bytes.
        needed: u64,
        /// Those that are there.
        available: usize,
    },
    /// A part is not what was packed.
    Damaged {
        /// `preamble`, `header` or `body`.
        part: &'static str,
    },
    /// The header does not decode, or names a place outside of the body.
    Header,
    /// The shape cannot be computed with.
    Config(ConfigError),
    /// The family is not known.
    Family,
    /// A tensor has another shape than the model's, or not the bytes of its shape.
    Tensor,
    /// A table of the tokenizer is not whole.
    Tokenizer,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::NoImage => f.write_str("is no image of a model; `homespun pack` makes one"),
            Error::Version { found } => {
                write!(f, "`version` is {found}; this program reads {}", super::header::VERSION)
            }
            Error::Misaligned => write!(f, "does not lie at a multiple of {} bytes", super::ALIGN),
            Error::Short { needed, available } => {
                write!(f, "is cut short: {needed} bytes are needed, {available} are there")
            }
            Error::Damaged { part } => write!(f, "its {part} is damaged: the CRC is another"),
            Error::Header => f.write_str("its header does not decode"),
            Error::Config(error) => error.fmt(f),
            Error::Family => f.write_str("`family` is not known to this program"),
            Error::Tensor => f.write_str("a tensor is not of the model's shape"),
            Error::Tokenizer => f.write_str("a table of the tokenizer is not whole"),
        }
    }
}

impl core::error::Error for Error {}
