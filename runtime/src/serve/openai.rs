//! Requests and replies in the form that clients of OpenAI's chat completions know.
//!
//! What cannot be done is refused by its name: no field is silently left out, `user` and `metadata`
//! excepted, which change no reply.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dialogue::{Message, Role};
use crate::engine::Sampling;

/// The most tokens that may be asked for.
pub const MOST_TOKENS: usize = 4096;
/// The most messages of a request, bytes of one, and stop texts.
const MOST_MESSAGES: usize = 512;
const MOST_STOPS: usize = 4;

/// `POST /v1/chat/completions`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The conversation, oldest message first.
    pub messages: Vec<ApiMessage>,
    /// The model's name; any, as there is one model.
    pub model: Option<String>,
    /// 0 takes the likeliest token.
    pub temperature: Option<f32>,
    /// 1 keeps all tokens.
    pub top_p: Option<f32>,
    /// At most this many new tokens.
    pub max_tokens: Option<u64>,
    /// The same, as newer clients call it.
    pub max_completion_tokens: Option<u64>,
    /// The reply ends before one of these.
    pub stop: Option<Stop>,
    /// Seed of the draws.
    pub seed: Option<u64>,
    /// Whether the reply comes in pieces.
    #[serde(default)]
    pub stream: bool,
    /// What comes with the pieces.
    pub stream_options: Option<StreamOptions>,
    /// Replies; 1 can be had.
    pub n: Option<u64>,
    /// Who asks; it changes nothing.
    pub user: Option<String>,
    /// Of the client's own.
    pub metadata: Option<Value>,
}

/// A message; its content is a text, or parts that are texts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiMessage {
    role: String,
    content: Content,
    #[serde(rename = "name")]
    _name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    r#type: String,
    text: String,
}

/// One text or some.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Stop {
    /// One.
    One(String),
    /// Some.
    Some(Vec<String>),
}

/// What comes with a streamed reply.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// Whether the last piece counts the tokens.
    #[serde(default)]
    pub include_usage: bool,
}

/// A request that can be done.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The conversation.
    pub messages: Vec<Message>,
    /// How the reply is written.
    pub sampling: Sampling,
    /// Texts that end it.
    pub stop: Vec<String>,
    /// Whether it comes in pieces.
    pub stream: bool,
    /// Whether the last piece counts the tokens.
    pub usage: bool,
}

/// What is wrong with a request: the field and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field.
    pub field: String,
    /// Why.
    pub why: String,
}

/// What JSON says.
///
/// # Errors
/// The field that is wrong, or the body, and why.
pub fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, Wrong> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (field, why) = (error.path().to_string(), error.inner().to_string());
        // What is missing or unknown is in the error itself.
        Wrong { field: if [".", "?"].contains(&&*field) { "body".into() } else { field }, why }
    })?;
    json.end().map_err(|error| Wrong { field: "body".into(), why: error.to_string() })?;
    Ok(value)
}

impl Request {
    /// What is asked for.
    ///
    /// # Errors
    /// The first field that cannot be done.
    pub fn asked(self, usual: &Sampling) -> Result<Asked, Wrong> {
        let wrong = |field: &str, why: &str| Wrong { field: field.into(), why: why.to_owned() };
        if self.n.is_some_and(|n| n != 1) {
            return Err(wrong("n", "one reply can be had"));
        }
        let messages = messages(self.messages)?;
        if messages.last().is_none_or(|last| last.role != Role::User) {
            return Err(wrong("messages", "the last message is not the user's"));
        }
        let temperature = self.temperature.unwrap_or(usual.draw.temperature);
        if !(0.0..=2.0).contains(&temperature) {
            return Err(wrong("temperature", "must be between 0 and 2"));
        }
        let top_p = self.top_p.unwrap_or(usual.draw.top_p);
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(wrong("top_p", "must be above 0 and at most 1"));
        }
        let tokens = match self.max_completion_tokens.or(self.max_tokens) {
            None => usual.max_tokens,
            Some(tokens) => usize::try_from(tokens)
                .ok()
                .filter(|tokens| (1..=MOST_TOKENS).contains(tokens))
                .ok_or_else(|| wrong("max_tokens", "must be between 1 and 4096"))?,
        };
        let stop = match self.stop {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text],
            Some(Stop::Some(texts)) => texts,
        };
        if stop.len() > MOST_STOPS || stop.iter().any(String::is_empty) {
            return Err(wrong("stop", "at most 4 texts, none of them empty"));
        }
        let mut sampling = *usual;
        (sampling.draw.temperature, sampling.draw.top_p) = (temperature, top_p);
        (sampling.max_tokens, sampling.seed) = (tokens, self.seed.unwrap_or(usual.seed));
        let usage = self.stream_options.unwrap_or_default().include_usage;
        Ok(Asked { messages, sampling, stop, stream: self.stream, usage })
    }
}

