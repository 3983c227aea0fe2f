//! The person is asked about a dialogue, and answers.

use embedded_storage::nor_flash::NorFlash;

use super::{Device, Error};
use crate::samples::{Flags, Sample};

/// A dialogue that the person should look at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Its bin.
    pub bin: usize,
    /// The dialogue.
    pub sample: Sample<'r>,
}

/// What the person says of a dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'t> {
    /// The reply was good.
    Accept,
    /// This would have been better.
    Preferred(&'t str),
    /// Not now.
    Skip,
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
    /// If the answer is too long, the bin is free, or the flash fails: the bin holds what it held.
    pub fn answer(&mut self, bin: usize, answer: Answer<'_>) -> Result<(), Error<F::Error>> {
        let Device { samples, room, setting, .. } = self;
        let old = samples.read(bin, room.record)?;
        let reply = old.messages.iter().last().filter(|message| message.role == "assistant");
        let (flag, preferred) = match answer {
            Answer::Accept => (Flags::ANNOTATED, None),
            Answer::Preferred(text) => {
                let (found, limit) = (text.len(), setting.text);
                if found > limit {
                    return Err(Error::TooLong { found, limit });
                }
                let same = reply.is_some_and(|reply| reply.content.trim() == text.trim());
                let flag = if same { Flags::NONE } else { Flags::CORRECTED };
                (flag.with(Flags::ANNOTATED), Some(text))
            }
            Answer::Skip => (Flags::SKIPPED, None),
        };
        let sample = Sample { flags: old.flags.with(flag), preferred, ..old };
        samples.put(bin, &sample)?;
        Ok(())
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
