//! Byte-pair encoding (Sennrich et al. 2016) over tables in an image, in memory that the caller lends.
//!
//! ```text
//! text   "Hi, you"   words      "Hi" "," " you"              [`level`], or the text as a whole
//!                    symbols    H i | , | ␣ y o u            bytes, or characters
//!                    merged     Hi  | , | ␣you               [`tokens`]: the pair of the lowest rank first
//! ```
//! The ids are those of the tokenizers crate. No text becomes a control token: those come from the
//! template alone, and a tokenizer that could merge one is not packed.

mod decode;
mod level;
mod tokens;

pub use decode::Decoder;
pub use tokens::{Full, Tokens};

use super::header::{Prepend, Section, Split, Tokenizer};

/// No token.
pub(crate) const NONE: u32 = u32::MAX;
/// What stands for a space where tokenizers are not byte-level, U+2581.
const SPACE: &str = "\u{2581}";

/// What a token is, in a byte.
pub(crate) mod flag {
    /// It steers the model, and no text is one.
    pub const CONTROL: u8 = 1;
    /// Decoding leaves it out.
    pub const HIDDEN: u8 = 2;
    /// It stands for one byte that is no character.
    pub const BYTE: u8 = 4;
}

/// A tokenizer in an image.
#[derive(Clone, Copy, Debug)]
pub struct Bpe<'a> {
    split: Split,
    begins_with: Option<u32>,
    ends_with: Option<u32>,
    unk: Option<u32>,
    fuse_unk: bool,
    offsets: &'a [u32],
    bytes: &'a [u8],
    flags: &'a [u8],
    merges: &'a [[u32; 4]],
    of_byte: &'a [u32],
    of_char: &'a [[u32; 2]],
    letters: &'a [[u32; 2]],
    numbers: &'a [[u32; 2]],
}

impl<'a> Bpe<'a> {
    /// The tokenizer whose tables `section` lends; `None` if one is not whole.
    pub(super) fn new(
        header: &Tokenizer,
        section: impl Fn(Section) -> Option<&'a [u8]>,
    ) -> Option<Self> {
        let words = |part| bytemuck::try_cast_slice::<u8, u32>(section(part)?).ok();
        let pairs = |part| bytemuck::try_cast_slice::<u8, [u32; 2]>(section(part)?).ok();
        let bpe = Bpe {
            split: header.split,
            begins_with: header.begins_with,
            ends_with: header.ends_with,
            unk: header.unk,
            fuse_unk: header.fuse_unk,
            offsets: words(header.offsets)?,
            bytes: section(header.bytes)?,
            flags: section(header.flags)?,
            merges: bytemuck::try_cast_slice(section(header.merges)?).ok()?,
            of_byte: words(header.of_byte)?,
            of_char: pairs(header.of_char)?,
            letters: pairs(header.letters)?,
            numbers: pairs(header.numbers)?,
        };
        let whole = bpe.offsets.len() == bpe.flags.len() + 1 && bpe.of_byte.len() == 256;
        whole.then_some(bpe)
    }

    /// Tokens that it knows.
    pub const fn vocab(&self) -> usize {
        self.flags.len()
    }

