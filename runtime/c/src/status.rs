//! What a call came to, in one number and in words.

use core::ffi::{CStr, c_char};

use homespun_core::model;
use homespun_runtime::device::Error;
use homespun_runtime::flash::pair;
use homespun_runtime::image::{self, template};
use homespun_runtime::samples;

use crate::flash::Failed;

/// What a call came to. Where it is not `HS_OK`, nothing changed unless the function says so.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum hs_status {
    /// It is done.
    HS_OK = 0,
    /// A pointer is null that must not be.
    HS_NULL = 1,
    /// A text is not UTF-8.
    HS_INVALID_TEXT = 2,
    /// A field of the setting is out of its range.
    HS_INVALID_SETTING = 3,
    /// An argument is out of its range: no message, a role that the model does not know, a temperature
    /// below 0.
    HS_INVALID_ARGUMENT = 4,
    /// There is too little memory; `hs_memory_bytes` says how much it takes.
    HS_MEMORY = 5,
    /// The image is none, cut short or damaged, or made for another version.
    HS_IMAGE = 6,
    /// The image does not lie at a multiple of `HS_IMAGE_ALIGN` bytes.
    HS_IMAGE_MISALIGNED = 7,
    /// The flash's driver failed.
    HS_FLASH = 8,
    /// A range of flash is too small, or not whole blocks; `hs_flash_bytes` says how much it takes.
    HS_FLASH_SIZE = 9,
    /// What lies in the flash was written for another image, setting or version, or is sealed.
    HS_FOREIGN = 10,
    /// What lies in the flash was damaged since it was written.
    HS_DAMAGED = 11,
    /// The flash is worn out: nothing more can be written.
    HS_WORN = 12,
    /// A text is longer than the setting or a bin has room for.
    HS_TOO_LONG = 13,
    /// There is no such bin, or no dialogue in it.
    HS_NO_DIALOGUE = 14,
    /// There is no dialogue that was not asked about: not an error.
    HS_NOTHING_TO_ASK = 15,
    /// Nothing was answered yet, so there is nothing to learn.
    HS_NOTHING_TO_LEARN = 16,
    /// A number is infinite or none: the step was not taken, the reply ended.
    HS_NOT_FINITE = 17,
    /// The device is not open.
    HS_CLOSED = 18,
    /// The device is at work: it was called from a function that it called.
    HS_BUSY = 19,
    /// The library is at fault: this should not happen.
    HS_INTERNAL = 20,
}

use hs_status::*;

impl hs_status {
    const ALL: [hs_status; 21] = [
        HS_OK,
        HS_NULL,
        HS_INVALID_TEXT,
        HS_INVALID_SETTING,
        HS_INVALID_ARGUMENT,
        HS_MEMORY,
        HS_IMAGE,
        HS_IMAGE_MISALIGNED,
        HS_FLASH,
        HS_FLASH_SIZE,
        HS_FOREIGN,
        HS_DAMAGED,
        HS_WORN,
        HS_TOO_LONG,
        HS_NO_DIALOGUE,
        HS_NOTHING_TO_ASK,
        HS_NOTHING_TO_LEARN,
        HS_NOT_FINITE,
        HS_CLOSED,
        HS_BUSY,
        HS_INTERNAL,
    ];

    const fn text(self) -> &'static CStr {
        match self {
            HS_OK => c"it is done",
            HS_NULL => c"a pointer is null that must not be",
            HS_INVALID_TEXT => c"a text is not UTF-8",
            HS_INVALID_SETTING => c"a field of the setting is out of its range",
            HS_INVALID_ARGUMENT => c"an argument is out of its range",
            HS_MEMORY => c"there is too little memory",
            HS_IMAGE => c"the image is none, cut short, damaged or of another version",
            HS_IMAGE_MISALIGNED => c"the image does not lie at a multiple of 64 bytes",
            HS_FLASH => c"the flash's driver failed",
            HS_FLASH_SIZE => c"a range of flash is too small, or not whole blocks",
            HS_FOREIGN => c"the flash was written for another image, setting or version",
            HS_DAMAGED => c"what lies in the flash was damaged",
            HS_WORN => c"the flash is worn out",
            HS_TOO_LONG => c"a text is too long",
            HS_NO_DIALOGUE => c"there is no dialogue in that bin",
            HS_NOTHING_TO_ASK => c"there is nothing to ask about",
            HS_NOTHING_TO_LEARN => c"nothing was answered yet",
            HS_NOT_FINITE => c"a number is infinite or none",
            HS_CLOSED => c"the device is not open",
            HS_BUSY => c"the device is at work",
            HS_INTERNAL => c"the library is at fault",
        }
    }

    pub(crate) fn of(result: Result<(), hs_status>) -> hs_status {
        result.err().unwrap_or(HS_OK)
    }
}

