//! GPT-2's words (Radford et al. 2019), found by hand where others have a regular expression.
//!
//! ```text
//! 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! ```
//! Which characters are letters and numbers lies in the image, as the tokenizers crate saw it.

/// What `'` may begin.
const ENDINGS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

/// Bytes of the first word of `text`, which is not empty; with `digits` each of them is one alone.
pub(super) fn word(text: &str, digits: bool, letters: &[[u32; 2]], numbers: &[[u32; 2]]) -> usize {
    let class = |c: char| match c {
        'a'..='z' | 'A'..='Z' => Class::Letter,
        '0'..='9' => Class::Number,
        c if c.is_whitespace() => Class::Space,
        c if c.is_ascii() => Class::Other,
        c if within(letters, c) => Class::Letter,
        c if within(numbers, c) => Class::Number,
        _ => Class::Other,
    };
    // A digit that is a word of its own ends the text before it, too.
    let digit = |c: char| digits && class(c) == Class::Number;
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    if digit(first) {
        return first.len_utf8();
    }
    let text = &text[..text.find(digit).unwrap_or(text.len())];
    if let Some(ending) = ENDINGS.iter().find(|ending| text.starts_with(**ending)) {
        return ending.len();
    }
    let run = |from: usize, wanted: Class| {
        let rest = &text[from..];
        from + rest.find(|c| class(c) != wanted).unwrap_or(rest.len())
    };
    if first == ' '
        && let Some(next) = text[1..].chars().next()
        && class(next) != Class::Space
    {
        return run(1, class(next));
    }
    match class(first) {
        Class::Space => {
            let end = run(0, Class::Space);
            let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
            // A word that follows keeps the last one for itself.
            if end == text.len() || last == end { end } else { end - last }
        }
        other => run(0, other),
    }
}

/// Whether one of the ranges, which are sorted, holds `c`.
fn within(ranges: &[[u32; 2]], c: char) -> bool {
    let c = u32::from(c);
    let next = ranges.partition_point(|&[_, last]| last < c);
    ranges.get(next).is_some_and(|&[first, _]| first <= c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(mut text: &str, digits: bool) -> Vec<&str> {
        let mut words = Vec::new();
        while !text.is_empty() {
            let (word, rest) = text.split_at(word(text, digits, &[[0xC0, 0xD6]], &[[0xB2, 0xB3]]));
            words.push(word);
            text = rest;
        }
        words
    }

    #[test]
    fn words_are_those_of_the_expression() {
        for (text, expected) in [
            ("Hi, you're  here", &["Hi", ",", " you", "'re", " ", " here"][..]),
            ("a\n\n b \n", &["a", "\n\n", " b", " \n"]),
            (" '' 'sad", &[" ''", " '", "sad"]),
            ("x12 3²!", &["x", "12", " 3²", "!"]),
            ("Öx\u{a0}y", &["Öx", "\u{a0}", "y"]),
            ("  \u{3000}a", &["  ", "\u{3000}", "a"]),
            ("'x", &["'", "x"]),
            (" ", &[" "]),
        ] {
            assert_eq!(words(text, false), expected, "{text:?}");
        }
        assert_eq!(words("a 12  3b", true), ["a", " ", "1", "2", "  ", "3", "b"]);
    }
}
