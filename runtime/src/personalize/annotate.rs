//! The person: asked, rarely, whether a response is acceptable and what would have been better.
//!
//! Three ways to ask: `replay` answers from a stream that holds the preferred replies, `ask` asks in
//! the terminal, `queue` leaves the question in the state and takes the answer at a later round.

use std::collections::HashMap;
use std::io::{BufRead, Write};

use crate::dialogue::{Dialogue, Message};
use crate::state::queue::{self, Answer, Request};
use crate::state::{self, vault::Vault};

/// A buffered dialogue that has no annotation yet, as the person sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Arrival number.
    pub arrival: u64,
    /// Everything before the response.
    pub messages: Vec<Message>,
    /// The response that was given.
    pub response: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The person answered.
    Now(Answer),
    /// Asked, and not answered yet.
    Later,
    /// No new request: asked before and still not answered, or nobody is there to ask.
    Waiting,
}

/// Who answers.
pub enum Person<'a> {
    /// The stream's `preferred`, else its own response; `(stream, arrival of its first dialogue)`.
    Replay(&'a [Dialogue], u64),
    /// Somebody at the terminal.
    Ask,
    /// Nobody: a round learns from what was answered before.
    Nobody,
    /// The state's queue, which waits for somebody's answers.
    Queue(HashMap<u64, Request>),
}

impl Person<'_> {
    /// The person behind the queue of a state.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn queue(vault: &Vault) -> Result<Self, state::Error> {
        let requests = queue::read(vault)?;
        Ok(Person::Queue(requests.into_iter().map(|r| (r.arrival, r)).collect()))
    }

    /// Takes what was written into the queue file since it was read last.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn refresh(&mut self, vault: &Vault) -> Result<(), state::Error> {
        if let Person::Queue(_) = self {
            *self = Person::queue(vault)?;
        }
        Ok(())
    }

    /// Whether the person was asked about that dialogue in the queue.
    pub fn was_asked(&self, arrival: u64) -> bool {
        match self {
            Person::Replay(..) | Person::Ask | Person::Nobody => false,
            Person::Queue(requests) => requests.contains_key(&arrival),
        }
    }

    /// Asks one question.
    ///
    /// # Errors
    /// If the terminal fails.
    pub fn ask(&mut self, question: &Question) -> std::io::Result<Reply> {
        match self {
            Person::Replay(stream, first) => {
                let at = question.arrival.checked_sub(*first);
                // What an earlier stream preferred is not known any more.
                let Some(dialogue) = at.and_then(|i| stream.get(usize::try_from(i).ok()?)) else {
                    return Ok(Reply::Waiting);
                };
                let preferred = dialogue.preferred.clone();
                Ok(Reply::Now(preferred.map_or(Answer::Accept, Answer::Preferred)))
            }
            Person::Nobody => Ok(Reply::Waiting),
            Person::Ask => Ok(ask_terminal(question)?.map_or(Reply::Waiting, Reply::Now)),
            Person::Queue(requests) => match requests.get(&question.arrival) {
                Some(Request { answer: Some(answer), .. }) => Ok(Reply::Now(answer.clone())),
                Some(_) => Ok(Reply::Waiting),
                None => {
                    let request = Request {
                        arrival: question.arrival,
                        messages: question.messages.clone(),
                        response: question.response.clone(),
                        answer: None,
                    };
                    requests.insert(question.arrival, request);
                    Ok(Reply::Later)
                }
            },
        }
    }

    /// Writes the queue back, requests of `living` samples only, so that nothing is kept of a
    /// dialogue that left the buffer.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, vault: &Vault, living: impl Fn(u64) -> bool) -> Result<(), state::Error> {
        match self {
            Person::Replay(..) | Person::Ask | Person::Nobody => Ok(()),
            Person::Queue(requests) => {
                let mut rows: Vec<Request> =
                    requests.values().filter(|r| living(r.arrival)).cloned().collect();
                rows.sort_by_key(|r| r.arrival);
                queue::write(vault, &rows)
            }
        }
    }
}

/// `None` at the end of input, which is nobody's consent.
fn ask_terminal(question: &Question) -> std::io::Result<Option<Answer>> {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr)?;
    for message in &question.messages {
        writeln!(stderr, "{:>9}: {}", message.role.as_str(), message.content)?;
    }
    writeln!(stderr, "{:>9}: {}", "assistant", question.response)?;
    write!(stderr, "Enter accepts, s skips, or type the reply you would have liked: ")?;
    stderr.flush()?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line)?;
    Ok(match line.trim() {
        "" if read == 0 => None,
        "" => Some(Answer::Accept),
        "s" => Some(Answer::Skip),
        text => Some(Answer::Preferred(text.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Role;

    fn question(arrival: u64) -> Question {
        let messages = vec![Message::new(Role::User, "Tea?")];
        Question { arrival, messages, response: "Any tea.".into() }
    }

    #[test]
    fn a_replayed_stream_answers_with_what_it_prefers_or_accepts() {
        let plain = Dialogue::new(vec![Message::new(Role::User, "Tea?")]);
        let preferred = Dialogue { preferred: Some("Mint.".into()), ..plain.clone() };
        let stream = [plain, preferred];
        let mut person = Person::Replay(&stream, 10);
        assert_eq!(person.ask(&question(10)).unwrap(), Reply::Now(Answer::Accept));
        let mint = Answer::Preferred("Mint.".into());
        assert_eq!(person.ask(&question(11)).unwrap(), Reply::Now(mint));
        assert_eq!(person.ask(&question(3)).unwrap(), Reply::Waiting, "of an earlier stream");
        assert_eq!(person.ask(&question(12)).unwrap(), Reply::Waiting, "beyond its end");
    }

    #[test]
    fn a_queued_question_is_asked_once_and_answered_later() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::plain(dir.path());
        let mut person = Person::queue(&vault).unwrap();
        assert_eq!(person.ask(&question(1)).unwrap(), Reply::Later);
        assert_eq!(person.ask(&question(1)).unwrap(), Reply::Waiting);
        assert_eq!(person.ask(&question(2)).unwrap(), Reply::Later);
        person.save(&vault, |arrival| arrival != 2).unwrap();
        let mut rows = queue::read(&vault).unwrap();
        assert_eq!(rows.len(), 1, "an evicted sample's request is forgotten");
        rows[0].answer = Some(Answer::Accept);
        queue::write(&vault, &rows).unwrap();
        let mut person = Person::queue(&vault).unwrap();
        assert_eq!(person.ask(&question(1)).unwrap(), Reply::Now(Answer::Accept));
    }
}