/// A status in words: English, ends in a NUL, there for good.
#[unsafe(no_mangle)]
pub extern "C" fn hs_status_text(status: i32) -> *const c_char {
    // A number: C can pass what is no status.
    let known = hs_status::ALL.into_iter().find(|known| *known as i32 == status);
    known.map_or(c"no such status", hs_status::text).as_ptr()
}

impl From<Error<Failed>> for hs_status {
    fn from(error: Error<Failed>) -> Self {
        match error {
            Error::Image(error) => error.into(),
            Error::Weights => HS_IMAGE,
            Error::Template(error) => match error {
                template::Error::NoMessages | template::Error::Role { .. } => HS_INVALID_ARGUMENT,
                template::Error::Text { .. } | template::Error::Tokens(_) => HS_TOO_LONG,
            },
            Error::Model(error) => match error {
                model::Error::OutOfMemory(_) => HS_MEMORY,
                model::Error::NonFinite { .. } => HS_NOT_FINITE,
                model::Error::Full { .. } => HS_TOO_LONG,
                _ => HS_INTERNAL,
            },
            Error::Sampler(_) => HS_INVALID_ARGUMENT,
            Error::Samples(error) => error.into(),
            Error::Pair(error) => error.into(),
            Error::Flash(_) => HS_FLASH,
            Error::Layers { .. } => HS_INTERNAL,
            Error::Bins { .. } | Error::Foreign { .. } => HS_FOREIGN,
            Error::AdapterFlash { .. } => HS_FLASH_SIZE,
            Error::TooLong { .. } => HS_TOO_LONG,
            Error::Memory(_) => HS_MEMORY,
            Error::NothingToLearn => HS_NOTHING_TO_LEARN,
            Error::NonFinite => HS_NOT_FINITE,
            Error::NoText => HS_INVALID_ARGUMENT,
        }
    }
}

impl From<image::Error> for hs_status {
    fn from(error: image::Error) -> Self {
        match error {
            image::Error::Misaligned => HS_IMAGE_MISALIGNED,
            _ => HS_IMAGE,
        }
    }
}

impl From<samples::Error<Failed>> for hs_status {
    fn from(error: samples::Error<Failed>) -> Self {
        use samples::Error;
        match error {
            Error::Flash(_) => HS_FLASH,
            Error::Capacity { .. } => HS_FLASH_SIZE,
            Error::Unformatted
            | Error::Version { .. }
            | Error::SlotBytes { .. }
            | Error::Sealed
            | Error::Plain
            | Error::Key { .. }
            | Error::Embedding { .. } => HS_FOREIGN,
            Error::Corrupt { .. } => HS_DAMAGED,
            Error::NoSlot { .. } | Error::Generations => HS_WORN,
            Error::NoSuchBin { .. } | Error::Empty { .. } => HS_NO_DIALOGUE,
            // Of what was written with another setting, a record can be longer than there is room for.
            Error::TooLong { .. } | Error::Scratch { .. } => HS_TOO_LONG,
            Error::Geometry | Error::Random | Error::Index { .. } | Error::Encoding => HS_INTERNAL,
        }
    }
}

impl From<pair::Error<Failed>> for hs_status {
    fn from(error: pair::Error<Failed>) -> Self {
        use pair::Error;
        match error {
            Error::Flash(_) => HS_FLASH,
            Error::Range { .. } | Error::TooLong { .. } => HS_FLASH_SIZE,
            Error::Sealed | Error::Plain | Error::Key { .. } | Error::Behind { .. } => HS_FOREIGN,
            Error::Corrupt | Error::Empty => HS_DAMAGED,
            Error::Generations => HS_WORN,
            Error::Geometry | Error::Random | Error::Unfinished => HS_INTERNAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_number_and_words() {
        for (i, status) in hs_status::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, i);
            let first = hs_status::ALL.iter().position(|other| other.text() == status.text());
            assert_eq!(first, Some(i));
        }
        // SAFETY: what it gives ends in a NUL and is there for good.
        let words = |status| unsafe { CStr::from_ptr(hs_status_text(status)) };
        assert_eq!(words(18), c"the device is not open");
        assert_eq!(words(-1), c"no such status");
    }
}
