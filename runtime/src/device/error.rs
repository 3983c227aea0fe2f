//! Why a device cannot do what it is asked.

use homespun_core::arena::OutOfMemory;
use homespun_core::model;
use homespun_core::sampler;
use homespun_core::weights::LoadError;

use crate::flash::pair;
use crate::image;
use crate::samples;

/// Why a device cannot do what it is asked; `E` is the flash driver's error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Error<E> {
    /// The image.
    Image(image::Error),
    /// A tensor that the model needs is not in the image.
    Weights,
    /// The template or the tokenizer.
    Template(image::template::Error),
    /// The model.
    Model(model::Error),
    /// The settings of a reply.
    Sampler(sampler::Error),
    /// The sample buffer.
    Samples(samples::Error<E>),
    /// The adapter's place.
    Pair(pair::Error<E>),
    /// The flash.
    Flash(E),
    /// Another number of layers was lent.
    Layers {
        /// The model's.
        needed: usize,
        /// Those lent.
        available: usize,
    },
    /// The buffer in the flash has another number of bins.
    Bins {
        /// By the setting.
        asked: usize,
        /// In the flash.
        found: usize,
    },
    /// An adapter does not fit into its range of flash.
    AdapterFlash {
        /// Bytes that it takes.
        needed: usize,
        /// Bytes of a half.
        available: usize,
    },
    /// The adapter in the flash is of another model, or of another shape.
    Foreign {
        /// What differs.
        what: &'static str,
    },
    /// A text is longer than the setting allows.
    TooLong {
        /// Bytes or tokens that it has.
        found: usize,
        /// Bytes or tokens that there may be.
        limit: usize,
    },
    /// A preferred reply without a word.
    NoText,
    /// There is too little memory.
    Memory(OutOfMemory),
    /// Nothing was answered yet, so there is nothing to learn.
    NothingToLearn,
    /// The gradient is not finite; the step was not taken.
    NonFinite,
}

impl<E> Error<E> {
    pub(super) fn weights(error: LoadError<image::Error>) -> Self {
        match error {
            LoadError::Source(error) => Error::Image(error),
            LoadError::Missing { .. } | LoadError::Length { .. } => Error::Weights,
        }
    }
}

macro_rules! from {
    ($($variant:ident($error:ty)),*) => {$(
        impl<E> From<$error> for Error<E> {
            fn from(error: $error) -> Self {
                Error::$variant(error)
            }
        }
    )*};
}

from!(
    Image(image::Error),
    Template(image::template::Error),
    Model(model::Error),
    Sampler(sampler::Error),
    Samples(samples::Error<E>),
    Pair(pair::Error<E>),
    Memory(OutOfMemory)
);

// Of a driver's error only `Debug` is sure to be there.
impl<E: core::fmt::Debug> core::fmt::Display for Error<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::Image(error) => write!(f, "the image {error}"),
            Error::Weights => f.write_str("a tensor that the model needs is not in the image"),
            Error::Template(error) => error.fmt(f),
            Error::Model(error) => error.fmt(f),
            Error::Sampler(error) => error.fmt(f),
            Error::Samples(error) => write!(f, "the sample buffer: {error:?}"),
            Error::Pair(error) => write!(f, "the adapter: {error:?}"),
            Error::Flash(error) => write!(f, "the flash: {error:?}"),
            Error::Layers { needed, available } => {
                write!(f, "the model has {needed} layers, {available} were lent")
            }
            Error::Bins { asked, found } => {
                write!(f, "the sample buffer has {found} bins, not {asked}")
            }
            Error::AdapterFlash { needed, available } => {
                write!(
                    f,
                    "an adapter takes {needed} bytes of flash, half its range has {available}"
                )
            }
            Error::Foreign { what } => write!(f, "the adapter in the flash has another {what}"),
            Error::TooLong { found, limit } => {
                write!(f, "the text has {found} bytes or tokens, {limit} is the most")
            }
            Error::NoText => f.write_str("the preferred reply has no word"),
            Error::Memory(error) => error.fmt(f),
            Error::NothingToLearn => f.write_str("nothing was answered yet that fits"),
            Error::NonFinite => f.write_str("the gradient is not finite: the step was not taken"),
        }
    }
}

impl<E: core::fmt::Debug> core::error::Error for Error<E> {}
