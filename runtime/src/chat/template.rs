//! A chat template, rendered as transformers' `apply_chat_template` renders it.
//!
//! Jinja with `trim_blocks`, `lstrip_blocks` and loop controls; Python's string and map methods;
//! `raise_exception`, `strftime_now`, `tojson` without HTML escapes; `{% generation %}` blocks are
//! passed through. A loop without end runs out of fuel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, context};

use super::{Error, clock, json, source};
use crate::dialogue::Message;
use crate::tokenizer::{Tokenizer, read_capped};

/// The longest template that is read, in bytes.
const MAX_FILE: usize = 1 << 20;

/// Instructions of the engine that one rendering may take.
const FUEL: u64 = 5_000_000;

/// The template of a model that brings none. `bos` is empty where the tokenizer adds none.
pub const FALLBACK: &str = "\
{{ bos }}{% for m in messages %}{% if m.role == 'user' %}{{ 'User: ' + m.content + '\\n' }}\
{% elif m.role == 'assistant' %}{{ 'Assistant: ' + m.content + eos + '\\n' }}\
{% else %}{{ m.content + '\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

/// A compiled template and what it sees besides the messages.
#[derive(Debug)]
pub struct Template {
    engine: Environment<'static>,
    source: String,
    path: PathBuf,
    fallback: bool,
    /// `bos_token`, `eos_token` and so on.
    tokens: Vec<(String, String)>,
}

fn failed(error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("the template takes too long{line}"),
        (_, Some(detail)) => format!("{detail}{line}"),
        (kind, None) => format!("{kind}{line}"),
    }
}

fn engine() -> Result<Environment<'static>, minijinja::Error> {
    let mut engine = Environment::new();
    engine.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    engine.set_fuel(Some(FUEL));
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    engine.add_filter("tojson", json::tojson);
    engine.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    engine.add_function("strftime_now", |format: String| clock::format_now(&format));
    Ok(engine)
}

impl Template {
    /// Compiles `source`, which came from `path`, for the special tokens of `tokenizer`.
    ///
    /// # Errors
    /// The source is no template.
    pub fn new(source: &str, path: &Path, tokenizer: &Tokenizer) -> Result<Self, Error> {
        Self::compile(source, path, tokenizer, false)
    }

    /// The template for a model without one.
    ///
    /// # Errors
    /// None that occurs.
    pub fn fallback(tokenizer: &Tokenizer) -> Result<Self, Error> {
        Self::compile(FALLBACK, tokenizer.path(), tokenizer, true)
    }

    fn compile(
        source: &str,
        path: &Path,
        tokenizer: &Tokenizer,
        fallback: bool,
    ) -> Result<Self, Error> {
        let engine = engine().and_then(|mut engine| {
            engine.add_template_owned("chat", source::prepare(source))?;
            Ok(engine)
        });
        let engine = engine.map_err(|e| Error::Template {
            path: path.into(),
            problem: format!("not a template: {}", failed(&e)),
        })?;
        let special = tokenizer.special();
        let roles = [
            ("bos_token", &special.bos),
            ("eos_token", &special.eos),
            ("unk_token", &special.unk),
            ("pad_token", &special.pad),
        ];
        let mut tokens: Vec<(String, String)> = roles
            .into_iter()
            .filter_map(|(role, token)| Some((role.to_owned(), token.clone()?)))
            .chain(special.named.iter().cloned())
            .collect();
        if fallback {
            let bos = tokenizer.with_ends(&[]).first().and_then(|&id| tokenizer.token(id));
            let end = tokenizer.eos().first().and_then(|&id| tokenizer.token(id));
            tokens.push(("bos".into(), bos.unwrap_or_default()));
            tokens.push(("eos".into(), special.eos.clone().or(end).unwrap_or_default()));
        }
        Ok(Self { engine, source: source.into(), path: path.into(), fallback, tokens })
    }

    /// Finds and compiles the template of a model's folder, as [`super::Chat::load`] says.
    ///
    /// # Errors
    /// A file is unreadable or holds no template.
    pub fn load(dir: &Path, given: Option<&Path>, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let text = |path: &Path, bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .map_err(|_| Error::Template { path: path.into(), problem: "not UTF-8".into() })
        };
        if let Some(path) = given {
            let bytes = read_capped(path, MAX_FILE)?.ok_or_else(|| Error::Template {
                path: path.into(),
                problem: "no such file".into(),
            })?;
            return Self::new(&text(path, bytes)?, path, tokenizer);
        }
        let path = dir.join("chat_template.jinja");
        if let Some(bytes) = read_capped(&path, MAX_FILE)? {
            return Self::new(&text(&path, bytes)?, &path, tokenizer);
        }
        let path = dir.join("tokenizer_config.json");
        let config = tokenizer.config_template();
        match config.map_err(|problem| Error::Template { path: path.clone(), problem })? {
            Some(source) => Self::new(source, &path, tokenizer),
            None => Self::fallback(tokenizer),
        }
    }

    /// The text of `messages`.
    ///
    /// # Errors
    /// The template fails or refuses (`raise_exception`).
    pub fn render(&self, messages: &[Message], prompt: bool) -> Result<String, Error> {
        let problem =
            |e: minijinja::Error| Error::Template { path: self.path.clone(), problem: failed(&e) };
        let template = self.engine.get_template("chat").map_err(problem)?;
        let messages: Vec<Value> = messages
            .iter()
            .map(|m| context! { role => m.role.as_str(), content => m.content.as_str() })
            .collect();
        let tokens: BTreeMap<String, String> = self.tokens.iter().cloned().collect();
        let tokens = Value::from(tokens);
        let none = || Value::from(());
        let own = context! {
            messages => messages, add_generation_prompt => prompt,
            tools => none(), documents => none(),
        };
        template.render(context! { ..own, ..tokens }).map_err(problem)
    }

    /// Whether this is [`FALLBACK`].
    pub fn is_fallback(&self) -> bool {
        self.fallback
    }

    /// The template as written, for a fingerprint.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The file that it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
