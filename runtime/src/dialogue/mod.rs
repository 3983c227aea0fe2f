//! Dialogues: who said what, which message is the response to learn, and how they are read.
//!
//! ```text
//! {"messages": [{"role": "system"?}, {"role": "user"}, {"role": "assistant"}, ...], "preferred": "...", "id": "..."}
//!               \_________________ question() ________________/ \_ response() _/   \ replaces the response
//! ```

mod read;

pub use read::{Error, MAX_LINE, Reason, Skipped, parse, read_jsonl, read_lines, read_messages};

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions for the model, before the first turn.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that files and templates use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "system" => Some(Self::System),
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            _ => None,
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, as it stands in the file.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// One dialogue of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dialogue {
    /// The messages, oldest first; never empty when read from a file.
    pub messages: Vec<Message>,
    /// The reply that the person prefers to the one given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred: Option<String>,
    /// The stream's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Dialogue {
    /// A dialogue of `messages` alone.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages, preferred: None, id: None }
    }

    /// Whether the last message is the user's, so that nothing answers it.
    pub fn ends_with_user(&self) -> bool {
        self.messages.last().is_some_and(|m| m.role == Role::User)
    }

    /// The response: the last message, where it is the assistant's.
    pub fn response(&self) -> Option<&str> {
        self.messages.last().filter(|m| m.role == Role::Assistant).map(|m| m.content.as_str())
    }

    /// The question: all before the response, or everything where there is none.
    pub fn question(&self) -> &[Message] {
        match self.response() {
            Some(_) => &self.messages[..self.messages.len() - 1],
            None => &self.messages,
        }
    }

    /// What training aims at: `preferred`, else the response. `None`: the dialogue is only scored.
    ///
    /// Where the dialogue ends with the user, `preferred` stands as the missing reply.
    pub fn target_response(&self) -> Option<&str> {
        self.preferred.as_deref().or_else(|| self.response())
    }

    /// The question followed by the target; `None` where there is no target.
    pub fn target_messages(&self) -> Option<Vec<Message>> {
        let target = self.target_response()?;
        let mut messages = self.question().to_vec();
        messages.push(Message::new(Role::Assistant, target));
        Some(messages)
    }

    /// The contents of all messages joined by one newline, as scores read them.
    pub fn text(&self) -> String {
        let contents: Vec<&str> = self.messages.iter().map(|m| m.content.as_str()).collect();
        contents.join("\n")
    }

    /// The line of a JSON Lines file, without its newline.
    pub fn to_json(&self) -> String {
        // Strings and enums of fixed names always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue(roles: &[(Role, &str)]) -> Dialogue {
        Dialogue::new(roles.iter().map(|&(role, content)| Message::new(role, content)).collect())
    }

    #[test]
    fn the_response_is_the_last_message_and_the_question_all_before_it() {
        let d = dialogue(&[(Role::User, "a"), (Role::Assistant, "b"), (Role::User, "c")]);
        assert!(d.ends_with_user());
        assert_eq!(d.response(), None);
        assert_eq!(d.target_response(), None);
        assert_eq!(d.target_messages(), None);
        assert_eq!(d.question().len(), 3);

        let mut d = dialogue(&[(Role::User, "a"), (Role::Assistant, "b")]);
        assert_eq!(d.response(), Some("b"));
        assert_eq!(d.question(), &[Message::new(Role::User, "a")]);
        assert_eq!(d.text(), "a\nb");
        d.preferred = Some("c".into());
        assert_eq!(d.response(), Some("b"), "the response stays what was said");
        assert_eq!(d.target_messages().unwrap()[1], Message::new(Role::Assistant, "c"));
        assert_eq!(d.target_messages().unwrap().len(), 2);
    }

    #[test]
    fn preferred_answers_a_dialogue_that_ends_with_the_user() {
        let mut d = dialogue(&[(Role::User, "a")]);
        d.preferred = Some("b".into());
        assert_eq!(d.target_messages().unwrap().len(), 2);
    }

    #[test]
    fn a_dialogue_written_as_json_reads_back() {
        let mut d = dialogue(&[(Role::System, "s"), (Role::User, "q\n\"é\u{2028}")]);
        d.id = Some("x-1".into());
        assert_eq!(parse(&d.to_json()).unwrap(), d);
        assert!(!d.to_json().contains("preferred"));
    }

    #[test]
    fn an_empty_dialogue_has_neither_question_nor_response() {
        let d = Dialogue::default();
        assert!(d.question().is_empty() && d.response().is_none() && !d.ends_with_user());
    }
}
