//! Finds added tokens in a text: leftmost, then longest, as the tokenizers crate does, but asks
//! before it takes one.

use core::ops::Range;

use tokenizers::{AddedToken, NormalizedString, Normalizer, NormalizerWrapper};

/// One added token and how it is found.
pub(super) struct Pattern {
    text: String,
    /// The part of `text` that is not its surrounding space.
    core: Range<usize>,
    pub(super) id: u32,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
}

/// The patterns by their first byte, the longest first.
pub(super) struct Matcher {
    by_first: Vec<Vec<Pattern>>,
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '▁'
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Matcher {
    /// Looks for `added` tokens as they are spelled, or in the normal form that `normalizer` gives.
    pub(super) fn new<'a>(
        added: impl IntoIterator<Item = (&'a u32, &'a AddedToken)>,
        normalizer: Option<&NormalizerWrapper>,
    ) -> Self {
        let mut by_first: Vec<Vec<Pattern>> = (0..256).map(|_| Vec::new()).collect();
        for (&id, token) in added {
            let mut text = NormalizedString::from(token.content.as_str());
            if let Some(normalizer) = normalizer
                && normalizer.normalize(&mut text).is_err()
            {
                continue;
            }
            let text = text.get().to_owned();
            let Some(&first) = text.as_bytes().first() else { continue };
            let trimmed = text.trim_matches(is_space);
            let core = match trimmed.is_empty() {
                true => 0..text.len(),
                false => {
                    let start = text.len() - text.trim_start_matches(is_space).len();
                    start..start + trimmed.len()
                }
            };
            let AddedToken { single_word, lstrip, rstrip, .. } = *token;
            by_first[usize::from(first)].push(Pattern {
                text,
                core,
                id,
                single_word,
                lstrip,
                rstrip,
            });
        }
        for patterns in &mut by_first {
            patterns.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.id.cmp(&b.id)));
        }
        Self { by_first }
    }

    /// Cuts `text` into added tokens (with their id) and what lies between. `take` is asked with the
    /// id and the span of the token proper, without the space around it that it may swallow.
    pub(super) fn split(
        &self,
        text: &str,
        take: impl Fn(u32, Range<usize>) -> bool,
    ) -> Vec<(Option<u32>, Range<usize>)> {
        let mut pieces = Vec::new();
        let (mut done, mut at) = (0, 0);
        while at < text.len() {
            let bytes = text.as_bytes();
            let found = self.by_first[usize::from(bytes[at])].iter().find(|p| {
                bytes[at..].starts_with(p.text.as_bytes())
                    && take(p.id, at + p.core.start..at + p.core.end)
            });
            let Some(pattern) = found else {
                at += 1;
                continue;
            };
            let (mut start, mut end) = (at, at + pattern.text.len());
            at = end;
            if pattern.single_word {
                let inside = text[..start].ends_with(is_word) || text[end..].starts_with(is_word);
                if inside {
                    continue;
                }
            }
            if pattern.lstrip {
                start = text[..start].trim_end().len().max(done);
            }
            if pattern.rstrip {
                end += text[end..].len() - text[end..].trim_start().len();
            }
            // A token within the space that the last one swallowed.
            let start = start.max(done);
            let end = end.max(start);
            if done < start {
                pieces.push((None, done..start));
            }
            pieces.push((Some(pattern.id), start..end));
            done = end;
        }
        if done < text.len() {
            pieces.push((None, done..text.len()));
        }
        pieces
    }
}
