//! How a file of dialogues is cut into the stream, a development part and a test part.
//!
//! ```text
//! u       = the first 8 bytes of SHA-256("homespun split 1\n" + name), big-endian, over 2^64
//! name    = the dialogue's id, else its text
//! stream  : u < share.stream          development : u < share.stream + share.development
//! test    : the rest
//! ```
//! Dialogues of the same text (blanks and case aside) go where the first of them goes, so that nothing
//! of the stream can be met again in what it is judged by. Each part keeps the order of the file.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dialogue::Dialogue;

/// The parts of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is learned from.
    Stream,
    /// What choices are made by.
    Development,
    /// What is looked at once.
    Test,
}

/// How much of a file goes where; the rest is for the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// To the stream.
    #[serde(default = "tenth")]
    pub stream: f64,
    /// To the development part.
    #[serde(default = "tenth")]
    pub development: f64,
}

const fn tenth() -> f64 {
    0.1
}

impl Default for Share {
    fn default() -> Self {
        Self { stream: tenth(), development: tenth() }
    }
}

impl Share {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<&'static str> {
        let good = |share: f64| share.is_finite() && (0.0..=1.0).contains(&share);
        match (good(self.stream), good(self.development)) {
            (false, _) => Some("stream must be a share from 0 to 1"),
            (_, false) => Some("development must be a share from 0 to 1"),
            _ if self.stream + self.development > 1.0 => {
                Some("stream and development are more than 1 together")
            }
            _ if self.stream == 0.0 => Some("stream must be more than 0"),
            _ => None,
        }
    }
}

/// A number in `[0, 1)` that depends on `name` alone.
fn unit(name: &str) -> f64 {
    let digest = Sha256::new().chain_update("homespun split 1\n").chain_update(name).finalize();
    let first = digest.iter().take(8).fold(0u64, |n, &byte| n << 8 | u64::from(byte));
    // 53 bits, which an f64 holds without rounding up to 1.
    (first >> 11) as f64 / (1u64 << 53) as f64
}

/// The part of a dialogue of that name.
pub fn part_of(name: &str, share: Share) -> Part {
    match unit(name) {
        u if u < share.stream => Part::Stream,
        u if u < share.stream + share.development => Part::Development,
        _ => Part::Test,
    }
}

