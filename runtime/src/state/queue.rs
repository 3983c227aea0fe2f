//! The annotation queue: requests that wait in a file until the person answers them, with
//! `homespun buffer annotate` or in a program of its own through [`read`] and [`write()`].
//!
//! ```text
//! {"arrival": 17, "messages": [...], "response": "what was said",
//!  "answer": null | "accept" | "skip" | {"preferred": "what I would have liked"}}
//! ```

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use zeroize::Zeroizing;

use super::vault::Vault;
use super::{Error, QUEUE};
use crate::dialogue::Message;

/// What the person says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The response is good as it is.
    Accept,
    /// Not now; the sample is not a target.
    Skip,
    /// What would have been better.
    Preferred(String),
}

impl Answer {
    /// Whether it is a better reply without a word.
    pub fn is_empty(&self) -> bool {
        matches!(self, Answer::Preferred(text) if text.trim().is_empty())
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which dialogue of all that came, from 0.
    pub arrival: u64,
    /// What was said before the response.
    pub messages: Vec<Message>,
    /// The response that was given.
    pub response: String,
    /// The person's answer, once there is one.
    pub answer: Option<Answer>,
}

/// Reads the queue of a state; a missing file is an empty one.
///
/// # Errors
/// If it cannot be read or a line is not a request; the message names it.
pub fn read(vault: &Vault) -> Result<Vec<Request>, Error> {
    read_json_lines(vault, QUEUE)
}

/// Replaces the queue of a state.
///
/// # Errors
/// If it cannot be written; the old one is then still there.
pub fn write(vault: &Vault, requests: &[Request]) -> Result<(), Error> {
    write_json_lines(vault, QUEUE, requests)
}

/// The rows of a JSON Lines file; none if there is no file.
pub(crate) fn read_json_lines<T: DeserializeOwned>(
    vault: &Vault,
    name: &str,
) -> Result<Vec<T>, Error> {
    let Some(bytes) = vault.read(name)? else { return Ok(Vec::new()) };
    let path = vault.path(name);
    let blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
    let lines = bytes.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !blank(line));
    lines
        .map(|(i, line)| serde_json::from_slice(line).map_err(|error| wrong(&path, i + 1, &error)))
        .collect()
}

/// Replaces a file by `rows` as JSON Lines.
pub(crate) fn write_json_lines<T: Serialize>(
    vault: &Vault,
    name: &str,
    rows: &[T],
) -> Result<(), Error> {
    let mut text = Zeroizing::new(Vec::new());
    for row in rows {
        serde_json::to_writer(&mut *text, row).map_err(|error| Error::Invalid {
            path: vault.path(name),
            field: "row".into(),
            reason: error.to_string(),
        })?;
        text.push(b'\n');
    }
    Ok(vault.write(name, &text)?)
}

/// Line `line` is no row. What serde says of a value quotes it, which may be what the person said.
fn wrong(path: &Path, line: usize, error: &serde_json::Error) -> Error {
    let reason = if error.is_data() {
        format!("a field is missing, unknown or wrong, at or before column {}", error.column())
    } else {
        error.to_string()
    };
    Error::Invalid { path: path.into(), field: format!("line {line}"), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Role;
    use crate::seal::Key;
    use crate::state::vault::Keys;

    fn vault(folder: &tempfile::TempDir) -> Vault {
        let keys = Keys::Given(Key::new([7; 32]));
        Vault::open(folder.path(), &keys, "state.json").unwrap()
    }

    #[test]
    fn what_a_person_answers_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(&folder);
        let request = Request {
            arrival: 3,
            messages: vec![Message::new(Role::User, "Tea?")],
            response: "Any tea.".into(),
            answer: None,
        };
        write(&vault, core::slice::from_ref(&request)).unwrap();
        let sealed = std::fs::read(vault.path(QUEUE)).unwrap();
        assert!(!sealed.windows(3).any(|three| three == b"Tea" || three == b"tea"));
        let text = String::from_utf8(vault.read(QUEUE).unwrap().unwrap().to_vec()).unwrap();
        let filled = text.replace("\"answer\":null", "\"answer\":{\"preferred\":\"Mint tea.\"}");
        vault.write(QUEUE, filled.as_bytes()).unwrap();
        let answer = Some(Answer::Preferred("Mint tea.".into()));
        assert_eq!(read(&vault).unwrap(), [Request { answer, ..request }]);
    }

    #[test]
    fn a_wrong_line_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(&folder);
        for line in ["{\"arrival\": \"mint tea\"}", "{\"mint tea\": 1}", "mint tea"] {
            vault.write(QUEUE, format!("\n{line}\n").as_bytes()).unwrap();
            let error = read(&vault).unwrap_err().to_string();
            assert!(error.contains("queue.jsonl: line 2"), "{error}");
            assert!(!error.contains("mint"), "{error}");
        }
    }

    #[test]
    fn no_file_is_an_empty_queue() {
        assert!(read(&Vault::plain(Path::new("no/such"))).unwrap().is_empty());
    }
}
