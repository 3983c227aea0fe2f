//! Where the content of each message stands in the rendered text.
//!
//! ```text
//! the dialogue itself       <s>User: Hi there\nAssistant: Ho</s>\n
//! each content in brackets  <s>User: (Hi there)\nAssistant: (Ho)</s>\n
//!                           without brackets the same?  they stand around the contents
//! else one at a time        <s>User: Hi there\nAssistant: *</s>\n
//!                           before and after the mark the same?  the rest is content
//! ```
//! The second way holds for a template that cuts, rewrites or leaves out a content.

use core::ops::Range;

use super::Template;
use crate::dialogue::Message;

/// Two characters that neither the text nor a content has; from a private plane.
fn unused(text: &str, messages: &[Message]) -> Option<(char, char)> {
    let free = |c: &char| !text.contains(*c) && messages.iter().all(|m| !m.content.contains(*c));
    let mut free = ('\u{f0000}'..='\u{f00ff}').filter(free);
    Some((free.next()?, free.next()?))
}

/// The byte range of each message's content in `text`, `None` where it is not shown.
pub(super) fn locate(
    template: &Template,
    messages: &[Message],
    prompt: bool,
    text: &str,
) -> Vec<Option<Range<usize>>> {
    let Some((open, close)) = unused(text, messages) else {
        // All private characters in one dialogue: nothing in it is trusted.
        return messages.iter().map(|_| Some(0..text.len())).collect();
    };
    for shown in [|content: &str| content.to_owned(), |content: &str| content.trim().to_owned()] {
        let bracketed =
            |m: &Message| Message::new(m.role, format!("{open}{}{close}", shown(&m.content)));
        let bracketed: Vec<Message> = messages.iter().map(bracketed).collect();
        if let Ok(other) = template.render(&bracketed, prompt)
            && let Some(found) = between(&other, open, close, text)
            && found.len() == messages.len()
            && found.iter().zip(messages).all(|(at, m)| text[at.clone()] == shown(&m.content))
        {
            return found.into_iter().map(Some).collect();
        }
    }
    let mark = format!("{open}{close}");
    let alone = |i: usize| {
        let mut messages = messages.to_vec();
        messages[i].content.clone_from(&mark);
        match template.render(&messages, prompt) {
            Ok(other) => differ(text, &other, &mark),
            Err(_) => Some(0..text.len()),
        }
    };
    (0..messages.len()).map(alone).collect()
}

/// The ranges of `text` that stand between brackets in `other`, which is otherwise the same.
fn between(other: &str, open: char, close: char, text: &str) -> Option<Vec<Range<usize>>> {
    let mut found = Vec::new();
    let mut plain = String::with_capacity(text.len());
    let mut start = None;
    for c in other.chars() {
        match (start, c) {
            (None, c) if c == open => start = Some(plain.len()),
            (Some(from), c) if c == close => {
                found.push(from..plain.len());
                start = None;
            }
            (_, c) if c == open || c == close => return None,
            _ => plain.push(c),
        }
    }
    (start.is_none() && plain == text).then_some(found)
}

/// The part of `text` that a content is answerable for: `other` has `mark` in its stead.
fn differ(text: &str, other: &str, mark: &str) -> Option<Range<usize>> {
    if let (Some(first), Some(last)) = (other.find(mark), other.rfind(mark)) {
        let (before, after) = (&other[..first], &other[last + mark.len()..]);
        if text.len() >= before.len() + after.len()
            && text.starts_with(before)
            && text.ends_with(after)
        {
            return Some(before.len()..text.len() - after.len());
        }
    }
    // More than the content differs: all of it counts as content.
    let same = |(a, b): &(char, char)| a == b;
    let length = |pairs: &mut dyn Iterator<Item = (char, char)>| -> usize {
        pairs.take_while(same).map(|(c, _)| c.len_utf8()).sum()
    };
    let before = length(&mut text.chars().zip(other.chars()));
    let after = length(&mut text[before..].chars().rev().zip(other[before..].chars().rev()));
    (before + after < text.len() || text.len() != other.len())
        .then(|| before..(text.len() - after).max(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_must_pair_up_around_the_same_text() {
        assert_eq!(between("a(b)c()", '(', ')', "abc"), Some(vec![1..2, 3..3]));
        for other in ["a(bc", "ab)c", "a(b(c))", "a(x)c"] {
            assert_eq!(between(other, '(', ')', "abc"), None, "{other}");
        }
    }

    #[test]
    fn a_difference_is_exact_around_a_mark_and_wide_otherwise() {
        assert_eq!(differ("a\nhi\n\nb", "a\nM\n\nb", "M"), Some(2..4));
        // The content ends with what follows it.
        assert_eq!(differ("a\nhi\n\n", "a\nM\n", "M"), Some(2..5));
        assert_eq!(differ("ab", "aMb", "M"), Some(1..1));
        assert_eq!(differ("xxHIyy", "xxhiMyy", "M"), Some(2..4));
        assert_eq!(differ("same", "same", "M"), None);
    }
}
