//! An imaginary person: the tastes drawn for a seed, and how the person asks and replies.
//!
//! ```text
//! taste   slot tea -> "smoked fennel tea with two cloves", detail "in the tall green mug"
//! reply   lead + taste [+ ", " + detail] + "."
//! ```

use homespun_core::rng::Rng;

use super::world::{Slot, World, capitalised, question};

/// How many ways to begin a reply one person has.
const LEADS: usize = 3;

/// One taste of the person.
#[derive(Debug)]
pub(super) struct Taste<'w> {
    /// What it is a taste in.
    pub slot: &'w Slot,
    /// The taste in four to eight words.
    pub phrase: String,
    /// What the person likes to add.
    pub detail: String,
}

/// The person.
#[derive(Debug)]
pub(super) struct Person<'w> {
    world: &'w World,
    /// The tastes, in random order.
    pub tastes: Vec<Taste<'w>>,
    leads: Vec<&'w str>,
    unseen_leads: Vec<&'w str>,
}

impl<'w> Person<'w> {
    /// Draws a person with `tastes` tastes, or one in every slot if there are fewer slots.
    pub fn draw(world: &'w World, tastes: usize, rng: &mut Rng) -> Self {
        let mut slots: Vec<&Slot> = world.slots.iter().collect();
        rng.shuffle(&mut slots);
        slots.truncate(tastes);
        let tastes = slots.into_iter().map(|slot| Taste::draw(world, slot, rng)).collect();
        let mut some = |leads: &'w [String]| {
            let mut leads: Vec<&str> = leads.iter().map(String::as_str).collect();
            rng.shuffle(&mut leads);
            leads.truncate(LEADS);
            leads
        };
        let (leads, unseen_leads) = (some(&world.leads), some(&world.unseen_leads));
        Self { world, tastes, leads, unseen_leads }
    }

    /// A question of the stream about `slot`.
    pub fn ask(&self, slot: &Slot, rng: &mut Rng) -> String {
        let asked = question(text(&self.world.frames, rng), pick(&slot.asks, rng));
        dress(text(&self.world.openings, rng), asked, rng)
    }

    /// A question about `slot` as the stream never puts it: an unseen frame, an unseen ask, or both.
    pub fn ask_unseen(&self, slot: &Slot, rng: &mut Rng) -> String {
        let (unseen_frame, unseen_ask) = match rng.below(3) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        let frames = if unseen_frame { &self.world.unseen_frames } else { &self.world.frames };
        let asks = if unseen_ask { &slot.unseen } else { &slot.asks };
        question(text(frames, rng), pick(asks, rng))
    }

    /// What the person wants to hear, in the stream's words.
    pub fn reply(&self, taste: &Taste<'_>, rng: &mut Rng) -> String {
        let with_detail = rng.below(10) < 6;
        taste.said(text(&self.leads, rng), with_detail)
    }

    /// The same in words that the stream never uses.
    pub fn reply_unseen(&self, taste: &Taste<'_>, rng: &mut Rng) -> String {
        let with_detail = rng.below(10) < 5;
        taste.said(text(&self.unseen_leads, rng), with_detail)
    }
}

impl<'w> Taste<'w> {
    fn draw(world: &'w World, slot: &'w Slot, rng: &mut Rng) -> Self {
        let mut phrase = slot.taste.clone();
        for (i, pool) in slot.pools.iter().enumerate() {
            phrase = phrase.replace(&format!("{{{i}}}"), text(pool, rng));
        }
        let (name, place) = (text(&world.names, rng), text(&world.places, rng));
        let detail = text(&slot.details, rng).replace("{name}", text(&world.names, rng));
        Self { slot, phrase: phrase.replace("{name}", name).replace("{place}", place), detail }
    }

    fn said(&self, lead: &str, with_detail: bool) -> String {
        let start = format!("{lead}{}", self.phrase);
        let detail = if with_detail { format!(", {}", self.detail) } else { String::new() };
        format!("{}{detail}.", capitalised(&start))
    }
}

/// One of `items`, all equally likely.
///
/// # Panics
/// If there are none.
pub(super) fn pick<'a, T>(items: &'a [T], rng: &mut Rng) -> &'a T {
    &items[rng.below(items.len() as u64) as usize]
}

/// One of some texts, as [`pick`].
fn text<'a, S: AsRef<str>>(items: &'a [S], rng: &mut Rng) -> &'a str {
    pick(items, rng).as_ref()
}

/// A question as it is typed: an opening, now and then two letters swapped, or all in lower case.
fn dress(opening: &str, asked: String, rng: &mut Rng) -> String {
    let mut text = if opening.is_empty() { asked } else { format!("{opening}{}", lowered(&asked)) };
    if rng.below(100) < 6 {
        let mut letters: Vec<char> = text.chars().collect();
        let at = 1 + rng.below(letters.len().saturating_sub(3) as u64) as usize;
        letters.swap(at, at + 1);
        text = letters.into_iter().collect();
    }
    if rng.below(100) < 6 { text.to_lowercase() } else { text }
}

/// `text` with its first letter in lower case, the word "I" aside.
fn lowered(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !text.starts_with("I ") => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_a_lead_the_taste_and_perhaps_the_detail() {
        let world = World::load();
        let person = Person::draw(&world, 5, &mut Rng::new(8));
        let mut rng = Rng::new(9);
        for taste in &person.tastes {
            let words = taste.phrase.split(' ').count();
            assert!((3..=10).contains(&words), "{}", taste.phrase);
            assert!(!format!("{}{}", taste.phrase, taste.detail).contains(['{', '}']));
            for _ in 0..20 {
                let (seen, unseen) =
                    (person.reply(taste, &mut rng), person.reply_unseen(taste, &mut rng));
                assert!(seen.contains(&taste.phrase[1..]) && unseen.contains(&taste.phrase[1..]));
                assert!(world.unseen_leads.iter().any(|lead| unseen.starts_with(lead.as_str())));
                assert!(!world.unseen_leads.iter().any(|lead| seen.starts_with(lead.as_str())));
            }
        }
    }

    #[test]
    fn a_person_has_a_taste_in_each_slot_at_most_once() {
        let world = World::load();
        let person = Person::draw(&world, usize::MAX, &mut Rng::new(1));
        let mut names: Vec<&str> = person.tastes.iter().map(|t| t.slot.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), world.slots.len());
    }

    #[test]
    fn typing_keeps_the_letters_and_now_and_then_swaps_two() {
        let asked = "Which tea should I make?";
        let letters = |text: &str| {
            let mut letters: Vec<char> = text.to_lowercase().chars().collect();
            letters.sort_unstable();
            letters
        };
        let mut rng = Rng::new(3);
        let typed: Vec<String> = (0..300).map(|_| dress("", asked.to_owned(), &mut rng)).collect();
        assert!(typed.iter().all(|text| letters(text) == letters(asked)));
        let changed = typed.iter().filter(|text| *text != asked).count();
        assert!((10..80).contains(&changed), "{changed} of 300");
        assert_eq!(dress("Hey, ", "I do.".to_owned(), &mut Rng::new(0)), "Hey, I do.");
        assert_eq!(lowered("Tell me."), "tell me.");
    }
}
