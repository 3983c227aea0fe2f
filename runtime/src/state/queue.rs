//! The annotation queue: requests that wait in a file until the person fills them in.
//!
//! ```text
//! {"arrival": 17, "messages": [...], "response": "what was said",
//!  "answer": null | "accept" | "skip" | {"preferred": "what I would have liked"}}
//! ```

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::dialogue::Message;
use crate::durable;

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

/// Reads a queue; a missing file is an empty one.
///
/// # Errors
/// If a line is not a request; the message names it.
pub fn read(path: &Path) -> Result<Vec<Request>, Error> {
    read_json_lines(path)
}

/// The rows of a JSON Lines file; none if there is no file.
pub(crate) fn read_json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { path: path.into(), source }),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            serde_json::from_str(line).map_err(|error| Error::Invalid {
                path: path.into(),
                field: format!("line {}", i + 1),
                reason: error.to_string(),
            })
        })
        .collect()
}

/// Replaces a queue.
///
/// # Errors
/// If it cannot be written; the old one is then still there.
pub fn write(path: &Path, requests: &[Request]) -> Result<(), Error> {
    Ok(durable::write(path, json_lines(path, requests)?.as_bytes())?)
}

/// `rows` as JSON Lines.
pub(crate) fn json_lines<T: Serialize>(path: &Path, rows: &[T]) -> Result<String, Error> {
    let mut text = String::new();
    for row in rows {
        let line = serde_json::to_string(row).map_err(|error| Error::Invalid {
            path: path.into(),
            field: "row".into(),
            reason: error.to_string(),
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Role;

    #[test]
    fn what_a_person_writes_by_hand_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue.jsonl");
        let request = Request {
            arrival: 3,
            messages: vec![Message::new(Role::User, "Tea?")],
            response: "Any tea.".into(),
            answer: None,
        };
        write(&path, core::slice::from_ref(&request)).unwrap();
        let filled = fs::read_to_string(&path)
            .unwrap()
            .replace("\"answer\":null", "\"answer\":{\"preferred\":\"Mint tea.\"}");
        fs::write(&path, filled).unwrap();
        let answer = Some(Answer::Preferred("Mint tea.".into()));
        assert_eq!(read(&path).unwrap(), [Request { answer, ..request }]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue.jsonl");
        fs::write(&path, "\n{\"arrival\": -1}\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("queue.jsonl: line 2"), "{error}");
    }

    #[test]
    fn no_file_is_an_empty_queue() {
        assert!(read(Path::new("no/such/queue.jsonl")).unwrap().is_empty());
    }
}
