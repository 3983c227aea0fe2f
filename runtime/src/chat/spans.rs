//! Where the content of each message stands in the rendered text.
//!
//! ```text
//! the dialogue itself     <s>User: Hi there\nAssistant: Ho</s>\n
//! each content a mark     <s>User: *0*\nAssistant: *1*</s>\n
//!                         literals "<s>User: ", "\nAssistant: ", "</s>\n" + contents = the text?  done
//! else one at a time      <s>User: Hi there\nAssistant: *1*</s>\n
//!                         what stands before and after the mark is the same in both; the rest is content
//! ```
//! The second way holds for a template that trims, cuts or rewrites a content.

use core::ops::Range;

use super::Template;
use crate::dialogue::Message;

/// A character that neither the text nor a content has; from a private plane.
fn unused(text: &str, messages: &[Message]) -> Option<char> {
    let free = |c: &char| !text.contains(*c) && messages.iter().all(|m| !m.content.contains(*c));
    ('\u{f0000}'..='\u{f00ff}').find(free)
}

/// The byte range of each message's content in `text`, `None` where it is not shown.
pub(super) fn locate(
    template: &Template,
    messages: &[Message],
    prompt: bool,
    text: &str,
) -> Vec<Option<Range<usize>>> {
    let Some(c) = unused(text, messages) else {
        // 256 private characters in one dialogue: nothing in it is trusted.
        return messages.iter().map(|_| Some(0..text.len())).collect();
    };
    let marked = |which: &dyn Fn(usize) -> bool| {
        let mark = |(i, m): (usize, &Message)| match which(i) {
            true => Message::new(m.role, format!("{c}{i}{c}")),
            false => m.clone(),
        };
        let messages: Vec<Message> = messages.iter().enumerate().map(mark).collect();
        template.render(&messages, prompt).ok()
    };
    if let Some(all) = marked(&|_| true)
        && let Some(places) = literals(&all, c, messages.len())
    {
        for shown in [str::to_owned, |content: &str| content.trim().to_owned()] {
            if let Some(found) = align(&all, &places, messages, text, shown) {
                return found;
            }
        }
    }
    let alone = |i| match marked(&|j| i == j) {
        Some(other) => differ(text, &other, &format!("{c}{i}{c}")),
        None => Some(0..text.len()),
    };
    (0..messages.len()).map(alone).collect()
}

/// Message and byte range of each mark, in order; `None` if one occurs twice.
fn literals(all: &str, c: char, count: usize) -> Option<Vec<(usize, Range<usize>)>> {
    let mut places = Vec::new();
    let mut seen = vec![false; count];
    let mut at = 0;
    while let Some(open) = all[at..].find(c).map(|i| at + i) {
        let digits = open + c.len_utf8();
        let close = digits + all[digits..].find(c)?;
        let i: usize = all[digits..close].parse().ok()?;
        if core::mem::replace(seen.get_mut(i)?, true) {
            return None;
        }
        at = close + c.len_utf8();
        places.push((i, open..at));
    }
    Some(places)
}

/// Puts `shown` contents in the place of the marks; the places, if the result is `text`.
fn align(
    all: &str,
    places: &[(usize, Range<usize>)],
    messages: &[Message],
    text: &str,
    shown: fn(&str) -> String,
) -> Option<Vec<Option<Range<usize>>>> {
    let mut found = vec![None; messages.len()];
    let (mut at, mut done) = (0, 0);
    for (i, mark) in places {
        let literal = &all[done..mark.start];
        at += text[at..].strip_prefix(literal).map(|_| literal.len())?;
        let content = shown(&messages[*i].content);
        text[at..].strip_prefix(content.as_str())?;
        found[*i] = Some(at..at + content.len());
        at += content.len();
        done = mark.end;
    }
    (text[at..] == all[done..]).then_some(found)
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
    fn a_difference_is_exact_around_a_mark_and_wide_otherwise() {
        assert_eq!(differ("a\nhi\n\nb", "a\nM\n\nb", "M"), Some(2..4));
        // The content ends with what follows it.
        assert_eq!(differ("a\nhi\n\n", "a\nM\n", "M"), Some(2..5));
        assert_eq!(differ("ab", "aMb", "M"), Some(1..1));
        assert_eq!(differ("xxHIyy", "xxhiMyy", "M"), Some(2..4));
        assert_eq!(differ("same", "same", "M"), None);
    }
}
