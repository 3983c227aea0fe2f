//! Which dialogues are worth keeping: three metrics of quality (all "higher is better") and the
//! policies that decide with them (Qin et al., DAC 2024, arXiv 2311.12275).
//!
//! ```text
//! states (T, D) -> entropy       EOE   how spread the components of the last state are
//! words         -> domain        DSS   how often the text speaks of the lexicons' domains
//! embedding (D) -> dissimilarity IDD   how far from the buffered sets of the same domain
//! scores + embedding -> policy   Store(bin) | Replace(bin) | Drop
//! ```

pub mod dissimilarity;
pub mod domain;
pub mod embedding;
pub mod entropy;
pub mod policy;

pub use dissimilarity::Peers;
pub use domain::{Domain, Lexicon, Lexicons};
pub use embedding::Pooling;
pub use entropy::Entropy;
pub use policy::{Policy, Setting, Verdict};

/// What the selector knows of one dialogue. Every figure is finite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// EOE, see [`entropy`].
    pub entropy: f32,
    /// DSS, see [`domain`].
    pub domain_score: f32,
    /// The dominant domain.
    pub domain: Domain,
    /// IDD at arrival, see [`dissimilarity`].
    pub dissimilarity: f32,
    /// The tokens that the entropy was taken over.
    pub tokens: u32,
}

/// The figures of one dialogue that need no buffer, before they are rounded for a bin. Finite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// EOE, see [`entropy`].
    pub entropy: f64,
    /// DSS, see [`domain`].
    pub domain_score: f64,
    /// The dominant domain.
    pub domain: Domain,
    /// The tokens that the entropy was taken over.
    pub tokens: u32,
}

impl Measured {
    /// As a bin keeps them, with the dissimilarity of an empty buffer, 1, which [`Peers`] replace.
    ///
    /// What asks for a bin is rounded as what is in one, so that equal dialogues score equal.
    pub const fn scores(&self) -> Scores {
        let Measured { entropy, domain_score, domain, tokens } = *self;
        let (entropy, domain_score) = (entropy as f32, domain_score as f32);
        Scores { entropy, domain_score, domain, dissimilarity: 1.0, tokens }
    }
}

/// How a dialogue is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scoring {
    /// Which entropy.
    pub entropy: Entropy,
    /// Which embedding.
    pub pooling: Pooling,
}

/// The states of a dialogue's T tokens, row after row.
#[derive(Clone, Copy, Debug)]
pub struct States<'a> {
    /// `(T, D)` before the final norm.
    pub before: &'a [f32],
    /// `(T, D)` after it.
    pub after: &'a [f32],
    /// D.
    pub dim: usize,
}

impl Scoring {
    /// Entropy, domain score and tokens of a dialogue, and its embedding in `embedding (D)`.
    ///
    /// # Panics
    /// If the shapes disagree or D is 0.
    pub fn measure<S: AsRef<str>, W: AsRef<[S]>>(
        &self,
        text: &str,
        lexicons: &Lexicons<'_, S, W>,
        states: States<'_>,
        embedding: &mut [f32],
    ) -> Measured {
        let States { before, after, dim } = states;
        assert_eq!(before.len(), after.len(), "both states are (T, D)");
        self.pooling.pool(after, dim, embedding);
        let tokens = after.len() / dim;
        let entropy = match self.entropy {
            Entropy::Histogram => {
                entropy::histogram(after.rchunks(dim).next().unwrap_or_default(), tokens)
            }
            Entropy::TokenNorm => entropy::token_norm(before, dim),
        };
        let (domain_score, domain) = lexicons.score(text);
        Measured { entropy, domain_score, domain, tokens: tokens as u32 }
    }
}

/// One buffered dialogue, without its text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Its scores when it arrived.
    pub scores: Scores,
    /// How many dialogues had arrived before it.
    pub arrival: u64,
    /// Whether the person answered for it or put it off: no round asks about it again.
    pub asked: bool,
    /// Whether the person said what would have been better.
    pub corrected: bool,
}

/// A dialogue that asks for a bin.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its scores against the buffer as it is now.
    pub scores: Scores,
    /// `(D)`: the mean of its states after the final norm.
    pub embedding: &'a [f32],
    /// How many dialogues arrived before it, dropped ones included.
    pub arrival: u64,
}

/// The buffer as a policy sees it.
pub trait Buffer {
    /// How many bins there are, free ones included.
    fn bins(&self) -> usize;

    /// What bin `bin` holds; `None` if it is free.
    fn entry(&self, bin: usize) -> Option<Entry>;

    /// Writes the embedding of bin `bin` to `out (D)`.
    ///
    /// # Errors
    /// If the bin is free, its embedding has another length or it cannot be read.
    fn embedding(&mut self, bin: usize, out: &mut [f32]) -> Result<(), Unreadable>;
}

/// A bin whose embedding cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The bin.
    pub bin: usize,
}

/// Why no verdict was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The embedding of a buffered dialogue cannot be had.
    Unreadable(Unreadable),
    /// The scratch memory is too small; lengths in `f32`.
    Scratch {
        /// What [`policy::scratch_len`] asks for.
        needed: usize,
        /// What was lent.
        available: usize,
    },
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Self {
        Error::Unreadable(unreadable)
    }
}

impl core::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the embedding in bin {} cannot be read", self.bin)
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::Unreadable(unreadable) => unreadable.fmt(f),
            Error::Scratch { needed, available } => {
                write!(f, "selection needs {needed} floats of scratch memory, has {available}")
            }
        }
    }
}

impl core::error::Error for Unreadable {}
impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialogue_is_scored_by_each_metric() {
        let lexicon = [Lexicon { name: "food", words: ["soup"] }];
        let lexicons = Lexicons::try_new(&lexicon).unwrap();
        let before = [3.0, 4.0, 0.0, 5.0];
        let after = [9.0, 9.0, 1.0, 2.0];
        let states = States { before: &before, after: &after, dim: 2 };
        let mut embedding = [0.0; 2];
        let ours = Scoring::default().measure("Hot soup", &lexicons, states, &mut embedding);
        assert_eq!(ours.entropy, entropy::histogram(&[1.0, 2.0], 2));
        assert_eq!((ours.domain_score, ours.domain, ours.tokens), (0.5, Domain(0), 2));
        assert_eq!((ours.scores().dissimilarity, embedding), (1.0, [5.0, 5.5]));
        assert_eq!(ours.scores().entropy, ours.entropy as f32);
        let other = Scoring { entropy: Entropy::TokenNorm, pooling: Pooling::Last };
        assert_eq!(other.measure("", &lexicons, states, &mut embedding).entropy, 1.0);
        assert_eq!(embedding, [1.0, 2.0]);
        let nothing = States { before: &[], after: &[], dim: 2 };
        let none = other.measure("", &lexicons, nothing, &mut embedding);
        assert_eq!(none, Measured::default());
        assert_eq!(embedding, [0.0; 2]);
    }
}
