//! Dialogues that a few numbers tell apart, made anew wherever one is compared.

use embedded_storage::nor_flash::NorFlash;
use homespun_core::select::{Domain, Scores};
use homespun_runtime::samples::layout::PAYLOAD_BYTES;
use homespun_runtime::samples::{
    BinInfo, Embedding, Error, Flags, Message, Messages, Put, Sample, Samples,
};

use super::Bytes;

pub const ANSWER: &str = "This is what I would have liked.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialogue {
    pub id: u64,
    pub turns: usize,
    /// Repetitions of a turn's words.
    pub words: usize,
    pub components: usize,
    /// Whether the person answered.
    pub answered: bool,
}

impl Dialogue {
    /// Mostly short; one in sixteen does not fit whole.
    pub fn new(id: u64, bytes: &mut Bytes<'_>) -> Self {
        let shape = bytes.byte();
        let (turns, words) = if shape % 16 == 15 {
            (2 + shape / 32, 350 + 2 * bytes.byte())
        } else {
            (1 + shape % 4, bytes.byte() % 24)
        };
        Dialogue { id, turns, words, components: shape / 4, answered: false }
    }

    fn texts(&self) -> Vec<(&'static str, String)> {
        let role = |turn| if turn % 2 == 0 { "user" } else { "assistant" };
        let text = |turn| format!("{}.{turn} \u{4f60} ", self.id).repeat(self.words);
        (0..self.turns).map(|turn| (role(turn), text(turn))).collect()
    }

    fn embedding(&self) -> impl Iterator<Item = f32> {
        let id = self.id % 100;
        (0..self.components).map(move |d| (id as f32 + d as f32) / 8.0)
    }

    fn scores(&self) -> Scores {
        let entropy = (self.id % 1000) as f32;
        Scores { entropy, domain_score: 0.25, domain: Domain(3), dissimilarity: 0.5, tokens: 7 }
    }

    fn flags(&self) -> Flags {
        if self.id.is_multiple_of(2) {
            Flags::ANNOTATED.with(Flags::SKIPPED)
        } else {
            Flags::UNANSWERED
        }
    }

    pub fn put<F: NorFlash>(
        &self,
        samples: &mut Samples<F, Vec<BinInfo>>,
        bin: usize,
    ) -> Result<Put, Error<F::Error>> {
        let (texts, embedding): (_, Vec<f32>) = (self.texts(), self.embedding().collect());
        let messages: Vec<_> =
            texts.iter().map(|(role, content)| Message { role, content }).collect();
        samples.put(
            bin,
            &Sample {
                id: self.id,
                arrival: self.id + 100,
                scores: self.scores(),
                flags: self.flags(),
                asked_at: 9,
                lost_turns: 0,
                messages: Messages::Given(&messages),
                preferred: self.answered.then_some(ANSWER),
                embedding: Embedding::Floats(&embedding),
            },
        )
    }

    /// Whether `found` is this dialogue, whole but for first messages that had no room.
    pub fn is(&self, found: &Sample<'_>) -> bool {
        let preferred = self.answered.then_some(ANSWER);
        let same = (found.id, found.arrival, found.scores)
            == (self.id, self.id + 100, self.scores())
            && (found.flags, found.asked_at, found.preferred) == (self.flags(), 9, preferred)
            && found.embedding.iter().eq(self.embedding());
        if !same {
            return false;
        }
        let (texts, lost) = (self.texts(), found.lost_turns as usize);
        let Some(kept) = texts.get(lost..) else { return false };
        let room = |(role, text): &(&str, String)| role.len() + text.len() + 4;
        // One more message and an answer would not have fitted.
        let needed = |from: usize| {
            let bytes = texts[from..].iter().map(room).sum::<usize>();
            bytes + 2 * self.components + ANSWER.len() + 8
        };
        found.messages.iter().eq(kept.iter().map(|(role, content)| Message { role, content }))
            && (lost == 0 || needed(lost - 1) > PAYLOAD_BYTES)
    }
}
