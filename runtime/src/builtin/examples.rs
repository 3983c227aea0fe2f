//! What can be asked of the built-in model, for people who do not know it.

use super::world::{World, question};

/// What the model knows answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examples {
    /// What its questions are about.
    pub domains: Vec<String>,
    /// A question about each, what is general last.
    pub questions: Vec<String>,
}

/// Examples from the world that the model was trained in; a test has it answer each.
pub fn examples() -> Examples {
    let world = World::load();
    let (mut domains, mut questions) = (Vec::new(), Vec::new());
    for slot in &world.slots {
        if let (false, Some(frame), Some(ask)) =
            (domains.contains(&slot.domain), world.frames.first(), slot.asks.first())
        {
            domains.push(slot.domain.clone());
            questions.push(question(frame, ask));
        }
    }
    questions.extend(world.general.first().map(|(question, _)| question.clone()));
    Examples { domains, questions }
}
