//! Two ways of living with a person: as the paper's experiment does, and as a device would.

use homespun_core::lora::{LoraConfig, Targets};
use homespun_core::schedule::Schedule;

use crate::chat::Loss;
use crate::tune::{Length, Options};

/// When a round starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// After so many dialogues of the stream, and at its end.
    Dialogues(u64),
    /// Once so many buffered dialogues have no annotation yet, and at the stream's end if there are
    /// as many then.
    Unannotated(usize),
}

/// Everything that a round depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// When.
    pub trigger: Trigger,
    /// Synthesised questions tried for each annotated one.
    pub synth: usize,
    /// The adapter's shape.
    pub lora: LoraConfig,
    /// How it is trained; `length` is the longest it may take.
    pub train: Options,
    /// Which tokens are learned.
    pub mode: Loss,
    /// At most this many tokens a dialogue.
    pub max_length: usize,
    /// Stop after so many epochs without a better loss on the held-out tenth; 0 holds nothing out
    /// and trains the whole length.
    pub patience: usize,
    /// Where the held-out tenth would be fewer dialogues than this, none is held out: so few do not
    /// tell a good epoch from a bad one, and are better learned from.
    pub least_held_out: usize,
    /// Tokens of a reply, when evaluating.
    pub reply_tokens: usize,
}

/// METHOD of the paper: a round every 800 dialogues, batch 128, learning rate 3e-4, loss on prompt
/// and response, at most 100 epochs with early stopping.
pub const PAPER: Plan = Plan {
    trigger: Trigger::Dialogues(800),
    synth: 3,
    lora: LoraConfig::new(8, 16.0, 0.05, Targets::ATTENTION),
    train: Options {
        lr: 3e-4,
        batch: 128,
        micro_batch: None,
        length: Length::Epochs(100),
        warmup: 0,
        schedule: Schedule::Constant,
        weight_decay: 0.0,
        clip: 1.0,
        shuffle: true,
        seed: 0,
    },
    mode: Loss::All,
    max_length: 512,
    patience: 3,
    least_held_out: 1,
    reply_tokens: 128,
};

/// For use: a round once 16 dialogues wait for an annotation, small batches, loss on the response
/// alone.
pub const EVERYDAY: Plan = Plan {
    trigger: Trigger::Unannotated(16),
    train: Options { batch: 16, length: Length::Epochs(20), ..PAPER.train },
    mode: Loss::Response,
    ..PAPER
};

/// Learning rate of the built-in model in use: as small as it is, it takes larger steps.
const SMALL_LR: f64 = 1.5e-3;

/// [`EVERYDAY`] for the built-in model.
pub const EVERYDAY_SMALL: Plan =
    Plan { train: Options { lr: SMALL_LR, batch: 8, ..EVERYDAY.train }, ..EVERYDAY };

/// The preset of that name.
pub fn named(name: &str) -> Option<Plan> {
    match name {
        "paper" => Some(PAPER),
        "everyday" => Some(EVERYDAY),
        _ => None,
    }
}
