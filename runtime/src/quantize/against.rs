//! How well a model predicts what another one wrote: what quantising costs.
//!
//! ```text
//! texts        the reference draws at temperature 1 from its start token, to an end token or LENGTH
//! perplexity   exp of the mean -ln p(drawn token | those before), teacher-forced, of either model
//! agreement    share of the positions where both find the same token the likeliest
//! ```

use std::path::PathBuf;

use homespun_core::arena::Arena;
use homespun_core::cache::{KvCache, KvType};
use homespun_core::compute::Compute;
use homespun_core::config::Config;
use homespun_core::model::{self, Model};
use homespun_core::sampler::{Sampler, Sampling};

use crate::checkpoint::{self, Checkpoint, SpecialTokens};
use crate::progress::Progress;

/// Tokens of a text at most.
const LENGTH: usize = 512;
/// Rows of logits that are held at once.
const ROWS: usize = 32;

/// Why a model writes no text.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It has no room for any.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// It fails.
    #[error("{}: {source}", folder.display())]
    Model {
        /// Where it lies.
        folder: PathBuf,
        /// What went wrong in it.
        source: model::Error,
    },
}

/// Tokens that a model wrote, its start token first.
pub type Text = Vec<u32>;

/// Two models on the same texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Predicted tokens.
    pub tokens: usize,
    /// Of the model that wrote them.
    pub reference_perplexity: f64,
    /// Of the other.
    pub perplexity: f64,
    /// Share of the positions with the same likeliest token.
    pub agreement: f64,
}

impl Comparison {
    /// How much larger the perplexity is: 0.01 is 1%.
    pub fn excess(&self) -> f64 {
        self.perplexity / self.reference_perplexity - 1.0
    }
}

/// Texts of `model`, which is that of `checkpoint`, with `tokens` predicted tokens in all, drawn at
/// temperature 1 from `seed`.
///
/// # Errors
/// If the model fails, or its context is too short for a start token and another.
pub fn write(
    checkpoint: &Checkpoint,
    model: &Model,
    compute: Compute,
    tokens: usize,
    seed: u64,
) -> Result<Vec<Text>, WriteError> {
    if model.config.max_context < 2 {
        return Err(WriteError::Checkpoint(checkpoint::Error::Field {
            file: checkpoint.path().join("config.json"),
            field: "max_position_embeddings".to_owned(),
            reason: format!(
                "is {}; a model that writes a text has room for 2 tokens or more",
                model.config.max_context
            ),
        }));
    }
    draw(model, compute, checkpoint.special_tokens(), tokens, seed)
        .map_err(|source| WriteError::Model { folder: checkpoint.path().to_path_buf(), source })
}

/// The same for a model with room for a token after the first.
fn draw(
    model: &Model,
    compute: Compute,
    special: &SpecialTokens,
    tokens: usize,
    seed: u64,
) -> Result<Vec<Text>, model::Error> {
    let config = &model.config;
    let length = LENGTH.min(config.max_context - 1);
    let draw = Sampling { temperature: 1.0, ..Sampling::default() };
    // Temperature 1 is in every range.
    let Ok(mut sampler) = Sampler::try_new(draw, seed) else { return Ok(Vec::new()) };
    let start = special.bos.or(special.eos.first().copied()).unwrap_or(0);
    let mut memory = vec![0; KvCache::words(config, KvType::F32, length + 1)];
    let mut arena = vec![0; bytes(config, 1)];
    let [mut state, mut normed] = [vec![0.0; config.dim], vec![0.0; config.dim]];
    let (mut logits, mut order) = (vec![0.0; config.vocab], vec![0; config.vocab]);
    let mut progress = Progress::new("write", tokens);
    let (mut texts, mut left) = (Vec::new(), tokens);
    while left > 0 {
        let mut cache = KvCache::new(config, KvType::F32, &mut memory)?;
        let mut text = vec![start];
        while text.len() <= length.min(left) {
            let last = &text[text.len() - 1..];
            let arena = &mut Arena::new(&mut arena);
            model.forward(compute, None, last, &mut cache, arena, &mut state)?;
            model.final_norm(compute, &state, &mut normed)?;
            model.logits(compute, &normed, arena, &mut logits)?;
            let token = sampler.sample(&mut logits, &text, &mut order);
            text.push(token);
            progress.advance(1, 1);
            if special.eos.contains(&token) {
                break;
            }
        }
        left -= text.len() - 1;
        texts.push(text);
    }
    Ok(texts)
}

