//! Conversations that may go on, and those that were offered to the buffer.

use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use crate::dialogue::Message;

/// Talks that are remembered at once, and offered ones.
const MOST: usize = 64;

/// What was talked about.
#[derive(Debug, Default)]
pub struct Talks {
    open: Vec<Talk>,
    offered: VecDeque<(Vec<Message>, u64)>,
}

/// A conversation that may go on.
#[derive(Debug)]
struct Talk {
    messages: Vec<Message>,
    touched: Instant,
}

impl Talks {
    /// A conversation has come so far; what it goes on from is one dialogue with it.
    pub fn said(&mut self, messages: Vec<Message>) {
        self.open.retain(|talk| !messages.starts_with(&talk.messages));
        self.open.push(Talk { messages, touched: Instant::now() });
    }

    /// Takes one that has ended: nobody said anything for `idle`, or there are too many. Those that
    /// were offered already are not given again.
    pub fn ended(&mut self, idle: Duration) -> Option<Vec<Message>> {
        let Self { open, offered } = self;
        open.retain(|talk| !offered.iter().any(|(messages, _)| *messages == talk.messages));
        let too_many = open.len() > MOST;
        let at = open.iter().position(|talk| too_many || talk.touched.elapsed() >= idle)?;
        Some(open.remove(at).messages)
    }

    /// Notes that a conversation was offered, as which arrival.
    pub fn offer(&mut self, messages: Vec<Message>, arrival: u64) {
        self.open.retain(|talk| talk.messages != messages);
        if self.offered.len() == MOST {
            self.offered.pop_front();
        }
        self.offered.push_back((messages, arrival));
    }

    /// As which arrival this very conversation was offered.
    pub fn offered(&self, messages: &[Message]) -> Option<u64> {
        let is = |one: &&(Vec<Message>, u64)| one.0 == messages;
        self.offered.iter().rev().find(is).map(|(_, arrival)| *arrival)
    }

    /// Forgets a conversation that was offered, or, without a number, all of them.
    pub fn forget(&mut self, arrival: Option<u64>) {
        match arrival {
            Some(arrival) => self.offered.retain(|(_, one)| *one != arrival),
            None => *self = Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Role;

    const NEVER: Duration = Duration::from_secs(1000);

    fn talk(texts: &[&str]) -> Vec<Message> {
        texts.iter().map(|text| Message::new(Role::User, *text)).collect()
    }

    #[test]
    fn a_conversation_that_grows_is_one_and_is_offered_once() {
        let mut talks = Talks::default();
        talks.said(talk(&["a", "b"]));
        talks.said(talk(&["a", "b", "c"]));
        talks.said(talk(&["x"]));
        assert_eq!(talks.ended(NEVER), None);
        talks.offer(talk(&["x"]), 7);
        assert_eq!(talks.offered(&talk(&["x"])), Some(7));
        assert_eq!(talks.ended(Duration::ZERO), Some(talk(&["a", "b", "c"])));
        assert_eq!(talks.ended(Duration::ZERO), None);
        // Asked again it is the same, that was offered.
        talks.said(talk(&["x"]));
        assert_eq!(talks.ended(Duration::ZERO), None);
        talks.forget(Some(7));
        assert_eq!(talks.offered(&talk(&["x"])), None);
    }

    #[test]
    fn the_oldest_end_where_there_are_too_many() {
        let mut talks = Talks::default();
        for i in 0..=MOST {
            talks.said(talk(&[&i.to_string()]));
        }
        assert_eq!(talks.ended(NEVER), Some(talk(&["0"])));
        assert_eq!(talks.ended(NEVER), None);
    }
}
