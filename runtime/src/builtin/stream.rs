//! The stream of one imaginary user: dialogues with repetition, noise and drifting topics, and a
//! held-out part.
//!
//! ```text
//! block 0: mostly domain a   block 1: mostly domain b   ...      (drift)
//!   60% a taste asked for in one of many ways, 15% a question asked before      preferred: the taste
//!   12% a general question, 13% chit-chat and fragments                         preferred: the plain reply
//! held-out: every taste in turn, asked and answered as the stream never does
//! ```
//! The last message of a dialogue is what anybody would reply; `preferred` is what this user wants.

use std::collections::HashSet;

use homespun_core::rng::Rng;

use super::person::{Person, Taste, pick};
use super::world::World;
use crate::dialogue::{Dialogue, Message, Role};

/// How long a stream is and how much there is to know about its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Dialogues of the stream.
    pub dialogues: usize,
    /// Held-out dialogues.
    pub held_out: usize,
    /// Tastes of the user, at most one per slot of the world.
    pub tastes: usize,
}

impl Size {
    /// The stream of the demo.
    pub const DEFAULT: Self = Self { dialogues: 400, held_out: 48, tastes: 20 };
    /// A stream for emulators.
    pub const QUICK: Self = Self { dialogues: 40, held_out: 8, tastes: 4 };
}

/// What one user says over time, and the questions to judge by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The dialogues, oldest first; each ends with the assistant and has `preferred`.
    pub dialogues: Vec<Dialogue>,
    /// Unseen questions about the same tastes; each ends with the reply that the user wants.
    pub held_out: Vec<Dialogue>,
}

/// How many dialogues of a domain come together.
const BLOCK: usize = 24;

/// The stream of the user drawn from `seed`; the same everywhere.
pub fn stream(seed: u64, size: Size) -> Stream {
    let world = World::load();
    let mut rng = Rng::new(seed);
    let person = Person::draw(&world, size.tastes, &mut rng);
    let dialogues = dialogues(&world, &person, size, &mut rng);
    let held_out = held_out(&person, size, &mut rng);
    Stream { dialogues, held_out }
}

/// General questions and chit-chat, and what anybody would answer.
pub fn general() -> Vec<Dialogue> {
    let World { general, chat, .. } = World::load();
    let pairs = general.into_iter().chain(chat);
    let messages = |(q, a): (String, String)| {
        vec![Message::new(Role::User, q), Message::new(Role::Assistant, a)]
    };
    pairs.map(messages).map(Dialogue::new).collect()
}

fn dialogues(world: &World, person: &Person<'_>, size: Size, rng: &mut Rng) -> Vec<Dialogue> {
    let mut domains: Vec<&str> = Vec::new();
    for taste in &person.tastes {
        if !domains.contains(&taste.slot.domain.as_str()) {
            domains.push(&taste.slot.domain);
        }
    }
    let block = BLOCK.min(size.dialogues / 4).max(1);
    let mut asked: Vec<(String, &Taste<'_>)> = Vec::new();
    let mut out = Vec::with_capacity(size.dialogues);
    for i in 0..size.dialogues {
        let kind = rng.below(100);
        let (question, reply, preferred) = if person.tastes.is_empty() || kind >= 75 {
            let noise = if kind < 87 { &world.general } else { &world.chat };
            let (question, reply) = pick(noise, rng);
            (question.clone(), reply.clone(), reply.clone())
        } else {
            let again = kind >= 60 && !asked.is_empty();
            let (question, taste) = if again {
                pick(&asked, rng).clone()
            } else {
                let taste = drifting(&person.tastes, domains[(i / block) % domains.len()], rng);
                (person.ask(taste.slot, rng), taste)
            };
            asked.push((question.clone(), taste));
            (question, pick(&taste.slot.generic, rng).clone(), person.reply(taste, rng))
        };
        out.push(Dialogue {
            messages: vec![
                Message::new(Role::User, question),
                Message::new(Role::Assistant, reply),
            ],
            preferred: Some(preferred),
            id: None,
        });
    }
    out
}

/// A taste, in three of four cases of `domain`.
fn drifting<'p, 'w>(tastes: &'p [Taste<'w>], domain: &str, rng: &mut Rng) -> &'p Taste<'w> {
    if rng.below(4) > 0 {
        let of_domain: Vec<&Taste<'_>> =
            tastes.iter().filter(|taste| taste.slot.domain == domain).collect();
        if !of_domain.is_empty() {
            return of_domain[rng.below(of_domain.len() as u64) as usize];
        }
    }
    pick(tastes, rng)
}

fn held_out(person: &Person<'_>, size: Size, rng: &mut Rng) -> Vec<Dialogue> {
    let mut asked = HashSet::new();
    let mut out = Vec::with_capacity(size.held_out);
    for taste in person.tastes.iter().cycle().take(size.held_out) {
        // A taste has over fifty unseen questions; one that comes twice is drawn again a few times.
        let mut question = person.ask_unseen(taste.slot, rng);
        for _ in 0..20 {
            if !asked.contains(&question) {
                break;
            }
            question = person.ask_unseen(taste.slot, rng);
        }
        asked.insert(question.clone());
        let reply = person.reply_unseen(taste, rng);
        out.push(Dialogue::new(vec![
            Message::new(Role::User, question),
            Message::new(Role::Assistant, reply),
        ]));
    }
    out
}
