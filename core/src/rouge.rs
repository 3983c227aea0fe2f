//! ROUGE-1 (Lin 2004) as Google's `rouge_score` computes it without stemming.
//!
//! ```text
//! words     lower-case the text, take the runs of [a-z0-9]
//! overlap   sum over distinct words w of min(times in candidate, times in reference)
//! precision overlap / words of candidate      recall  overlap / words of reference
//! f1        2 precision recall / (precision + recall), 0 where both are 0
//! ```
//!
//! Lower-casing is Unicode's, so U+212A KELVIN SIGN is a `k`, and U+0130 is an `i` followed by a
//! combining dot, which ends the word.

use core::cmp::Ordering;

/// The three figures, each in `0..=1`; 0 where a side has no words.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rouge1 {
    /// Matched words over the candidate's words.
    pub precision: f64,
    /// Matched words over the reference's words.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// ROUGE-1 of `candidate` against `reference`, in time words x words and no memory.
///
/// For long texts lend memory to [`rouge1_in`].
pub fn rouge1(reference: &str, candidate: &str) -> Rouge1 {
    rouge1_in(reference, candidate, &mut [])
}

/// [`rouge1`] by sorting, in time words x log words, where `scratch` holds the words of both
/// texts; else as slow as that. The result is the same.
pub fn rouge1_in<'a>(reference: &'a str, candidate: &'a str, scratch: &mut [&'a str]) -> Rouge1 {
    let (in_reference, in_candidate) = (words(reference).count(), words(candidate).count());
    let matched = match scratch.get_mut(..in_reference + in_candidate) {
        Some(scratch) if in_reference > 0 && in_candidate > 0 => {
            let (left, right) = scratch.split_at_mut(in_reference);
            overlap_sorted(sorted(left, reference), sorted(right, candidate))
        }
        _ => overlap(reference, candidate),
    };
    let over = |words: usize| matched as f64 / words.max(1) as f64;
    let (precision, recall) = (over(in_candidate), over(in_reference));
    let f1 = if matched == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    Rouge1 { precision, recall, f1 }
}

/// The words of `text` as they stand there, not lower-cased.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    core::iter::from_fn(move || {
        let mut start = None;
        for (at, c) in rest.char_indices() {
            let after = at + c.len_utf8();
            let cut = match (fold(c), start) {
                (Fold::Word(_), None) => {
                    start = Some(at);
                    continue;
                }
                (Fold::Word(_), Some(_)) => continue,
                (Fold::Last(_), begun) => Some((begun.unwrap_or(at), after, after)),
                (Fold::Other, Some(begun)) => Some((begun, at, after)),
                (Fold::Other, None) => None,
            };
            if let Some((begin, end, next)) = cut {
                let word = &rest[begin..end];
                rest = &rest[next..];
                return Some(word);
            }
        }
        let word = start.map(|begin| &rest[begin..]);
        rest = "";
        word
    })
}

/// What a character is once lower-cased.
enum Fold {
    /// One of `[a-z0-9]`.
    Word(u8),
    /// One of `[a-z0-9]` and then something else, which ends the word.
    Last(u8),
    /// Neither.
    Other,
}

fn fold(c: char) -> Fold {
    if c.is_ascii_alphanumeric() {
        return Fold::Word(c.to_ascii_lowercase() as u8);
    }
    if c.is_ascii() {
        return Fold::Other;
    }
    let mut lower = c.to_lowercase();
    match lower.next() {
        Some(first) if first.is_ascii_alphanumeric() => match lower.next() {
            None => Fold::Word(first as u8),
            Some(_) => Fold::Last(first as u8),
        },
        _ => Fold::Other,
    }
}

/// Compares two words lower-cased.
fn compare(a: &str, b: &str) -> Ordering {
    fn letters(word: &str) -> impl Iterator<Item = u8> + '_ {
        word.chars().filter_map(|c| match fold(c) {
            Fold::Word(byte) | Fold::Last(byte) => Some(byte),
            Fold::Other => None,
        })
    }
    letters(a).cmp(letters(b))
}

/// A word of the reference counts if the candidate has it more often than the reference so far.
fn overlap(reference: &str, candidate: &str) -> usize {
    let times = |text, word| words(text).filter(|w| compare(w, word).is_eq()).count();
    words(reference)
        .enumerate()
        .filter(|&(at, word)| {
            let before = words(reference).take(at).filter(|w| compare(w, word).is_eq()).count();
            before < times(candidate, word)
        })
        .count()
}

fn sorted<'a, 's>(into: &'s mut [&'a str], text: &'a str) -> &'s [&'a str] {
    for (slot, word) in into.iter_mut().zip(words(text)) {
        *slot = word;
    }
    into.sort_unstable_by(|a, b| compare(a, b));
    into
}

/// Merges two sorted lists and counts the pairs.
fn overlap_sorted(a: &[&str], b: &[&str]) -> usize {
    let (mut i, mut j, mut pairs) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match compare(a[i], b[j]) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => (i, j, pairs) = (i + 1, j + 1, pairs + 1),
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_lower_case_ascii() {
        let found: Vec<&str> = words("  It's 2nd-best, \u{212A}g! \u{130}x na\u{ef}ve").collect();
        assert_eq!(found, ["It", "s", "2nd", "best", "\u{212A}g", "\u{130}", "x", "na", "ve"]);
    }

    #[test]
    fn every_character_folds_to_ascii_in_its_first_place_only() {
        for c in '\0'..=char::MAX {
            assert!(c.to_lowercase().skip(1).all(|l| !l.is_ascii_alphanumeric()), "{c:?}");
        }
    }

    #[test]
    fn figures_match_hand_counts() {
        // overlap: the, cat, the -> 3; candidate 4 words, reference 6.
        let r = rouge1("The cat sat on the mat", "the the THE cat");
        assert_eq!((r.precision, r.recall), (0.75, 0.5));
        assert!((r.f1 - 0.6).abs() < 1e-12);
    }

    #[test]
    fn no_words_on_a_side_give_zero() {
        for (a, b) in [("", ""), ("", "a"), ("a", ""), ("!?", "\u{1F600}")] {
            assert_eq!(rouge1(a, b), Rouge1::default());
        }
    }

    #[test]
    fn sorting_and_counting_agree() {
        let texts = ["a b a c", "A-b B b", "\u{130} i \u{212A} k", "", "x y z x y z a"];
        for a in texts {
            for b in texts {
                assert_eq!(rouge1(a, b), rouge1_in(a, b, &mut [""; 32]));
            }
        }
    }
}
