//! One dialogue as the buffer keeps it, and the encoding of its text.
//!
//! ```text
//! text  postcard { preferred: Option<str>, messages: u16 }  then that many  { role, content }
//! ```
//!
//! A dialogue that is too long loses its oldest messages: the record says how many.

use half::f16;
use homespun_core::select::Scores;
use serde::{Deserialize, Serialize};

use super::header::Header;
use super::layout::{Flags, PAYLOAD_BYTES};

/// A dialogue with all that is known of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample<'a> {
    /// The caller's name for it.
    pub id: u64,
    /// How many dialogues had arrived before it.
    pub arrival: u64,
    /// Its scores at arrival.
    pub scores: Scores,
    /// What the person did with it.
    pub flags: Flags,
    /// When the person was last asked, in the caller's clock; 0 for never.
    pub asked_at: u64,
    /// Messages that it has lost to earlier puts.
    pub lost_turns: u32,
    /// The dialogue, oldest message first.
    pub messages: Messages<'a>,
    /// What the reply should have been.
    pub preferred: Option<&'a str>,
    /// `(D)`; kept as f16.
    pub embedding: Embedding<'a>,
}

/// One message of a dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<'a> {
    /// `user`, `assistant`, `system` or what the stream said.
    pub role: &'a str,
    /// Its text.
    pub content: &'a str,
}

/// The messages of a dialogue: given, or as they lie in a record.
#[derive(Clone, Copy, Debug)]
pub enum Messages<'a> {
    /// Given by the caller.
    Given(&'a [Message<'a>]),
    /// Encoded, each checked to decode.
    Stored(&'a [u8]),
}

impl Default for Messages<'_> {
    fn default() -> Self {
        Messages::Given(&[])
    }
}

impl<'a> Messages<'a> {
    /// The messages, oldest first.
    pub fn iter(self) -> impl Iterator<Item = Message<'a>> {
        let (given, mut stored) = match self {
            Messages::Given(given) => (given, &[][..]),
            Messages::Stored(stored) => (&[][..], stored),
        };
        given.iter().copied().chain(core::iter::from_fn(move || {
            let (message, rest) = postcard::take_from_bytes(stored).ok()?;
            stored = rest;
            Some(message)
        }))
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.iter().count()
    }
}

/// An embedding `(D)`: floats of the caller, or f16 as they lie in a record.
#[derive(Clone, Copy, Debug)]
pub enum Embedding<'a> {
    /// Given by the caller.
    Floats(&'a [f32]),
    /// Little-endian f16.
    Stored(&'a [u8]),
}

impl Default for Embedding<'_> {
    fn default() -> Self {
        Embedding::Floats(&[])
    }
}

impl<'a> Embedding<'a> {
    /// D.
    pub fn len(&self) -> usize {
        match self {
            Embedding::Floats(floats) => floats.len(),
            Embedding::Stored(bytes) => bytes.len() / 2,
        }
    }

    /// Whether it has no components.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its components.
    pub fn iter(self) -> impl Iterator<Item = f32> + 'a {
        let (floats, bytes) = match self {
            Embedding::Floats(floats) => (floats, &[][..]),
            Embedding::Stored(bytes) => (&[][..], bytes),
        };
        let (pairs, _) = bytes.as_chunks::<2>();
        let stored = pairs.iter().map(|&pair| f16::from_le_bytes(pair).to_f32());
        floats.iter().copied().chain(stored)
    }

    /// Its components as they are kept: the nearest f16, the greatest one for what is beyond it.
    pub(super) fn halves(self) -> impl Iterator<Item = [u8; 2]> + 'a {
        let most = f16::MAX.to_f32();
        self.iter().map(move |x| {
            let x = if x.is_finite() { x.clamp(-most, most) } else { x };
            f16::from_f32(x).to_le_bytes()
        })
    }
}

/// What comes before the messages.
#[derive(Serialize, Deserialize)]
pub(super) struct Start<'a> {
    #[serde(borrow)]
    pub preferred: Option<&'a str>,
    pub messages: u16,
}

/// How a sample is made to fit.
pub(super) struct Fit {
    /// Oldest messages left out.
    pub skipped: usize,
    /// Bytes of text and embedding.
    pub bytes: usize,
}

/// The fewest oldest messages to leave out, the last one staying; `Err` has the bytes that it
/// would need.
pub(super) fn fit(sample: &Sample<'_>) -> Result<Fit, usize> {
    let count = sample.messages.count();
    let mut messages: u64 = sample.messages.iter().map(|m| size(&m)).sum();
    let mut all = sample.messages.iter();
    let mut skipped = 0;
    loop {
        let kept = u16::try_from(count - skipped);
        let start = Start { preferred: sample.preferred, messages: kept.unwrap_or(u16::MAX) };
        let text = usize::try_from(size(&start) + messages).unwrap_or(usize::MAX / 2);
        let bytes = text.saturating_add(sample.embedding.len().saturating_mul(2));
        if kept.is_ok() && bytes <= PAYLOAD_BYTES {
            return Ok(Fit { skipped, bytes });
        }
        if count - skipped <= 1 {
            return Err(bytes);
        }
        messages -= all.next().map_or(0, |m| size(&m));
        skipped += 1;
    }
}

/// The sample of `header` with this text and embedding; `None` if the text does not decode.
pub(super) fn decode<'a>(
    header: &Header,
    text: &'a [u8],
    embedding: &'a [u8],
) -> Option<Sample<'a>> {
    let (start, stored) = postcard::take_from_bytes::<Start<'a>>(text).ok()?;
    let mut rest = stored;
    for _ in 0..start.messages {
        rest = postcard::take_from_bytes::<Message<'_>>(rest).ok()?.1;
    }
    rest.is_empty().then_some(Sample {
        id: header.id,
        arrival: header.arrival,
        scores: header.scores,
        flags: header.flags,
        asked_at: header.asked_at,
        lost_turns: header.lost_turns,
        messages: Messages::Stored(stored),
        preferred: start.preferred,
        embedding: Embedding::Stored(embedding),
    })
}

/// Bytes of `value` encoded; what cannot be encoded is too long.
fn size(value: &impl Serialize) -> u64 {
    let flavor = postcard::ser_flavors::Size::default();
    postcard::serialize_with_flavor(value, flavor).unwrap_or(PAYLOAD_BYTES + 1) as u64
}
