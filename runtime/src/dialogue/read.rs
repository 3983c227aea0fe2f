//! Reading dialogues: JSON Lines of messages or of Alpaca's three fields, and the file of `--messages`.
//!
//! ```text
//! line k -> longer than MAX_LINE? -> UTF-8? -> JSON object? -> {"messages": [...]}                  -> Dialogue
//!             |                       |         |              {"instruction", "input", "output"}  -> [user, assistant]
//!             +-----------------------+---------+--> Skipped { line: k, reason }, or an error if strict
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Dialogue, Message, Role};

/// The longest line that is read, in bytes.
pub const MAX_LINE: usize = 16 << 20;

/// Why a line is no dialogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Bytes that are no text.
    #[error("not UTF-8 (first bad byte at {at})")]
    NotUtf8 {
        /// Offset in the line.
        at: usize,
    },
    /// Text that is no JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The line exceeds [`MAX_LINE`].
    #[error("longer than {MAX_LINE} bytes")]
    TooLong,
    /// A field is missing or wrong.
    #[error("{field}: {problem}")]
    Field {
        /// Its path, e.g. `messages[0].role`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

fn wrong(field: impl Into<String>, problem: impl Into<String>) -> Reason {
    Reason::Field { field: field.into(), problem: problem.into() }
}

/// A line that was left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Skipped {
    /// Counted from 1.
    pub line: usize,
    /// Why.
    pub reason: Reason,
}

/// Why a file of dialogues could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The file has no line that is not blank.
    #[error("{}: no dialogue in it (the file is empty)", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A bad line under `strict`.
    #[error("{}: {skipped}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line and the reason.
        skipped: Skipped,
    },
    /// Every line was bad.
    #[error("{}: no dialogue in it: all {lines} lines are bad, the first is {first}", path.display())]
    AllBad {
        /// The file.
        path: PathBuf,
        /// How many lines.
        lines: usize,
        /// The first.
        first: Skipped,
    },
    /// The file of `--messages` is no list of messages.
    #[error("{}: {reason}", path.display())]
    Messages {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: Reason,
    },
}

fn string(object: &Map<String, Value>, field: &str) -> Result<Option<String>, Reason> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(field, "must be a string")),
    }
}

fn messages(value: &Value) -> Result<Vec<Message>, Reason> {
    let list = value.as_array().ok_or_else(|| wrong("messages", "must be an array"))?;
    if list.is_empty() {
        return Err(wrong("messages", "is empty"));
    }
    let message = |(i, value): (usize, &Value)| {
        let at = |field: &str| format!("messages[{i}].{field}");
        let object = value
            .as_object()
            .ok_or_else(|| wrong(format!("messages[{i}]"), "must be an object"))?;
        let role = match object.get("role") {
            None => return Err(wrong(at("role"), "is missing")),
            Some(Value::String(name)) => Role::from_name(name).ok_or_else(|| {
                // What is no word may be what somebody said.
                let word = name.len() <= 16 && name.bytes().all(|byte| byte.is_ascii_lowercase());
                let shown = if word { format!(" {name:?}") } else { String::new() };
                let problem = format!("unknown role{shown} (system, user or assistant)");
                wrong(at("role"), problem)
            })?,
            Some(_) => return Err(wrong(at("role"), "must be a string")),
        };
        match object.get("content") {
            None => Err(wrong(at("content"), "is missing")),
            Some(Value::String(content)) => Ok(Message { role, content: content.clone() }),
            Some(_) => Err(wrong(at("content"), "must be a string")),
        }
    };
    list.iter().enumerate().map(message).collect()
}

fn dialogue(object: &Map<String, Value>) -> Result<Dialogue, Reason> {
    let messages = if let Some(list) = object.get("messages") {
        messages(list)?
    } else if let Some(mut question) = string(object, "instruction")? {
        if let Some(input) = string(object, "input")?.filter(|input| !input.is_empty()) {
            question.push_str("\n\n");
            question.push_str(&input);
        }
        let mut messages = vec![Message::new(Role::User, question)];
        if let Some(output) = string(object, "output")? {
            messages.push(Message::new(Role::Assistant, output));
        }
        messages
    } else {
        return Err(wrong("messages", "is missing (and there is no `instruction`)"));
    };
    let id = match object.get("id") {
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => string(object, "id")?,
    };
    // An empty `preferred` is an unfilled form, not a wish for silence.
    let preferred = string(object, "preferred")?.filter(|text| !text.is_empty());
    Ok(Dialogue { messages, preferred, id })
}

