//! What the selector needs to know of a dialogue, computed with the frozen base: its entropy, its
//! domain and its embedding. The base and not the adapted model, so that what was buffered in an
//! earlier round stays comparable.

use homespun_core::select::{self, Domain, Measured, Peers, Scores, Scoring, States};
use sha2::{Digest, Sha256};

use crate::dialogue::Dialogue;
use crate::engine::{self, Engine, Error, Session};
use crate::lexicon::Table;

/// The domains, their words owned.
pub type Lexicons<'a> = select::Lexicons<'a, String, Vec<String>>;

/// Only this many tokens of a dialogue are looked at.
pub const MAX_TOKENS: usize = 512;

/// What a buffer's scores and domains depend on: they compare only with those of the same entropy,
/// embedding and lexicons.
pub fn fingerprint(scoring: Scoring, book: &Table) -> String {
    let words = format!("{:?}", book.lexicons());
    format!("{} {} {:x}", scoring.entropy.name(), scoring.pooling.name(), Sha256::digest(words))
}

/// A dialogue without its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// The dissimilarity among them is that of an empty buffer.
    pub scores: Scores,
    /// `(D)`.
    pub embedding: Vec<f32>,
}

/// All that is computed of a dialogue, unrounded, and the state that the entropy was taken of.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The figures that need no buffer.
    pub measured: Measured,
    /// `(D)`.
    pub embedding: Vec<f32>,
    /// `(D)`: the last token's state after the final norm; zeros for a dialogue without tokens.
    pub last: Vec<f32>,
}

impl Reading {
    /// What selection asks of it.
    pub fn features(&self) -> Features {
        Features { scores: self.measured.scores(), embedding: self.embedding.clone() }
    }
}

/// Computes features.
pub struct Scorer<'e> {
    session: Session<'e>,
    engine: Engine<'e>,
    lexicons: Lexicons<'e>,
    scoring: Scoring,
}

impl<'e> Scorer<'e> {
    /// A scorer of the engine's base.
    pub fn new(engine: Engine<'e>, lexicons: Lexicons<'e>, scoring: Scoring) -> Self {
        Self { session: engine.session(None), engine, lexicons, scoring }
    }

    /// The features of `dialogue`: of its contents joined by newlines, without a chat template.
    ///
    /// # Errors
    /// If the model fails.
    pub fn features(&mut self, dialogue: &Dialogue) -> Result<Features, Error> {
        let (measured, embedding, _) = self.measure(dialogue)?;
        Ok(Features { scores: measured.scores(), embedding })
    }

    /// The features of `dialogue` with their exact figures and the last token's state.
    ///
    /// # Errors
    /// If the model fails.
    pub fn read(&mut self, dialogue: &Dialogue) -> Result<Reading, Error> {
        let dim = self.engine.model().config.dim;
        let (measured, embedding, states) = self.measure(dialogue)?;
        let last = states.normed.rchunks(dim).next().map_or_else(|| vec![0.0; dim], <[_]>::to_vec);
        Ok(Reading { measured, embedding, last })
    }

    fn measure(
        &mut self,
        dialogue: &Dialogue,
    ) -> Result<(Measured, Vec<f32>, engine::States<'_>), Error> {
        let text = dialogue.text();
        let mut ids = self.engine.base().tokenizer().encode_text(&text, true)?;
        ids.truncate(MAX_TOKENS.min(self.engine.context()));
        let dim = self.engine.model().config.dim;
        let mut embedding = vec![0.0; dim];
        let none = engine::States { raw: &[], normed: &[] };
        let states = if ids.is_empty() { none } else { self.session.states(&ids)? };
        let both = States { before: states.raw, after: states.normed, dim };
        let measured = self.scoring.measure(&text, &self.lexicons, both, &mut embedding);
        Ok((measured, embedding, states))
    }
}

/// Dissimilarity against all that was remembered, domain by domain.
#[derive(Debug, Default)]
pub struct Earlier {
    domains: Vec<(Domain, Vec<Vec<f32>>)>,
}

impl Earlier {
    /// IDD of `features` against the remembered embeddings of its domain.
    pub fn dissimilarity(&self, features: &Features) -> f32 {
        let mut sum = vec![0.0; features.embedding.len()];
        let mut peers = Peers::new(&mut sum);
        if let Some((_, members)) = self.domains.iter().find(|(d, _)| *d == features.scores.domain)
        {
            members.iter().for_each(|member| peers.add(member));
        }
        peers.dissimilarity(&features.embedding)
    }

    /// Remembers `features`.
    pub fn remember(&mut self, features: Features) {
        match self.domains.iter_mut().find(|(d, _)| *d == features.scores.domain) {
            Some((_, members)) => members.push(features.embedding),
            None => self.domains.push((features.scores.domain, vec![features.embedding])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(domain: u16, embedding: &[f32]) -> Features {
        let scores = Scores { domain: Domain(domain), tokens: 1, ..Scores::default() };
        Features { scores, embedding: embedding.into() }
    }

    #[test]
    fn dissimilarity_is_taken_within_the_domain_alone() {
        let mut earlier = Earlier::default();
        let here = features(1, &[1.0, 0.0]);
        assert_eq!(earlier.dissimilarity(&here), 1.0, "nobody is there");
        earlier.remember(features(2, &[1.0, 0.0]));
        assert_eq!(earlier.dissimilarity(&here), 1.0, "another domain does not count");
        earlier.remember(features(1, &[0.0, 3.0]));
        earlier.remember(features(1, &[2.0, 0.0]));
        assert!((earlier.dissimilarity(&here) - 0.5).abs() < 1e-6);
    }
}
