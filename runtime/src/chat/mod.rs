//! Messages to the tokens that a chat model was trained on, and which of them are targets.
//!
//! ```text
//! messages -> template -> text          "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
//!          -> spans    -> contents                        ^^                                   ^^
//!          -> encode   -> ids, spans    control tokens only where the template wrote them
//!          -> targets  -> loss mask                                                            ^^^^^^^^^^^^
//! ```

mod clock;
mod json;
mod source;
mod spans;
mod targets;
mod template;
mod truncate;

pub use targets::Loss;
pub use template::{FALLBACK, Template};

use core::ops::Range;
use std::path::{Path, PathBuf};

use crate::dialogue::{Message, Role};
use crate::tokenizer::{self, Tokenizer};

/// Why a dialogue cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tokenizer's part.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// The template is no template, or refuses the dialogue.
    #[error("{}: {problem}", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// The engine's word, with the line.
        problem: String,
    },
    /// There is nothing to render.
    #[error("messages: is empty")]
    NoMessages,
    /// The dialogue does not fit, whatever is left out.
    #[error("the template alone takes {needed} tokens, more than the {limit} allowed")]
    TooLong {
        /// Tokens of the template around an empty question.
        needed: usize,
        /// The limit that was asked for.
        limit: usize,
    },
}

/// A tokenizer and the template that goes with it.
#[derive(Debug)]
pub struct Chat {
    tokenizer: Tokenizer,
    template: Template,
}

/// A rendered dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text that the template made.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The bytes of `text` that each token covers.
    pub spans: Vec<Range<usize>>,
    /// Of each rendered message its role and the bytes of `text` where its content stands
    /// (`None`: the template does not show it).
    pub contents: Vec<(Role, Option<Range<usize>>)>,
    /// Leading messages that were left out to fit.
    pub dropped: usize,
    /// Tokens that were cut from the question, and if need be from the reply, to fit.
    pub cut: usize,
    /// Places in `ids` of tokens that end a turn: control tokens other than BOS.
    ends: Vec<bool>,
    /// Places in `ids` of tokens that end a reply.
    eos: Vec<bool>,
}

impl Chat {
    /// Loads the tokenizer of a model's folder and its template: `template` where given, else
    /// `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`, else [`FALLBACK`].
    ///
    /// # Errors
    /// A file is missing, unreadable or invalid; the message names it.
    pub fn load(dir: &Path, template: Option<&Path>) -> Result<Self, Error> {
        let tokenizer = Tokenizer::load(dir)?;
        let template = Template::load(dir, template, &tokenizer)?;
        Ok(Self { tokenizer, template })
    }

    /// A chat of parts that are already there.
    pub fn new(tokenizer: Tokenizer, template: Template) -> Self {
        Self { tokenizer, template }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// What a user should know once: that the model has no template of its own.
    pub fn notice(&self) -> Option<String> {
        self.template.is_fallback().then(|| {
            format!(
                "{}: no chat template; dialogues are written as `User: ...` and `Assistant: ...` \
                 (--template FILE gives another)",
                self.tokenizer.path().parent().unwrap_or(Path::new(".")).display()
            )
        })
    }

    /// Renders `messages`; with `prompt` up to where the assistant's reply begins.
    ///
    /// The ids are those of transformers' `apply_chat_template`, save that text of a message never
    /// becomes a control token.
    ///
    /// # Errors
    /// No messages, or the template or the tokenizer fails on them.
    pub fn render(&self, messages: &[Message], prompt: bool) -> Result<Rendered, Error> {
        if messages.is_empty() {
            return Err(Error::NoMessages);
        }
        let text = self.template.render(messages, prompt)?;
        let places = spans::locate(&self.template, messages, prompt, &text);
        let mut content: Vec<Range<usize>> = places.iter().flatten().cloned().collect();
        content.sort_by_key(|range| (range.start, range.end));
        content.dedup_by(|next, last| {
            let joined = next.start < last.end;
            if joined {
                last.end = last.end.max(next.end);
            }
            joined
        });
        let literal = self.template.is_fallback();
        let encoded = self.tokenizer.encode_chat(&text, &content, literal)?;
        let bos = self.tokenizer.bos();
        let end = |&id: &u32| self.tokenizer.is_control(id) && Some(id) != bos;
        Ok(Rendered {
            ends: encoded.ids.iter().map(end).collect(),
            eos: encoded.ids.iter().map(|&id| self.tokenizer.is_eos(id)).collect(),
            ids: encoded.ids,
            spans: encoded.spans,
            contents: messages.iter().map(|m| m.role).zip(places).collect(),
            text,
            dropped: 0,
            cut: 0,
        })
    }
}

#[cfg(test)]
mod tests;