/// Reads one line of JSON.
///
/// # Errors
/// What is wrong with it, by field.
pub fn parse(line: &str) -> Result<Dialogue, Reason> {
    match serde_json::from_str(line).map_err(|e| Reason::NotJson(e.to_string()))? {
        Value::Object(object) => dialogue(&object),
        _ => Err(wrong("line", "must be a JSON object")),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Reason> {
    core::str::from_utf8(bytes).map_err(|e| Reason::NotUtf8 { at: e.valid_up_to() })
}

/// Reads one line without its newline into `line`; `None` at the end of the file.
/// A line over [`MAX_LINE`] is passed over without being held.
fn next_line(
    from: &mut impl BufRead,
    line: &mut Vec<u8>,
) -> io::Result<Option<Result<(), Reason>>> {
    line.clear();
    if from.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Ok(())));
    }
    if line.len() <= MAX_LINE {
        return Ok(Some(Ok(()))); // the last line, unended
    }
    loop {
        line.clear();
        let read = from.by_ref().take(1 << 20).read_until(b'\n', line)?;
        if read == 0 || line.last() == Some(&b'\n') {
            return Ok(Some(Err(Reason::TooLong)));
        }
    }
}

/// Reads dialogues from JSON Lines; blank lines and a byte order mark are ignored. Bad lines are
/// left out and returned, unless `strict`. `path` is only for messages.
///
/// # Errors
/// As [`read_jsonl`].
pub fn read_lines(
    mut from: impl BufRead,
    path: &Path,
    strict: bool,
) -> Result<(Vec<Dialogue>, Vec<Skipped>), Error> {
    let (mut dialogues, mut skipped) = (Vec::new(), Vec::new());
    let (mut buffer, mut number) = (Vec::new(), 0);
    let io = |source| Error::Io { path: path.into(), source };
    while let Some(fits) = next_line(&mut from, &mut buffer).map_err(io)? {
        number += 1;
        let bytes = match number {
            1 => buffer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&buffer),
            _ => &buffer,
        };
        if fits.is_ok() && bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match fits.and_then(|()| text(bytes)).and_then(parse) {
            Ok(dialogue) => dialogues.push(dialogue),
            Err(reason) => {
                let bad = Skipped { line: number, reason };
                if strict {
                    return Err(Error::Line { path: path.into(), skipped: bad });
                }
                skipped.push(bad);
            }
        }
    }
    match (dialogues.is_empty(), skipped.first()) {
        (true, None) => Err(Error::Empty { path: path.into() }),
        (true, Some(first)) => {
            Err(Error::AllBad { path: path.into(), lines: skipped.len(), first: first.clone() })
        }
        _ => Ok((dialogues, skipped)),
    }
}

/// Reads a JSON Lines file: its dialogues, and the lines that were left out (none if `strict`).
///
/// # Errors
/// The file cannot be read, holds no dialogue, or has a bad line under `strict`.
pub fn read_jsonl(path: &Path, strict: bool) -> Result<(Vec<Dialogue>, Vec<Skipped>), Error> {
    let file = File::open(path).map_err(|source| Error::Io { path: path.into(), source })?;
    read_lines(BufReader::new(file), path, strict)
}

