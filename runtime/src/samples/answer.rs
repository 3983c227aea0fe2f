//! What the person says of a buffered dialogue, written into its bin.

use embedded_storage::nor_flash::NorFlash;

use super::{BinInfo, Error, Flags, Sample, Samples};

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

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Samples<F, I, STAGE> {
    /// Writes `answer` into `bin`; a preferred reply that is the one that was given is no correction.
    /// `scratch` is as [`read`](Self::read) wants it.
    ///
    /// # Errors
    /// If the bin cannot be read or written; it then holds what it held.
    pub fn answer(
        &mut self,
        bin: usize,
        answer: Answer<'_>,
        scratch: &mut [u8],
    ) -> Result<(), Error<F::Error>> {
        let old = self.read(bin, scratch)?;
        let (flag, preferred) = match answer {
            Answer::Accept => (Flags::ANNOTATED, None),
            Answer::Preferred(text) => {
                let reply = old.messages.iter().last().filter(|last| last.role == "assistant");
                let same = reply.is_some_and(|reply| reply.content.trim() == text.trim());
                let flag = if same { Flags::NONE } else { Flags::CORRECTED };
                (flag.with(Flags::ANNOTATED), Some(text))
            }
            Answer::Skip => (Flags::SKIPPED, None),
        };
        let sample = Sample { flags: old.flags.with(flag), preferred, ..old };
        self.put(bin, &sample).map(drop)
    }
}
