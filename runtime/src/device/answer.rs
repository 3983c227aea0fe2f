//! The person is asked about a dialogue, and answers.

use embedded_storage::nor_flash::NorFlash;

use super::{Device, Error};
use crate::samples::{Answer, Flags, Sample};

/// A dialogue that the person should look at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Its bin.
    pub bin: usize,
    /// The dialogue.
    pub sample: Sample<'r>,
}

impl<'a, F: NorFlash> Device<'a, F> {
    /// The oldest dialogue that nobody was asked about.
    ///
    /// # Errors
    /// If its record is damaged or the flash fails.
    pub fn request(&mut self) -> Result<Option<Request<'_>>, Error<F::Error>> {
        let open =
            |flags: Flags| !flags.contains(Flags::ANNOTATED) && !flags.contains(Flags::SKIPPED);
        let entries = self.samples.entries().filter(|(_, info)| open(info.header().flags));
        let Some((bin, _)) = entries.min_by_key(|(_, info)| info.header().arrival) else {
            return Ok(None);
        };
        Ok(Some(Request { bin, sample: self.sample(bin)? }))
    }

    /// The dialogue in `bin`.
    ///
    /// # Errors
    /// If the bin is free, its record is damaged or the flash fails.
    pub fn sample(&mut self, bin: usize) -> Result<Sample<'_>, Error<F::Error>> {
        Ok(self.samples.read(bin, self.room.record)?)
    }

    /// Keeps what the person says of the dialogue in `bin`. Once this returns it is durable.
    ///
    /// # Errors
    /// If the answer has no word or too many, the bin is free, or the flash fails: the bin holds what it
    /// held.
    pub fn answer(&mut self, bin: usize, answer: Answer<'_>) -> Result<(), Error<F::Error>> {
        if let Answer::Preferred(text) = answer {
            let (found, limit) = (text.len(), self.setting.text);
            if text.trim().is_empty() {
                return Err(Error::NoText);
            }
            if found > limit {
                return Err(Error::TooLong { found, limit });
            }
        }
        Ok(self.samples.answer(bin, answer, self.room.record)?)
    }

    /// Forgets the dialogue in `bin`. What an adapter learned of it stays: see
    /// [`begin_anew`](Self::begin_anew).
    ///
    /// # Errors
    /// If the bin is free or the flash fails.
    pub fn forget(&mut self, bin: usize) -> Result<(), Error<F::Error>> {
        self.samples.remove(bin)?;
        Ok(())
    }
}
