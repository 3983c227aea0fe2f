//! Sees that an image says of dialogues and texts what the model's own files say.

use super::{Error, samples};
use crate::chat::Loss;
use crate::dialogue::Message;
use crate::engine::Base;
use crate::image::Image;
use crate::image::bpe::Tokens;
use crate::image::template::Page;
use crate::samples::Message as Lent;

/// Compares the image with its model on all samples, and gives their number.
pub(super) fn prove(base: &Base, image: &Image<'_>) -> Result<usize, Error> {
    let mut proved = 0;
    for messages in samples::dialogues() {
        for prompt in [false, true] {
            proved += usize::from(dialogue(base, image, &messages, prompt)?);
        }
        for message in &messages {
            text(base, image, &message.content)?;
            proved += 1;
        }
    }
    Ok(proved)
}

fn differs(base: &Base, what: &'static str, text: &str) -> Error {
    Error::Differs { model: base.name().to_owned(), what, text: text.to_owned() }
}

/// Whether the model's template takes the dialogue; the image must do so, too.
///
/// # Errors
/// If ids or targets differ.
pub(super) fn dialogue(
    base: &Base,
    image: &Image<'_>,
    messages: &[Message],
    prompt: bool,
) -> Result<bool, Error> {
    let Ok(expected) = base.chat().render(messages, prompt) else { return Ok(false) };
    let lent: Vec<Lent<'_>> =
        messages.iter().map(|m| Lent { role: m.role.as_str(), content: &m.content }).collect();
    let room = 2 * expected.text.len() + 64;
    let (mut text, mut words) = (vec![0; room], vec![0; Tokens::words(room)]);
    let mut targets = vec![false; room];
    let tokens = Tokens::new(&mut words);
    let mut page = Page { text: &mut text, tokens, targets: &mut targets };
    let rendered = image.render(&lent, prompt, &mut page);
    if rendered.is_err() || page.tokens.ids() != expected.ids {
        return Err(differs(base, "the tokens", &expected.text));
    }
    let targets = &page.targets[..page.tokens.len()];
    let learned = !prompt && keeps_all(base, messages)?;
    if learned && targets != expected.targets(Loss::Response) {
        return Err(differs(base, "what is learned", &expected.text));
    }
    Ok(true)
}

/// Whether the tokenizer can spell every character. Where it drops some, the tokenizers crate counts
/// the places of those behind them wrongly, and so does what is learned by them.
fn keeps_all(base: &Base, messages: &[Message]) -> Result<bool, Error> {
    let tokenizer = base.tokenizer();
    for message in messages {
        let ids =
            tokenizer.encode_text(&message.content, false).map_err(crate::chat::Error::from)?;
        let decoded = tokenizer.decode(&ids).map_err(crate::chat::Error::from)?;
        if decoded != message.content {
            return Ok(false);
        }
    }
    Ok(true)
}

/// That a text has the same ids, and these the same text.
///
/// # Errors
/// If they differ.
pub(super) fn text(base: &Base, image: &Image<'_>, text: &str) -> Result<(), Error> {
    let expected = base.tokenizer().encode_text(text, true).map_err(crate::chat::Error::from)?;
    let bpe = image.tokenizer();
    let mut words = vec![0; Tokens::words(2 * text.len() + 64)];
    let mut tokens = Tokens::new(&mut words);
    if bpe.encode_whole(text, &mut tokens).is_err() || tokens.ids() != expected {
        return Err(differs(base, "the tokens", text));
    }
    let mut decoded = String::new();
    let _ = bpe.decode(&expected, &mut decoded);
    let shown = base.tokenizer().decode(&expected).map_err(crate::chat::Error::from)?;
    if decoded == shown { Ok(()) } else { Err(differs(base, "the text of the tokens", text)) }
}
