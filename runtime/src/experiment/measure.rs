//! What is measured of a model after a round: how good its replies are, and how they are made.
//!
//! ```text
//! rouge1               mean ROUGE-1 F1 of the replies to held-out dialogues
//! loss, general_loss   cross-entropy of the reference replies, nats a token; of general dialogues
//! reply_words          mean words of a reply: a gain may only be longer replies
//! distinct2            different pairs of words over all pairs (Li et al. 2016, arXiv 1510.03055)
//! most_frequent_reply  share of the reply that is given most often: stock replies
//! ```

use std::collections::{HashMap, HashSet};

use homespun_core::{rouge, sampler};

use super::Error;
use crate::adapter::Adapter;
use crate::dialogue::Dialogue;
use crate::engine::{Engine, Sampling};
use crate::personalize::evaluate::{Reply, evaluate_while};
use crate::tune::Example;
use crate::tune::pace::Stop;

/// How replies are written and judged.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// The dialogues.
    pub held_out: &'a [Dialogue],
    /// General dialogues, or none.
    pub general: &'a [Example],
    /// Tokens of a reply, at most.
    pub reply_tokens: usize,
    /// Tokens of a prompt, at most.
    pub max_length: usize,
    /// Of the draws.
    pub seed: u64,
    /// Ends the work early.
    pub stop: &'a Stop,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// See the module.
    pub rouge1: f64,
    /// See the module.
    pub loss: f64,
    /// See the module; nothing where there are no general dialogues.
    pub general_loss: Option<f64>,
    /// See the module.
    pub reply_words: f64,
    /// See the module.
    pub distinct2: f64,
    /// See the module.
    pub most_frequent_reply: f64,
    /// One a dialogue.
    pub replies: Vec<Reply>,
}

impl Judge<'_> {
    /// Measures the model with `adapter` at `temperature`.
    ///
    /// # Errors
    /// If the model fails, or it was told to stop.
    pub fn measure(
        &self,
        engine: &Engine,
        adapter: Option<&Adapter>,
        temperature: f64,
    ) -> Result<Measured, Error> {
        let draw = sampler::Sampling { temperature: temperature as f32, ..Default::default() };
        let sampling = Sampling { max_tokens: self.reply_tokens, draw, seed: self.seed };
        let mut go_on = |_| self.stop.cause().is_none();
        let judged =
            evaluate_while(engine, adapter, self.held_out, &sampling, self.max_length, &mut go_on)?;
        let Some((evaluation, replies)) = judged else { return Err(self.stopped()) };
        let general_loss = match self.general {
            [] => None,
            general => {
                let (nll, tokens) = engine.loss(adapter, general)?;
                Some(nll / tokens.max(1) as f64)
            }
        };
        let words: usize = replies.iter().map(|reply| rouge::words(&reply.text).count()).sum();
        let texts = || replies.iter().map(|reply| reply.text.as_str());
        Ok(Measured {
            rouge1: evaluation.rouge1,
            loss: evaluation.loss,
            general_loss,
            reply_words: words as f64 / replies.len() as f64,
            distinct2: distinct2(texts()),
            most_frequent_reply: most_frequent(texts()),
            replies,
        })
    }

    fn stopped(&self) -> Error {
        Error::Stopped(self.stop.cause().unwrap_or(crate::tune::pace::Cause::Deadline))
    }
}

/// Different pairs of neighbouring words over all of them; 0 where there is no pair.
pub fn distinct2<'a>(texts: impl Iterator<Item = &'a str>) -> f64 {
    let (mut pairs, mut all) = (HashSet::new(), 0usize);
    for text in texts {
        let words: Vec<String> = rouge::words(text).map(str::to_lowercase).collect();
        for pair in words.windows(2) {
            pairs.insert([pair[0].clone(), pair[1].clone()]);
            all += 1;
        }
    }
    pairs.len() as f64 / all.max(1) as f64
}

/// The share of the text that comes most often; 0 where there is none.
pub fn most_frequent<'a>(texts: impl Iterator<Item = &'a str>) -> f64 {
    let mut times: HashMap<&str, usize> = HashMap::new();
    let mut all = 0usize;
    for text in texts {
        *times.entry(text).or_default() += 1;
        all += 1;
    }
    times.values().max().copied().unwrap_or(0) as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_replies_show() {
        let stock = ["I am sorry.", "I am sorry.", "I am sorry.", "Tea, please, I am"];
        // i-am, am-sorry, tea-please, please-i: 4 of 9.
        assert!((distinct2(stock.into_iter()) - 4.0 / 9.0).abs() < 1e-12);
        assert_eq!(most_frequent(stock.into_iter()), 0.75);
        assert_eq!((distinct2([].into_iter()), most_frequent([].into_iter())), (0.0, 0.0));
        assert_eq!(distinct2(["one", ""].into_iter()), 0.0);
    }
}