/// The text by which two dialogues are the same: in lower case, every run of blanks a space.
fn folded(dialogue: &Dialogue) -> String {
    let text = dialogue.text().to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Stream, development and test part of `dialogues`.
pub fn split(dialogues: Vec<Dialogue>, share: Share) -> [Vec<Dialogue>; 3] {
    let mut groups: HashMap<String, Part> = HashMap::new();
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for dialogue in dialogues {
        let text = folded(&dialogue);
        let own = || part_of(dialogue.id.as_deref().unwrap_or(&text), share);
        let part = match groups.get(&text) {
            Some(&part) => part,
            None => own(),
        };
        groups.insert(text, part);
        parts[part as usize].push(dialogue);
    }
    parts
}

/// The first dialogue of `held_out` whose text is in `stream`: its index, and the stream's.
pub fn overlap(stream: &[Dialogue], held_out: &[Dialogue]) -> Option<(usize, usize)> {
    let mut texts: HashMap<String, usize> = HashMap::new();
    for (i, dialogue) in stream.iter().enumerate() {
        texts.entry(folded(dialogue)).or_insert(i);
    }
    let same = |(i, dialogue): (usize, &Dialogue)| Some((i, *texts.get(&folded(dialogue))?));
    held_out.iter().enumerate().find_map(same)
}

/// At most `most` of `dialogues`, in their order: those of the smallest hash, a sample that does not
/// depend on where a topic lies in the file.
pub fn sample(dialogues: Vec<Dialogue>, most: usize) -> Vec<Dialogue> {
    if dialogues.len() <= most {
        return dialogues;
    }
    let draw = |dialogue: &Dialogue| {
        let name = dialogue.id.clone().unwrap_or_else(|| folded(dialogue));
        unit(&format!("sample {name}"))
    };
    let mut order: Vec<(f64, usize)> =
        dialogues.iter().enumerate().map(|(i, dialogue)| (draw(dialogue), i)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    order.truncate(most);
    let mut taken = vec![false; dialogues.len()];
    order.iter().for_each(|&(_, i)| taken[i] = true);
    dialogues.into_iter().zip(taken).filter(|(_, taken)| *taken).map(|(one, _)| one).collect()
}

/// How messages name a dialogue: its id, else its place among the dialogues of its file.
pub fn name(dialogue: &Dialogue, at: usize) -> String {
    match &dialogue.id {
        Some(id) => format!("{id:?}"),
        None => format!("dialogue {}", at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::{Message, Role};

    fn dialogue(id: usize, text: &str) -> Dialogue {
        let messages = vec![Message::new(Role::User, text), Message::new(Role::Assistant, "Yes.")];
        Dialogue { id: Some(format!("d{id}")), ..Dialogue::new(messages) }
    }

    fn many(n: usize) -> Vec<Dialogue> {
        (0..n).map(|i| dialogue(i, &format!("Is {i} a number?"))).collect()
    }

    #[test]
    fn parts_have_their_shares_keep_the_order_and_depend_on_the_id_alone() {
        let share = Share { stream: 0.2, development: 0.3 };
        let all = many(4000);
        let parts = split(all.clone(), share);
        for (part, expected) in parts.iter().zip([800.0, 1200.0, 2000.0]) {
            assert!((part.len() as f64 - expected).abs() < 120.0, "{}", part.len());
            let at = |d: &Dialogue| all.iter().position(|one| one == d).unwrap();
            assert!(part.is_sorted_by_key(at));
        }
        let mut backwards = all;
        backwards.reverse();
        let again = split(backwards, share);
        for (part, other) in parts.iter().zip(again) {
            assert!(part.iter().eq(other.iter().rev()));
        }
        // The value that the first line of this file defines, from Python's hashlib.
        assert_eq!(part_of("d1", Share { stream: unit("d1"), development: 0.0 }), Part::Test);
        assert!((unit("empathetic_test-00000") - 0.601_560_419_932_726).abs() < 1e-15);
    }

    #[test]
    fn a_split_that_leaks_is_caught_and_ours_does_not_leak() {
        let mut all = many(300);
        all.extend((0..300).map(|i| dialogue(1000 + i, &format!("  is {i} A number? "))));
        let share = Share { stream: 0.3, development: 0.3 };
        let [stream, development, test] = split(all.clone(), share);
        assert_eq!((overlap(&stream, &development), overlap(&stream, &test)), (None, None));
        // The planted bug: each dialogue by its own id, whatever its text.
        let of = |part: Part| -> Vec<Dialogue> {
            let of = |d: &&Dialogue| part_of(d.id.as_deref().unwrap(), share) == part;
            all.iter().filter(of).cloned().collect()
        };
        let (stream, test) = (of(Part::Stream), of(Part::Test));
        let (i, j) = overlap(&stream, &test).expect("a leak");
        assert_eq!(folded(&test[i]), folded(&stream[j]));
    }

    #[test]
    fn shares_are_shares() {
        let bad = [(0.6, 0.5), (-0.1, 0.1), (0.1, f64::NAN), (0.0, 0.5), (1.1, 0.0)];
        for (stream, development) in bad {
            assert!(Share { stream, development }.problem().is_some(), "{stream} {development}");
        }
        assert_eq!(Share::default().problem(), None);
    }

    #[test]
    fn a_sample_is_spread_and_in_order() {
        let all = many(1000);
        let some = sample(all.clone(), 100);
        assert_eq!(some.len(), 100);
        let at: Vec<usize> =
            some.iter().map(|d| all.iter().position(|one| one == d).unwrap()).collect();
        assert!(at.is_sorted() && at[50] > 300 && at[50] < 700, "{at:?}");
        assert_eq!(sample(all.clone(), 5000), all);
    }
}
