//! A chat template as what stands around each message, and the dialogues that it makes.
//!
//! ```text
//! first message   lead[role]    content  suffix[role]
//! those after it  prefix[role]  content  suffix[role]  ...
//! for a reply                                            generation
//! piece           a control token, or text that is encoded together with what stands beside it
//! ```
//! `homespun pack` takes these from a template and proves on dialogues that they say the same.

use serde::{Deserialize, Serialize};

use super::Image;
use super::bpe::{Full, Tokens};
use crate::samples::Message;

/// The pieces of a template; what they borrow lies in the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template<'a> {
    /// Whether contents lose the spaces around them.
    pub trim: bool,
    /// Before the content of the first message, by its role; `None`: the template refuses it.
    #[serde(borrow)]
    pub lead: [Option<&'a [u8]>; 3],
    /// Before the content of a later message.
    #[serde(borrow)]
    pub prefix: [Option<&'a [u8]>; 3],
    /// Behind a content.
    #[serde(borrow)]
    pub suffix: [Option<&'a [u8]>; 3],
    /// Before a reply.
    #[serde(borrow)]
    pub generation: &'a [u8],
}

/// A part of what stands around a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece<'a> {
    /// A control token.
    Token(u32),
    /// Text.
    Text(&'a str),
}

/// The place of a role in [`Template`]'s arrays.
pub fn role_index(role: &str) -> Option<usize> {
    ["system", "user", "assistant"].iter().position(|one| *one == role)
}

/// Why a dialogue cannot be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It has no message.
    NoMessages,
    /// The template knows no such role, or not there.
    Role {
        /// The message's place.
        message: usize,
    },
    /// Text between two control tokens is longer than there is room for.
    Text {
        /// Bytes that there is room for.
        capacity: usize,
    },
    /// There are more tokens than there is room for.
    Tokens(Full),
}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        Error::Tokens(full)
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::NoMessages => f.write_str("a dialogue without a message"),
            Error::Role { message } => {
                write!(f, "message {message}: the chat template has no such role there")
            }
            Error::Text { capacity } => write!(f, "there is room for {capacity} bytes of text"),
            Error::Tokens(full) => full.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

/// Memory that a dialogue is rendered in.
#[derive(Debug)]
pub struct Page<'m> {
    /// Text between two control tokens.
    pub text: &'m mut [u8],
    /// The tokens.
    pub tokens: Tokens<'m>,
    /// For each token whether it is learned; as many as tokens.
    pub targets: &'m mut [bool],
}

/// A dialogue in the making.
struct Writer<'p, 'm, 'a> {
    bpe: super::bpe::Bpe<'a>,
    page: &'p mut Page<'m>,
    /// Bytes of text that are not encoded yet.
    held: usize,
    /// Whether nothing was encoded yet, not even text without a token.
    first: bool,
    /// Where in the held text the content that is learned lies.
    learned: Option<(usize, usize)>,
    /// The tokens of the content that is learned.
    content: Option<(usize, usize)>,
}

impl<'a> Image<'a> {
    /// The tokens of a dialogue and which of them are learned: the last message, where it is the
    /// assistant's, and what ends it. With `prompt` up to where a reply begins.
    ///
    /// # Errors
    /// If the template refuses it or there is no room.
    pub fn render(
        &self,
        messages: &[Message<'_>],
        prompt: bool,
        page: &mut Page<'_>,
    ) -> Result<(), Error> {
        let bpe = self.tokenizer();
        page.tokens.truncate(0);
        let template = self.template();
        let mut writer = Writer { bpe, page, held: 0, first: true, learned: None, content: None };
        let last = messages.len().checked_sub(1).ok_or(Error::NoMessages)?;
        for (i, message) in messages.iter().enumerate() {
            let refused = Error::Role { message: i };
            let role = role_index(message.role).ok_or(refused)?;
            let before = if i == 0 { template.lead[role] } else { template.prefix[role] };
            let (before, after) = before.zip(template.suffix[role]).ok_or(refused)?;
            writer.pieces(before)?;
            let content = match template.trim {
                true => message.content.trim(),
                false => message.content,
            };
            let from = writer.held;
            writer.text(content)?;
            if i == last && message.role == "assistant" && !content.is_empty() && !prompt {
                writer.learned = Some((from, writer.held));
            }
            writer.pieces(after)?;
        }
        if prompt {
            writer.pieces(template.generation)?;
        }
        writer.flush()?;
        let content = writer.content;
        self.mark(content, page);
        Ok(())
    }

    /// Marks the learned content and what ends it, as `chat::targets` does.
    fn mark(&self, content: Option<(usize, usize)>, page: &mut Page<'_>) {
        let Page { tokens, targets, .. } = page;
        let targets = &mut targets[..tokens.len()];
        targets.fill(false);
        let Some((from, end)) = content else { return };
        let bpe = self.tokenizer();
        targets[from..end].fill(true);
        let ids = tokens.ids();
        let is_end = |id: u32| bpe.is_control(id) && Some(id) != self.header().bos;
        let spaces = |id: u32| {
            core::str::from_utf8(bpe.token(id))
                .is_ok_and(|text| text.chars().all(|c| c.is_whitespace() || c == '\u{2581}'))
        };
        let last = (end..ids.len()).find(|&i| is_end(ids[i]) || !spaces(ids[i]));
        if let Some(last) = last
            && is_end(ids[last])
            && (last == end || self.is_eos(ids[last]))
        {
            targets[end..=last].fill(true);
        }
        if let Some(first) = targets.first_mut() {
            *first = false;
        }
    }
}

impl Writer<'_, '_, '_> {
    fn pieces(&mut self, mut rest: &[u8]) -> Result<(), Error> {
        while let Ok((piece, after)) = postcard::take_from_bytes::<Piece<'_>>(rest) {
            rest = after;
            match piece {
                Piece::Text(text) => self.text(text)?,
                Piece::Token(id) => {
                    self.flush()?;
                    self.page.tokens.push(id, 0)?;
                    self.first = false;
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        let capacity = self.page.text.len();
        let Some(room) = self.page.text.get_mut(self.held..self.held + text.len()) else {
            return Err(Error::Text { capacity });
        };
        room.copy_from_slice(text.as_bytes());
        self.held += text.len();
        Ok(())
    }

    /// Encodes the text that is held.
    fn flush(&mut self) -> Result<(), Error> {
        let held = core::mem::take(&mut self.held);
        if held == 0 {
            return Ok(());
        }
        let begin = self.page.tokens.len();
        let text = core::str::from_utf8(&self.page.text[..held]).unwrap_or_default();
        self.bpe.encode(text, self.first, &mut self.page.tokens)?;
        self.first = false;
        let Some((from, to)) = self.learned.take() else { return Ok(()) };
        // A token touches the content if it ends behind its begin and begins before its end.
        let ends = &self.page.tokens.ends()[begin..];
        let first = ends.partition_point(|&end| end as usize <= from);
        let behind = ends.partition_point(|&end| (end as usize) < to);
        // The tokens of a character's bytes all end where it does.
        let last = ends.get(behind).map_or(behind, |end| ends.partition_point(|e| e <= end));
        self.content = Some((begin + first, begin + last));
        Ok(())
    }
}
