//! How well a model answers held-out dialogues: ROUGE-1 of its replies, and the loss of the
//! reference replies.

use homespun_core::rng::hash;
use homespun_core::rouge;

use crate::adapter::Adapter;
use crate::chat::Loss;
use crate::dialogue::Dialogue;
use crate::engine::{Engine, Error, Sampling};
use crate::progress::Progress;
use crate::tune;

/// Mean figures over dialogues.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// ROUGE-1 F1 of generated against reference replies.
    pub rouge1: f64,
    /// Cross-entropy of the reference replies, mean over their tokens, in nats.
    pub loss: f64,
    /// Dialogues that have a reply to compare with; the others are left out.
    pub dialogues: usize,
}

/// ROUGE-1 F1 of `candidate` against `reference`, in time words x log words.
pub fn rouge1(reference: &str, candidate: &str) -> f64 {
    let words = rouge::words(reference).count() + rouge::words(candidate).count();
    rouge::rouge1_in(reference, candidate, &mut vec![""; words]).f1
}

/// Evaluates `dialogues`, and gives the replies with the figures; dialogue `i` draws with a seed made of `sampling.seed` and `i`.
///
/// # Errors
/// If no dialogue has a reply, or the model fails.
pub fn evaluate(
    engine: &Engine,
    adapter: Option<&Adapter>,
    dialogues: &[Dialogue],
    sampling: &Sampling,
    max_length: usize,
    progress: &mut Progress,
) -> Result<(Evaluation, Vec<String>), Error> {
    let targets: Vec<Dialogue> = dialogues
        .iter()
        .filter(|d| d.target_response().is_some())
        .filter(|d| match engine.base().prompt(d.question(), max_length) {
            Err(error) => {
                progress.say(&format!("a dialogue is left out: {error}"));
                false
            }
            Ok(_) => true,
        })
        .cloned()
        .collect();
    let judged = evaluate_while(engine, adapter, &targets, sampling, max_length, &mut |tokens| {
        progress.advance(1, tokens);
        true
    })?;
    let (evaluation, replies) = judged.unwrap_or_default();
    Ok((evaluation, replies.into_iter().map(|reply| reply.text).collect()))
}

/// A reply and how well it is the wanted one.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// What the model wrote.
    pub text: String,
    /// Its ROUGE-1 F1.
    pub rouge1: f64,
}

/// Evaluates `targets`, each of which has a reply and a prompt, as [`evaluate`]; `go_on` hears the
/// tokens of each and ends the work with false, for which `None` is given.
///
/// # Errors
/// If there is no target, or the model fails.
pub fn evaluate_while(
    engine: &Engine,
    adapter: Option<&Adapter>,
    targets: &[Dialogue],
    sampling: &Sampling,
    max_length: usize,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<(Evaluation, Vec<Reply>)>, Error> {
    if targets.is_empty() {
        return Err(Error::NothingToEvaluate);
    }
    let mut session = engine.session(adapter);
    let mut replies: Vec<Reply> = Vec::with_capacity(targets.len());
    for (i, dialogue) in targets.iter().enumerate() {
        let sampling = Sampling { seed: hash(&[sampling.seed, i as u64]), ..*sampling };
        let (text, tokens) = session.reply(dialogue.question(), &sampling, max_length)?;
        let rouge1 = rouge1(dialogue.target_response().unwrap_or_default(), &text);
        replies.push(Reply { text, rouge1 });
        if !go_on(tokens) {
            return Ok(None);
        }
    }
    let examples = tune::prepare(engine.base(), targets, Loss::Response, max_length, |_| {})?;
    let (nll, tokens) = engine.loss(adapter, &examples)?;
    let evaluation = Evaluation {
        rouge1: replies.iter().map(|reply| reply.rouge1).sum::<f64>() / targets.len() as f64,
        loss: nll / tokens.max(1) as f64,
        dialogues: targets.len(),
    };
    Ok(Some((evaluation, replies)))
}
