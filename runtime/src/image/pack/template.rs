//! What a chat template puts around messages, found by rendering marked ones.
//!
//! ```text
//! render [user (M)]              lead[user] M suffix[user]
//! render [system (M), user (M)]  lead[system] M suffix[system] prefix[user] M suffix[user]
//! the same, for a reply          ... suffix[user] generation
//! ```
//! Whether that is all that the template does, [`super::proof`] sees.

use super::{Error, encoded};
use crate::chat::Chat;
use crate::dialogue::{Message, Role};
use crate::engine::Base;
use crate::image::template::{Piece, Template};

/// Stands for a content: characters of a private plane.
const MARK: &str = "\u{f0000}something\u{f0001}";
const ROLES: [Role; 3] = [Role::System, Role::User, Role::Assistant];

/// [`Template`], owned.
pub(super) struct Pieces {
    trim: bool,
    lead: [Option<Vec<u8>>; 3],
    prefix: [Option<Vec<u8>>; 3],
    suffix: [Option<Vec<u8>>; 3],
    generation: Vec<u8>,
}

/// The texts before the pieces are made.
#[derive(Default)]
struct Texts {
    lead: [Option<String>; 3],
    prefix: [Option<String>; 3],
    suffix: [Option<String>; 3],
    generation: Option<String>,
}

impl Pieces {
    /// Those of a model's template.
    pub fn of(base: &Base) -> Result<Self, Error> {
        let fail = |reason: String| Error::Template { model: base.name().to_owned(), reason };
        let chat = base.chat();
        let texts = Texts::of(chat).map_err(fail)?;
        let pieces = |text: Option<String>| {
            text.map(|text| pieces(chat, &text)).transpose().map_err(Error::from)
        };
        let each = |texts: [Option<String>; 3]| -> Result<[Option<Vec<u8>>; 3], Error> {
            let [system, user, assistant] = texts;
            Ok([pieces(system)?, pieces(user)?, pieces(assistant)?])
        };
        Ok(Pieces {
            trim: trims(chat).map_err(fail)?,
            lead: each(texts.lead)?,
            prefix: each(texts.prefix)?,
            suffix: each(texts.suffix)?,
            generation: pieces(texts.generation)?.unwrap_or_default(),
        })
    }

    pub fn borrow(&self) -> Template<'_> {
        let [lead, prefix, suffix] = [&self.lead, &self.prefix, &self.suffix]
            .map(|pieces| [pieces[0].as_deref(), pieces[1].as_deref(), pieces[2].as_deref()]);
        Template { trim: self.trim, lead, prefix, suffix, generation: &self.generation }
    }
}

/// The text between the marks of rendered messages of `roles`; `None` if the template refuses them.
fn around(chat: &Chat, roles: &[Role], prompt: bool) -> Option<Vec<String>> {
    let messages: Vec<Message> = roles.iter().map(|&role| Message::new(role, MARK)).collect();
    let text = chat.template().render(&messages, prompt).ok()?;
    Some(text.split(MARK).map(str::to_owned).collect())
}

/// Keeps `new`, or says where it differs from what was found before.
fn keep(slot: &mut Option<String>, new: &str, what: &str) -> Result<(), String> {
    match slot {
        Some(old) if old != new => {
            Err(format!("puts {old:?} and {new:?} {what}: it looks at more than the role"))
        }
        _ => {
            *slot = Some(new.to_owned());
            Ok(())
        }
    }
}

impl Texts {
    fn of(chat: &Chat) -> Result<Self, String> {
        let mut texts = Texts::default();
        for (i, role) in ROLES.into_iter().enumerate() {
            let Some(parts) = around(chat, &[role], false) else { continue };
            let [lead, suffix] = &parts[..] else {
                return Err(format!(
                    "shows the content of {} more or less than once",
                    role.as_str()
                ));
            };
            texts.lead[i] = Some(lead.clone());
            texts.suffix[i] = Some(suffix.clone());
        }
        for (i, first) in ROLES.into_iter().enumerate() {
            for (j, second) in ROLES.into_iter().enumerate() {
                let Some(parts) = around(chat, &[first, second], false) else { continue };
                let [lead, between, suffix] = &parts[..] else {
                    return Err("shows a content more or less than once".into());
                };
                keep(&mut texts.lead[i], lead, "before the first message")?;
                keep(&mut texts.suffix[j], suffix, "behind the last message")?;
                // One that cannot stand alone ends as where it comes second.
                let Some(ended) = &texts.suffix[i] else { continue };
                let Some(prefix) = between.strip_prefix(&**ended) else {
                    return Err("ends a message by what follows it".into());
                };
                keep(&mut texts.prefix[j], prefix, "before a message")?;
            }
        }
        let turns = [&[Role::User][..], &[Role::System, Role::User]];
        for roles in turns {
            let Some(parts) = around(chat, roles, true) else { continue };
            let (Some(end), Some(suffix)) = (parts.last(), &texts.suffix[1]) else { continue };
            let Some(generation) = end.strip_prefix(&**suffix) else {
                return Err("ends a message by whether a reply follows".into());
            };
            keep(&mut texts.generation, generation, "before a reply")?;
        }
        if texts.generation.is_none() {
            return Err("renders no question of a user".into());
        }
        Ok(texts)
    }
}

/// Whether contents lose the spaces around them.
fn trims(chat: &Chat) -> Result<bool, String> {
    let spaced = format!("\n {MARK} \n");
    let rendered = chat.template().render(&[Message::new(Role::User, &*spaced)], false);
    let text = rendered.map_err(|error| error.to_string())?;
    Ok(!text.contains(&spaced))
}

/// Text as control tokens and what stands between them.
fn pieces(chat: &Chat, text: &str) -> Result<Vec<u8>, crate::chat::Error> {
    let tokenizer = chat.tokenizer();
    let encoded_text = tokenizer.encode_chat(text, &[], chat.template().is_fallback())?;
    let mut pieces = Vec::new();
    let mut from = 0;
    let plain = |pieces: &mut Vec<u8>, from: usize, to: usize| {
        if from < to {
            pieces.extend(encoded(&Piece::Text(&text[from..to])));
        }
    };
    for (&id, span) in encoded_text.ids.iter().zip(&encoded_text.spans) {
        if tokenizer.is_control(id) {
            plain(&mut pieces, from, span.start);
            pieces.extend(encoded(&Piece::Token(id)));
            from = span.end;
        }
    }
    plain(&mut pieces, from, text.len());
    Ok(pieces)
}
