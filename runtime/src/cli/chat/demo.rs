//! `homespun chat --demo`: a visitor talks with the built-in model, corrects it, and leaves nothing behind.

use std::path::PathBuf;

use clap::Arg;
use clap::builder::ArgPredicate;

use crate::builtin;
use crate::cli::temporary::Temporary;

/// What options are unless they are told: a correction or two show after one `/learn`.
const PRESETS: [(&str, &str); 6] = [
    ("model", "builtin"),
    ("lr", "2e-3"),
    ("epochs", "40"),
    ("batch", "4"),
    ("bins", "32"),
    ("max_tokens", "60"),
];

/// An option of the chat, with what it is in a demo.
pub(super) fn preset(arg: Arg) -> Arg {
    if arg.get_id() == "unguarded" {
        // So small a model cannot learn a reply and keep all others; who names those is heeded.
        let unless = ("general", ArgPredicate::IsPresent, Some("false"));
        return arg.default_value_ifs([unless, ("demo", ArgPredicate::IsPresent, Some("true"))]);
    }
    let preset = PRESETS.iter().find(|(name, _)| arg.get_id() == name);
    match preset {
        Some((_, value)) => arg.default_value_if("demo", ArgPredicate::IsPresent, *value),
        None => arg,
    }
}

/// A visit: the folder of what is said and learned, gone with it.
pub(super) struct Visit(Temporary);

impl Visit {
    /// Welcomes the visitor on standard error.
    pub(super) fn open() -> Result<Self, String> {
        let visit = Self(Temporary::new()?);
        let builtin::Examples { domains, questions } = builtin::examples();
        let ask = |question: Option<&String>| question.map_or("", String::as_str).to_owned();
        eprintln!(
            "A small model that is built in. It knows a little about {}. Ask it: \"{}\" or \"{}\"\n\
             Then say what you would rather hear: /better TEXT corrects the last reply, /good accepts \
             it, /learn learns from what you said, then ask again. Each question is a dialogue of its \
             own, as after /new; /exit ends and forgets all.",
            domains.join(", "),
            ask(questions.first()),
            ask(questions.last()),
        );
        Ok(visit)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.0.path().join("key")
    }
}