/// Reads the file of `--messages`: a JSON object with `messages`, an array of messages, or the
/// first line of JSON Lines.
///
/// # Errors
/// The file cannot be read, is longer than [`MAX_LINE`], or is none of the three.
pub fn read_messages(path: &Path) -> Result<Dialogue, Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let bad = |reason| Error::Messages { path: path.into(), reason };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_LINE as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    let whole = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if whole.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::Empty { path: path.into() });
    }
    // The first value, whatever follows it: a document, or the first line of many.
    let value = serde_json::Deserializer::from_slice(whole).into_iter::<Value>().next();
    match value {
        Some(Ok(Value::Array(list))) => {
            messages(&Value::Array(list)).map(Dialogue::new).map_err(bad)
        }
        Some(Ok(Value::Object(object))) => dialogue(&object).map_err(bad),
        Some(Ok(_)) | None => Err(bad(wrong("messages", "expected an object or an array"))),
        Some(Err(_)) if whole.len() > MAX_LINE => Err(bad(Reason::TooLong)),
        Some(Err(error)) => Err(bad(match text(whole) {
            Err(reason) => reason,
            Ok(_) => Reason::NotJson(error.to_string()),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], strict: bool) -> Result<(Vec<Dialogue>, Vec<Skipped>), Error> {
        read_lines(bytes, Path::new("stream.jsonl"), strict)
    }

    const GOOD: &str = r#"{"messages":[{"role":"user","content":"a"}],"id":7}"#;

    #[test]
    fn blank_lines_a_byte_order_mark_and_crlf_are_ignored() {
        let file = format!("\u{feff}{GOOD}\r\n\n  \r\n{GOOD}");
        let (dialogues, skipped) = read(file.as_bytes(), true).unwrap();
        assert_eq!((dialogues.len(), skipped.len()), (2, 0));
        assert_eq!(dialogues[0].id.as_deref(), Some("7"));
    }

    #[test]
    fn alpaca_lines_become_a_question_and_a_response() {
        let d = parse(r#"{"instruction":"add","input":"1 2","output":"3"}"#).unwrap();
        assert_eq!(d.messages[0], Message::new(Role::User, "add\n\n1 2"));
        assert_eq!(d.response(), Some("3"));
        let d = parse(r#"{"instruction":"hi","input":"","output":"ho"}"#).unwrap();
        assert_eq!(d.messages[0].content, "hi");
        assert!(parse(r#"{"instruction":"hi"}"#).unwrap().ends_with_user());
    }

    #[test]
    fn bad_lines_are_reported_by_number_and_skipped_or_stop_a_strict_reader() {
        let mut file = Vec::new();
        file.extend_from_slice(GOOD.as_bytes());
        file.extend_from_slice(b"\n{\"messages\": \xff}\n{not json}\n\n[1]\n");
        let (dialogues, skipped) = read(&file, false).unwrap();
        assert_eq!(dialogues.len(), 1);
        assert_eq!(skipped.iter().map(|s| s.line).collect::<Vec<_>>(), [2, 3, 5]);
        assert_eq!(skipped[0].reason, Reason::NotUtf8 { at: 13 });
        let error = read(&file, true).unwrap_err().to_string();
        assert!(error.starts_with("stream.jsonl: line 2: not UTF-8"), "{error}");
    }

    #[test]
    fn errors_name_the_field() {
        let cases = [
            (r#"{}"#, "messages: is missing"),
            (r#"{"messages":[]}"#, "messages: is empty"),
            (r#"{"messages":{}}"#, "messages: must be an array"),
            (r#"{"messages":[3]}"#, "messages[0]: must be an object"),
            (r#"{"messages":[{"content":"a"}]}"#, "messages[0].role: is missing"),
            (r#"{"messages":[{"role":1}]}"#, "messages[0].role: must be a string"),
            (r#"{"messages":[{"role":"tool","content":"a"}]}"#, "unknown role \"tool\""),
            (r#"{"messages":[{"role":"I like tea","content":"user"}]}"#, "unknown role (system"),
            (r#"{"messages":[{"role":"user"}]}"#, "messages[0].content: is missing"),
            (r#"{"messages":[{"role":"user","content":[]}]}"#, "messages[0].content: must be"),
            (r#"{"messages":[{"role":"user","content":"a"}],"preferred":1}"#, "preferred: must be"),
            (r#"{"instruction":1}"#, "instruction: must be a string"),
            (r#"{"instruction":"a","output":[]}"#, "output: must be a string"),
            (r#"{"messages":[{"role":"user","content":"\ud800"}]}"#, "not JSON"),
        ];
        for (line, want) in cases {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(want), "{line}: {error}");
        }
    }

    #[test]
    fn a_stream_without_a_dialogue_is_an_error_that_names_the_file() {
        for file in [&b""[..], b"\n \n", b"\xef\xbb\xbf"] {
            let error = read(file, false).unwrap_err().to_string();
            assert!(error.contains("stream.jsonl") && error.contains("empty"), "{error}");
        }
        let error = read(b"x\ny\n", false).unwrap_err().to_string();
        assert!(error.contains("all 2 lines are bad, the first is line 1"), "{error}");
        let missing = read_jsonl(Path::new("/nowhere/x.jsonl"), false).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/x.jsonl: "), "{missing}");
    }

    #[test]
    fn a_line_over_the_cap_is_skipped_and_the_next_is_read() {
        let mut file = vec![b'a'; MAX_LINE + 1];
        file.push(b'\n');
        file.extend_from_slice(GOOD.as_bytes());
        let (dialogues, skipped) = read(&file, false).unwrap();
        assert_eq!(dialogues.len(), 1);
        assert_eq!(skipped, [Skipped { line: 1, reason: Reason::TooLong }]);
    }

    #[test]
    fn the_messages_file_is_an_object_an_array_or_the_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.json");
        let message = r#"{"role":"user","content":"a"}"#;
        let files = [
            format!("{{\n \"messages\":\n [{message}]\n}}\n"),
            format!("[\n{message}\n]"),
            format!("{{\"messages\":[{message}]}}\n{{\"messages\":[]}}\n"),
        ];
        for file in files {
            std::fs::write(&path, &file).unwrap();
            let d = read_messages(&path).unwrap();
            assert_eq!(d.messages, [Message::new(Role::User, "a")], "{file}");
        }
        for file in ["", "3", "{", "[]", "{\"messages\":[{}]}", "\u{fffd}"] {
            std::fs::write(&path, file).unwrap();
            let error = read_messages(&path).unwrap_err().to_string();
            assert!(error.contains("m.json"), "{file}: {error}");
        }
    }
}
