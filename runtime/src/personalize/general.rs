//! General dialogues: what a model must not unlearn while it learns its person.
//!
//! Every other one is rehearsed, mixed into what is learned; the loss on the rest, before and after a
//! round, tells whether the model still speaks as it did. Unless a file is given they are everyday
//! questions with plain answers, or, for the built-in model, which knows its own small world alone,
//! questions of that world.

use std::path::Path;

use crate::builtin;
use crate::chat::Loss;
use crate::dialogue::{self, Dialogue};
use crate::engine::{Base, Error};
use crate::tune::{self, Example};

/// Lines of `{"messages": [...]}`.
const EVERYDAY: &str = include_str!("general.jsonl");

/// Tokens of a dialogue, at most.
const MOST_TOKENS: usize = 512;

/// The general dialogues for `base`.
///
/// # Panics
/// Never: the lines are part of the program, and tested.
pub fn built_in(base: &Base) -> Vec<Dialogue> {
    if base.is_builtin() {
        return builtin::general();
    }
    EVERYDAY.lines().filter_map(|line| dialogue::parse(line).ok()).collect()
}

/// General dialogues as a model sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct General {
    /// The model is judged by these, and never learns them.
    pub judged: Vec<Example>,
    /// It learns these beside its person's.
    pub rehearsed: Vec<Example>,
}

/// Those of a file, or the built-in ones, as `base` sees them.
///
/// # Errors
/// If the file cannot be read, or fewer than two of its dialogues have a reply; in words that name it.
pub fn open(base: &Base, file: Option<&Path>) -> Result<General, String> {
    let dialogues = match file {
        None => built_in(base),
        Some(path) => {
            let (dialogues, _) =
                dialogue::read_jsonl(path, true).map_err(|error| format!("--general: {error}"))?;
            dialogues
        }
    };
    let ready = |base: &Base| -> Result<Vec<Example>, Error> {
        tune::prepare(base, &dialogues, Loss::Response, MOST_TOKENS, |_| {})
    };
    let examples = ready(base).map_err(|error| format!("--general: {error}"))?;
    if examples.len() < 2 {
        let file = file.map_or_else(|| "the built-in ones".to_owned(), |f| f.display().to_string());
        return Err(format!("--general: {file}: fewer than two dialogues have a reply"));
    }
    let mut general = General { judged: Vec::new(), rehearsed: Vec::new() };
    for (i, example) in examples.into_iter().enumerate() {
        if i % 2 == 0 { &mut general.judged } else { &mut general.rehearsed }.push(example);
    }
    Ok(general)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_dialogue_with_a_reply() {
        let lines = EVERYDAY.lines().count();
        let dialogues: Vec<_> =
            EVERYDAY.lines().map(|line| dialogue::parse(line).unwrap()).collect();
        assert!(lines >= 24, "{lines}");
        assert!(dialogues.iter().all(|one| one.target_response().is_some()));
        let base = Base::builtin(None).unwrap();
        let general = open(&base, None).unwrap();
        assert_eq!(general.judged.len() + general.rehearsed.len(), built_in(&base).len());
        assert!(general.rehearsed.iter().all(|one| !general.judged.contains(one)));
    }

    #[test]
    fn a_file_that_has_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("general.jsonl");
        let base = Base::builtin(None).unwrap();
        let wrong = open(&base, Some(&path)).unwrap_err();
        assert!(wrong.contains("--general") && wrong.contains("general.jsonl"), "{wrong}");
        std::fs::write(&path, "{\"messages\": [{\"role\": \"user\", \"content\": \"Tea?\"}]}\n")
            .unwrap();
        let wrong = open(&base, Some(&path)).unwrap_err();
        assert!(wrong.contains("fewer than two dialogues"), "{wrong}");
    }
}