/// A conversation.
///
/// # Errors
/// If it is empty or too long, or has a message that is none.
pub fn messages(messages: Vec<ApiMessage>) -> Result<Vec<Message>, Wrong> {
    let count = messages.len();
    if count == 0 || count > MOST_MESSAGES {
        let why = format!("{count} messages, not 1 to {MOST_MESSAGES}");
        return Err(Wrong { field: "messages".into(), why });
    }
    messages.into_iter().map(ApiMessage::message).collect()
}

impl ApiMessage {
    fn message(self) -> Result<Message, Wrong> {
        let role = match self.role.as_str() {
            // Newer clients call the instruction so.
            "developer" => Some(Role::System),
            name => Role::from_name(name),
        };
        let why = || "a role is not system, user or assistant".to_owned();
        let role = role.ok_or_else(|| Wrong { field: "messages".into(), why: why() })?;
        let content = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => {
                if parts.iter().any(|part| part.r#type != "text") {
                    let why = "a part of a message is no text".to_owned();
                    return Err(Wrong { field: "messages".into(), why });
                }
                parts.into_iter().map(|part| part.text).collect::<Vec<_>>().join("\n")
            }
        };
        Ok(Message::new(role, content))
    }
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model, or a stop text, ended it.
    Stop,
    /// There were as many tokens as were asked for, or as fit.
    Length,
}

/// Tokens of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Of the conversation.
    pub prompt_tokens: usize,
    /// Of the reply.
    pub completion_tokens: usize,
    /// Of both.
    pub total_tokens: usize,
}

/// What all pieces of one reply have in common.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The reply's name.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
}

impl Envelope {
    /// A whole reply.
    pub fn whole(&self, text: &str, finish: Finish, usage: Usage) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": finish,
            }],
            "usage": usage,
        })
    }

    /// A piece of one: its first names the role, its last why it ended.
    pub fn piece(&self, delta: Value, finish: Option<Finish>) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}],
        })
    }

    /// The piece that counts the tokens.
    pub fn usage(&self, usage: Usage) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [],
            "usage": usage,
        })
    }
}

/// An error as clients read it.
pub fn error(message: &str, kind: &str, field: Option<&str>, code: Option<&str>) -> Value {
    json!({"error": {"message": message, "type": kind, "param": field, "code": code}})
}

#[cfg(test)]
mod tests {
    use super::parse as parse_json;
    use super::*;

    fn parse(text: &str) -> Result<Asked, String> {
        let request = parse_json::<Request>(text);
        request
            .and_then(|request| request.asked(&Sampling::greedy(64)))
            .map_err(|wrong| format!("{}: {}", wrong.field, wrong.why))
    }

    fn with(fields: &str) -> Result<Asked, String> {
        parse(&format!(
            r#"{{"model": "me", "messages": [{{"role": "user", "content": "Hi"}}]{fields}}}"#
        ))
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let asked = with(
            r#", "temperature": 0.5, "top_p": 0.9, "max_tokens": 12, "stop": "x", "seed": 3,
               "stream": true, "stream_options": {"include_usage": true}, "user": "me", "n": 1"#,
        )
        .unwrap();
        let draw = asked.sampling.draw;
        assert_eq!((draw.temperature, draw.top_p, asked.sampling.max_tokens), (0.5, 0.9, 12));
        assert_eq!((asked.sampling.seed, asked.stream, asked.usage), (3, true, true));
        assert_eq!(asked.stop, ["x"]);
        let parts = r#"{"messages": [{"role": "developer", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}"#;
        let messages = parse(parts).unwrap().messages;
        assert_eq!((messages[0].role, messages[1].content.as_str()), (Role::System, "a\nb"));
        assert_eq!(with("").unwrap().sampling, Sampling::greedy(64));
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        for (fields, named) in [
            (r#", "temperature": 3"#, "temperature"),
            (r#", "temperature": -1"#, "temperature"),
            (r#", "top_p": 0"#, "top_p"),
            (r#", "max_tokens": 1000000000"#, "max_tokens"),
            (r#", "max_tokens": 0"#, "max_tokens"),
            (r#", "max_tokens": -1"#, "max_tokens"),
            (r#", "max_completion_tokens": 5000"#, "max_tokens"),
            (r#", "stop": ["", "a"]"#, "stop"),
            (r#", "n": 2"#, "n:"),
            (r#", "tools": []"#, "tools"),
            (r#", "logit_bias": {}"#, "logit_bias"),
            (r#", "stream_options": {"x": 1}"#, "x"),
        ] {
            let error = with(fields).unwrap_err();
            assert!(error.contains(named), "{fields}: {error}");
        }
        for text in [
            r#"{"messages": []}"#,
            r#"{"messages": [{"role": "assistant", "content": "Hi"}]}"#,
            r#"{"messages": [{"role": "tool", "content": "Hi"}]}"#,
            r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "text": ""}]}]}"#,
            r#"{}"#,
        ] {
            assert!(parse(text).unwrap_err().contains("messages"), "{text}");
        }
    }
}
