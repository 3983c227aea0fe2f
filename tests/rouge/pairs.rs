//! Pairs of texts from a seed: the rules of `oracle/rouge_pairs.py`, written a second time.
//!
//! ```text
//! pair k     Rng::new(hash(seed, k)); a text; 1 of 3: another text, else the first one edited;
//!            1 of 8: the two exchanged
//! text       1 of 16 nothing, 1 of 16 marks alone, 3 of 16 characters of the ranges, else words
//!            of a few of the list, with a space or a mark after each
//! edited     of each piece: 1 of 12 left out, another word in its place, or twice; 1 of 3 shuffled
//! ```

use homespun_core::rng::{Rng, hash};
use serde_json::Value;

/// First and last code point of a range that characters are drawn from, surrogates never.
const RANGES: [(u32, u32); 21] = [
    (0x00, 0x7F),
    (0x20, 0x7E),
    (0x61, 0x66),
    (0x30, 0x39),
    (0x80, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x52F),
    (0x5D0, 0x6FF),
    (0x900, 0x97F),
    (0x1E00, 0x1FFF),
    (0x2000, 0x206F),
    (0x2100, 0x214F),
    (0x2160, 0x217F),
    (0x2460, 0x24FF),
    (0x3040, 0x30FF),
    (0x4E00, 0x4FFF),
    (0xFB00, 0xFB06),
    (0xFF00, 0xFF5E),
    (0x10400, 0x1044F),
    (0x1F600, 0x1F64F),
    (0x0, 0x10FFFF),
];

/// What texts are made of.
pub struct Fragments {
    words: Vec<String>,
    marks: Vec<String>,
}

fn pick<'a>(items: &'a [String], rng: &mut Rng) -> &'a str {
    &items[rng.below(items.len() as u64) as usize]
}

fn character(rng: &mut Rng) -> char {
    let (low, high) = RANGES[rng.below(RANGES.len() as u64) as usize];
    loop {
        let code = low + rng.below(u64::from(high - low) + 1) as u32;
        if let Some(c) = char::from_u32(code) {
            return c;
        }
    }
}

impl Fragments {
    /// Those of `golden/rouge_fragments.json`.
    pub fn load() -> Self {
        let file: Value = serde_json::from_str(include_str!("../golden/rouge_fragments.json"))
            .expect("rouge_fragments.json");
        let list = |key: &str| {
            let texts = file[key].as_array().expect(key).iter();
            texts.map(|text| text.as_str().expect(key).to_owned()).collect()
        };
        Self { words: list("words"), marks: list("marks") }
    }

    fn text(&self, rng: &mut Rng) -> Vec<String> {
        let kind = rng.below(16);
        if kind == 0 {
            return Vec::new();
        }
        if kind == 1 {
            return (0..rng.below(6)).map(|_| pick(&self.marks, rng).to_owned()).collect();
        }
        if kind < 5 {
            return (0..rng.below(81)).map(|_| character(rng).to_string()).collect();
        }
        // A few words of the list, so that they repeat.
        let few: Vec<String> =
            (0..1 + rng.below(20)).map(|_| pick(&self.words, rng).to_owned()).collect();
        let mut pieces = Vec::new();
        for _ in 0..rng.below(61) {
            pieces.push(pick(&few, rng).to_owned());
            let space = rng.below(2) == 0;
            pieces.push(if space { " ".to_owned() } else { pick(&self.marks, rng).to_owned() });
        }
        pieces
    }

    fn edited(&self, pieces: &[String], rng: &mut Rng) -> Vec<String> {
        let mut out = Vec::new();
        for piece in pieces {
            match rng.below(12) {
                0 => {}
                1 => out.push(pick(&self.words, rng).to_owned()),
                2 => out.extend([piece.clone(), piece.clone()]),
                _ => out.push(piece.clone()),
            }
        }
        if rng.below(3) == 0 {
            rng.shuffle(&mut out);
        }
        out
    }

    /// Reference and candidate `k`.
    pub fn pair(&self, seed: u64, k: u64) -> (String, String) {
        let mut rng = Rng::new(hash(&[seed, k]));
        let first = self.text(&mut rng);
        let independent = rng.below(3) == 0;
        let second = if independent { self.text(&mut rng) } else { self.edited(&first, &mut rng) };
        let (first, second) = (first.concat(), second.concat());
        if rng.below(8) == 0 { (second, first) } else { (first, second) }
    }
}