    /// The bytes of a token; none of one that it does not know.
    pub fn token(&self, id: u32) -> &'a [u8] {
        let id = id as usize;
        let range = self.offsets.get(id).zip(self.offsets.get(id + 1));
        let bytes = range.and_then(|(&from, &to)| self.bytes.get(from as usize..to as usize));
        bytes.unwrap_or_default()
    }

    /// Whether `id` steers the model.
    pub fn is_control(&self, id: u32) -> bool {
        self.has(id, flag::CONTROL)
    }

    fn has(&self, id: u32, flag: u8) -> bool {
        self.flags.get(id as usize).is_some_and(|flags| flags & flag != 0)
    }

    /// Adds the ids of `text` to `tokens`; `first` says whether nothing stands before it.
    ///
    /// # Errors
    /// If they do not fit; `tokens` then holds some of them.
    pub fn encode(&self, text: &str, first: bool, tokens: &mut Tokens) -> Result<(), Full> {
        match self.split {
            Split::Level { digits } => {
                let mut from = 0;
                while from < text.len() {
                    let to = from + level::word(&text[from..], digits, self.letters, self.numbers);
                    self.spell_bytes(&text[from..to], from, tokens)?;
                    from = to;
                }
                Ok(())
            }
            Split::Metaspace(prepend) => self.spell_chars(text, prepend, first, tokens),
        }
    }

    /// As [`encode`](Self::encode) of a whole text, with what the tokenizer puts around one.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_whole(&self, text: &str, tokens: &mut Tokens) -> Result<(), Full> {
        if let Some(id) = self.begins_with {
            tokens.push(id, 0)?;
        }
        self.encode(text, true, tokens)?;
        match self.ends_with {
            Some(id) => tokens.push(id, text.len() as u32),
            None => Ok(()),
        }
    }

    /// A word of a byte-level tokenizer, that stands at `at` in its text.
    fn spell_bytes(&self, word: &str, at: usize, tokens: &mut Tokens) -> Result<(), Full> {
        let begin = tokens.len();
        for (i, byte) in word.bytes().enumerate() {
            let id = self.of_byte[usize::from(byte)];
            let known = Some(id).filter(|&id| id != NONE);
            self.symbol(known, (at + i + 1) as u32, begin, tokens)?;
        }
        tokens.merge(begin, |left, right| self.merged(left, right));
        Ok(())
    }

    /// A text whose spaces are written as characters of their own.
    fn spell_chars(
        &self,
        text: &str,
        prepend: Prepend,
        first: bool,
        tokens: &mut Tokens,
    ) -> Result<(), Full> {
        let begin = tokens.len();
        let spaced = text.starts_with([' ', '\u{2581}']);
        let more = match prepend {
            Prepend::Never => false,
            Prepend::First => first && !spaced,
            Prepend::Always => !spaced,
            Prepend::Anyway => true,
        };
        if more && !text.is_empty() {
            self.spell_char('\u{2581}', 0, begin, tokens)?;
        }
        for (at, c) in text.char_indices() {
            let spelled = if c == ' ' { '\u{2581}' } else { c };
            self.spell_char(spelled, (at + c.len_utf8()) as u32, begin, tokens)?;
        }
        tokens.merge(begin, |left, right| self.merged(left, right));
        Ok(())
    }

    /// A character that ends at `end`: its own token, or those of its bytes if all have one.
    fn spell_char(&self, c: char, end: u32, begin: usize, tokens: &mut Tokens) -> Result<(), Full> {
        if let Ok(at) = self.of_char.binary_search_by_key(&u32::from(c), |&[c, _]| c) {
            return tokens.push(self.of_char[at][1], end);
        }
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        let ids = bytes.iter().map(|&byte| self.of_byte[usize::from(byte)]);
        if ids.clone().any(|id| id == NONE) {
            return self.symbol(None, end, begin, tokens);
        }
        for id in ids {
            tokens.push(id, end)?;
        }
        Ok(())
    }

    /// A symbol; one that is not known is the unknown token, or left out where there is none.
    fn symbol(
        &self,
        id: Option<u32>,
        end: u32,
        begin: usize,
        tokens: &mut Tokens,
    ) -> Result<(), Full> {
        match id.or(self.unk) {
            Some(id) => {
                let fused = self.fuse_unk && Some(id) == self.unk && tokens.last_is(id, begin);
                if fused {
                    tokens.stretch(end);
                    return Ok(());
                }
                tokens.push(id, end)
            }
            None => Ok(()),
        }
    }

    /// Rank and token of a pair, if it is merged.
    fn merged(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let at = self.merges.binary_search_by_key(&(left, right), |&[l, r, ..]| (l, r)).ok()?;
        let [_, _, rank, merged] = self.merges[at];
        Some((rank, merged))
    }
}
