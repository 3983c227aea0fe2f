//! Selection over the buffer: a dialogue arrives, is scored against what is there, and is kept or
//! not.

use embedded_storage::nor_flash::NorFlash;
use homespun_core::select::{
    self, Buffer, Candidate, Domain, Entry, Policy, Scores, Setting, Unreadable, Verdict,
    dissimilarity,
};

use super::{BinInfo, Embedding, Error, Sample, Samples};

/// What became of a dialogue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// Where it went.
    pub verdict: Verdict,
    /// Its scores, the dissimilarity among them.
    pub scores: Scores,
    /// Messages that had no room.
    pub lost_turns: usize,
}

/// The buffer as selection sees it; remembers why a read failed.
#[derive(Debug)]
pub struct View<'s, F: NorFlash, I, const STAGE: usize> {
    samples: &'s mut Samples<F, I, STAGE>,
    failure: Option<Error<F::Error>>,
}

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Samples<F, I, STAGE> {
    /// The buffer as selection sees it.
    pub fn view(&mut self) -> View<'_, F, I, STAGE> {
        View { samples: self, failure: None }
    }

    /// IDD of `embedding (D)` against the buffered dialogues of `domain`; `scratch` holds 2 D.
    ///
    /// # Errors
    /// If `scratch` is too small or an embedding cannot be read.
    pub fn dissimilarity(
        &mut self,
        domain: Domain,
        embedding: &[f32],
        scratch: &mut [f32],
    ) -> Result<f32, Error<F::Error>> {
        let (needed, available) = (2 * embedding.len(), scratch.len());
        let Some(scratch) = scratch.get_mut(..needed) else {
            return Err(Error::Scratch { needed, available });
        };
        let (sum, one) = scratch.split_at_mut(embedding.len());
        let mut view = self.view();
        match dissimilarity::peers(&mut view, domain, sum, one) {
            Ok(peers) => Ok(peers.dissimilarity(embedding)),
            Err(unreadable) => Err(view.why(unreadable.into())),
        }
    }

    /// Scores `sample` against the buffer, lets `policy` decide and puts it where it says.
    ///
    /// `sample.scores.dissimilarity` and `sample.embedding` are not read: the first is computed,
    /// the second is `embedding`. `setting.scratch` has [`select::policy::scratch_len`] floats.
    ///
    /// # Errors
    /// If the scratch memory is too small, a buffered embedding cannot be read, the sample does not
    /// fit, or the flash fails: the buffer is as it was.
    pub fn observe(
        &mut self,
        policy: &Policy,
        sample: &Sample<'_>,
        embedding: &[f32],
        setting: &mut Setting<'_>,
    ) -> Result<Observed, Error<F::Error>> {
        let mut scores = sample.scores;
        scores.dissimilarity = self.dissimilarity(scores.domain, embedding, setting.scratch)?;
        let candidate = Candidate { scores, embedding, arrival: sample.arrival };
        let mut view = self.view();
        let verdict = match policy.decide(&mut view, &candidate, setting) {
            Ok(verdict) => verdict,
            Err(error) => return Err(view.why(error)),
        };
        let mut lost_turns = 0;
        if let Some(bin) = verdict.bin() {
            let sample = Sample { scores, embedding: Embedding::Floats(embedding), ..*sample };
            lost_turns = self.put(bin, &sample)?.lost_turns;
        }
        Ok(Observed { verdict, scores, lost_turns })
    }
}

impl<F: NorFlash, I, const STAGE: usize> View<'_, F, I, STAGE> {
    /// The cause of `error` in full.
    pub fn why(&mut self, error: select::Error) -> Error<F::Error> {
        self.failure.take().unwrap_or_else(|| error.into())
    }
}

impl<F: NorFlash, I: AsRef<[BinInfo]> + AsMut<[BinInfo]>, const STAGE: usize> Buffer
    for View<'_, F, I, STAGE>
{
    fn bins(&self) -> usize {
        self.samples.bins()
    }

    fn entry(&self, bin: usize) -> Option<Entry> {
        self.samples.info(bin).map(BinInfo::entry)
    }

    fn embedding(&mut self, bin: usize, out: &mut [f32]) -> Result<(), Unreadable> {
        self.samples.embedding(bin, out).map_err(|error| {
            self.failure = Some(error);
            Unreadable { bin }
        })
    }
}
