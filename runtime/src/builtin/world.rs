//! The built-in world: what people ask, what anybody would answer, and the words tastes are made of.
//!
//! ```text
//! question  frame "{Wh} should I {vp}?" + ask ("which tea", "make")  ->  "Which tea should I make?"
//! taste     pattern "{0} {1} with {2}" + one word or phrase of each pool
//! ```
//! The base model learns the seen frames, the seen asks and the generic replies of `world.json`; the
//! unseen ones are for held-out questions alone.

use serde::Deserialize;

/// The file that this module reads; the base's corpus generator reads it too.
const WORLD: &str = include_str!("world.json");

/// All of `world.json`.
#[derive(Debug, Deserialize)]
pub(super) struct World {
    /// Ways to put a question, with `{Wh}` or `{wh}` and `{vp}`.
    pub frames: Vec<String>,
    /// More of them, for held-out questions.
    pub unseen_frames: Vec<String>,
    /// How replies of the stream begin.
    pub leads: Vec<String>,
    /// How held-out replies begin.
    pub unseen_leads: Vec<String>,
    /// How questions of the stream begin; most of them empty.
    pub openings: Vec<String>,
    /// People.
    pub names: Vec<String>,
    /// Places.
    pub places: Vec<String>,
    /// What a person can have a taste in.
    pub slots: Vec<Slot>,
    /// Chit-chat and its answer.
    pub chat: Vec<(String, String)>,
    /// General questions and their answer.
    pub general: Vec<(String, String)>,
}

/// Something that a person can have a taste in.
#[derive(Debug, Deserialize)]
pub(super) struct Slot {
    /// Its name, for messages of tests.
    #[cfg(test)]
    #[serde(rename = "slot")]
    pub name: String,
    /// The domain that it belongs to.
    pub domain: String,
    /// Question word and verb phrase, for the stream and the base.
    pub asks: Vec<(String, String)>,
    /// More of them, for held-out questions.
    pub unseen: Vec<(String, String)>,
    /// What anybody would answer.
    pub generic: Vec<String>,
    /// The pattern of a taste: `{0}`, `{1}`.. are the pools, `{name}` and `{place}` as said.
    pub taste: String,
    /// What the pattern's numbers choose from.
    pub pools: Vec<Vec<String>>,
    /// What may be added to a taste.
    pub details: Vec<String>,
}

impl World {
    /// Reads the embedded file.
    ///
    /// # Panics
    /// If the file that this was compiled with is damaged, which a test excludes.
    pub fn load() -> Self {
        match serde_json::from_str(WORLD) {
            Ok(world) => world,
            Err(error) => panic!("builtin/world.json: {error}"),
        }
    }
}

/// The question of `frame` about `ask`.
pub(super) fn question(frame: &str, ask: &(String, String)) -> String {
    let (wh, vp) = ask;
    frame.replace("{Wh}", &capitalised(wh)).replace("{wh}", wh).replace("{vp}", vp)
}

/// `text` with its first letter in upper case.
pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_question_is_its_frame_filled_with_an_ask() {
        let ask = ("which tea".to_owned(), "make".to_owned());
        assert_eq!(question("{Wh} should I {vp}?", &ask), "Which tea should I make?");
        assert_eq!(question("Tell me {wh} to {vp}.", &ask), "Tell me which tea to make.");
        assert_eq!(capitalised(""), "");
    }

    #[test]
    fn every_slot_can_be_asked_answered_and_filled() {
        let world = World::load();
        let mut names = HashSet::new();
        for slot in &world.slots {
            assert!(names.insert(&slot.name), "{} twice", slot.name);
            assert!(slot.asks.len() >= 2 && slot.unseen.len() >= 2, "{}", slot.name);
            assert!(slot.generic.len() >= 3 && slot.details.len() >= 2, "{}", slot.name);
            for (i, pool) in slot.pools.iter().enumerate() {
                assert!(slot.taste.contains(&format!("{{{i}}}")), "{} pool {i}", slot.name);
                assert!(pool.len() >= 6, "{} pool {i}", slot.name);
            }
            assert!(!slot.taste.contains(&format!("{{{}}}", slot.pools.len())), "{}", slot.name);
        }
        assert!(world.slots.len() >= 28);
    }

    #[test]
    fn seen_and_unseen_questions_and_leads_share_nothing() {
        let world = World::load();
        let leads: HashSet<&String> = world.leads.iter().collect();
        assert!(world.unseen_leads.iter().all(|lead| !leads.contains(lead)));
        let frames: HashSet<&String> = world.frames.iter().collect();
        assert!(world.unseen_frames.iter().all(|frame| !frames.contains(frame)));
        for slot in &world.slots {
            assert!(slot.unseen.iter().all(|ask| !slot.asks.contains(ask)), "{}", slot.name);
        }
    }
}
