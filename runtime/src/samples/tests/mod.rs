//! The buffer against a plain model: what it does, what it refuses, and what becomes of it when the
//! power goes, bits flip and blocks wear out.

use super::*;
use crate::flash::RamFlash;
use crate::flash::faulty::FaultyFlash;
use homespun_core::select::{Domain, Scores};

mod basic;
mod cuts;
mod flips;
pub(super) mod golden;
mod harness;
mod random;
mod worn;

const BLOCK: usize = 4096;
type Ram = RamFlash<Vec<u8>, 1, 4, BLOCK>;
type Buffer = Samples<Ram, Vec<BinInfo>>;
type Faulty = FaultyFlash<1, 4, BLOCK>;
type Sealed = Samples<Faulty, Vec<BinInfo>>;

fn ram(bins: usize, spare: usize) -> Ram {
    let mut flash = Ram::new(vec![0; flash_bytes::<Ram>(bins, spare)]);
    format(&mut flash, bins, false).unwrap();
    flash
}

fn open(flash: Ram) -> Buffer {
    Samples::mount(flash, vec![BinInfo::FREE; 16]).unwrap()
}

std::thread_local! {
    /// What random numbers go on from, whatever image is put back; and those that were given.
    static RANDOM: core::cell::RefCell<(u64, std::collections::HashSet<[u8; 24]>)> =
        core::cell::RefCell::new((1, std::collections::HashSet::new()));
}

/// Random bytes that are the same in every run.
fn random(bytes: &mut [u8]) -> Result<(), crate::seal::NoRandom> {
    RANDOM.with_borrow_mut(|(state, given)| {
        for byte in bytes.iter_mut() {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (*state >> 56) as u8;
        }
        if let Ok(nonce) = (&*bytes).try_into() {
            given.insert(nonce);
        }
    });
    Ok(())
}

fn seal(key: u8, previous: Option<u8>) -> Seal {
    let of = |byte| Key::new([byte; 32]);
    Seal { key: of(key), previous: previous.map(of), random }
}

/// A dialogue of its own for every `id`.
#[derive(Clone)]
struct Dialogue {
    texts: Vec<(String, String)>,
    preferred: Option<String>,
    embedding: Vec<f32>,
    id: u64,
}

impl Dialogue {
    fn new(id: u64, turns: usize, length: usize) -> Self {
        let role = |turn| if turn % 2 == 0 { "user" } else { "assistant" };
        let content = |turn| format!("{id}.{turn} \u{4f60} ").repeat(length);
        Dialogue {
            texts: (0..turns).map(|t| (role(t).to_owned(), content(t))).collect(),
            preferred: id.is_multiple_of(2).then(|| format!("Rather {id}.")),
            embedding: (0..70).map(|d| (id as f32 + d as f32) / 8.0).collect(),
            id,
        }
    }

    fn messages(&self) -> Vec<Message<'_>> {
        self.texts.iter().map(|(role, content)| Message { role, content }).collect()
    }

    fn sample<'a>(&'a self, messages: &'a [Message<'a>]) -> Sample<'a> {
        Sample {
            id: self.id,
            arrival: self.id + 100,
            scores: Scores {
                entropy: self.id as f32,
                domain_score: 0.25,
                domain: Domain(3),
                dissimilarity: 0.5,
                tokens: 77,
            },
            flags: Flags::ANNOTATED.with(Flags::SKIPPED),
            asked_at: 9,
            lost_turns: 0,
            messages: Messages::Given(messages),
            preferred: self.preferred.as_deref(),
            embedding: Embedding::Floats(&self.embedding),
        }
    }

    fn put<F: NorFlash, const STAGE: usize>(
        &self,
        samples: &mut Samples<F, Vec<BinInfo>, STAGE>,
        bin: usize,
    ) -> Result<Put, Error<F::Error>> {
        samples.put(bin, &self.sample(&self.messages()))
    }

    /// Whether `found` is this dialogue, whole.
    fn is(&self, found: &Sample<'_>) -> bool {
        let messages = self.messages();
        let ours = self.sample(&messages);
        found.messages.iter().eq(messages.iter().copied())
            && (found.id, found.arrival, found.scores) == (ours.id, ours.arrival, ours.scores)
            && (found.flags, found.asked_at, found.lost_turns) == (ours.flags, 9, 0)
            && found.preferred == ours.preferred
            && found.embedding.iter().eq(self.embedding.iter().copied())
    }
}