/// The arena for `tokens` at once.
fn bytes(config: &Config, tokens: usize) -> usize {
    model::inference_bytes(config, None, tokens).max(model::logits_bytes(config, tokens))
}

/// What a model finds of a text: `-ln p` of each token after the first, and the likeliest token.
fn read(model: &Model, compute: Compute, text: &[u32]) -> Result<Vec<(f64, u32)>, model::Error> {
    let config = &model.config;
    let (tokens, next) = (&text[..text.len() - 1], &text[1..]);
    let mut memory = vec![0; KvCache::words(config, KvType::F32, tokens.len())];
    let mut cache = KvCache::new(config, KvType::F32, &mut memory)?;
    let mut arena = vec![0; bytes(config, tokens.len())];
    let mut states = vec![0.0; tokens.len() * config.dim];
    let arena = &mut Arena::new(&mut arena);
    model.forward(compute, None, tokens, &mut cache, arena, &mut states)?;
    let mut normed = vec![0.0; states.len()];
    model.final_norm(compute, &states, &mut normed)?;
    let mut found = Vec::with_capacity(next.len());
    for (normed, next) in normed.chunks(ROWS * config.dim).zip(next.chunks(ROWS)) {
        let mut logits = vec![0.0; next.len() * config.vocab];
        model.logits(compute, normed, arena, &mut logits)?;
        let rows = logits.chunks_exact(config.vocab);
        found.extend(rows.zip(next).map(|(row, &token)| surprise(row, token)));
    }
    Ok(found)
}

/// `-ln softmax(logits)[token]` and the first of the largest logits.
fn surprise(logits: &[f32], token: u32) -> (f64, u32) {
    let first = (0, f32::NEG_INFINITY);
    let (best, most) = logits
        .iter()
        .enumerate()
        .fold(first, |best, (i, &logit)| if logit > best.1 { (i, logit) } else { best });
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    (sum.ln() - f64::from(logits[token as usize] - most), best as u32)
}

/// Both models on `texts`, each as its [`Compute`] says.
///
/// # Errors
/// If a model fails or has no such token.
pub fn compare(
    (reference, theirs): (&Model, Compute),
    (model, ours): (&Model, Compute),
    texts: &[Text],
) -> Result<Comparison, model::Error> {
    let mut progress = Progress::new("compare", texts.len());
    let (mut tokens, mut same, mut sums) = (0, 0, [0.0; 2]);
    for text in texts.iter().filter(|text| text.len() > 1) {
        let found = read(reference, theirs, text)?.into_iter().zip(read(model, ours, text)?);
        for (a, b) in found {
            tokens += 1;
            same += usize::from(a.1 == b.1);
            sums = [sums[0] + a.0, sums[1] + b.0];
        }
        progress.advance(1, text.len());
    }
    let perplexity = |sum: f64| (sum / tokens.max(1) as f64).exp();
    Ok(Comparison {
        tokens,
        reference_perplexity: perplexity(sums[0]),
        perplexity: perplexity(sums[1]),
        agreement: same as f64 / tokens.max(1) as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surprise_of_a_token_is_its_negative_log_probability() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        let total: f64 = logits.iter().map(|&l: &f32| f64::from(l).exp()).sum();
        for (token, &logit) in logits.iter().enumerate() {
            let (found, best) = surprise(&logits, token as u32);
            let expected = total.ln() - f64::from(logit);
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            assert_eq!(best, 1, "the first of the largest");
        }
    }
}
