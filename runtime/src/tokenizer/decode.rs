//! Ids back to text, whole or one at a time.
//!
//! ```text
//! ids   a b | c d e            text of (a b c d e) minus text of (a b) is the news,
//!       from  shown             held back while it ends in an unfinished character
//! ```

use super::guard::guarded_text;
use super::{Error, Tokenizer};

/// After so many ids a character that is still unfinished is taken to be broken.
const MAX_BROKEN: usize = 64;

/// So many lone bytes are held back, in case a broken one follows.
const MAX_BYTES: usize = 16;

impl Tokenizer {
    /// The text of `ids`, without special tokens and without any clean-up of spaces.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        guarded_text(|| self.inner.decode(ids, true)).map_err(|e| self.text_error(e))
    }

    /// Whether `id` is a lone byte such as `<0x0A>`: a run of them is decoded as one, so that a bad
    /// byte spoils the good ones before it. `None` for what decoding leaves out, amid a run too.
    fn is_byte(&self, id: u32) -> Option<bool> {
        let token = self.token(id)?;
        let shown = !self.inner.get_added_vocabulary().is_special_token(&token);
        shown.then(|| token.len() == 6 && token.starts_with("<0x") && token.ends_with('>'))
    }

    /// Decodes ids as they come.
    pub fn stream(&self) -> Stream<'_> {
        Stream {
            tokenizer: self,
            ids: Vec::new(),
            shown: 0,
            before: String::new(),
            in_bytes: false,
        }
    }
}

/// Text that grows with each id; the pieces joined are [`Tokenizer::decode`] of all ids.
#[derive(Debug)]
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    /// The last ids shown, which the decoder needs before it, and those not yet shown.
    ids: Vec<u32>,
    shown: usize,
    /// The text of `ids[..shown]`.
    before: String,
    /// Whether the last id is one of a run of lone bytes.
    in_bytes: bool,
}

impl Stream<'_> {
    /// Takes the next id and returns the text that is now certain; often empty.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        self.ids.push(id);
        self.in_bytes = self.tokenizer.is_byte(id).unwrap_or(self.in_bytes);
        let text = self.tokenizer.decode(&self.ids)?;
        let held = self.ids.len() - self.shown;
        let unfinished = (text.ends_with('\u{fffd}') && held < MAX_BROKEN)
            || (self.in_bytes && held < MAX_BYTES);
        if unfinished || text.len() <= self.before.len() {
            return Ok(String::new());
        }
        self.show(text)
    }

    /// What is still held back, unfinished characters as U+FFFD.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn finish(mut self) -> Result<String, Error> {
        let text = self.tokenizer.decode(&self.ids)?;
        self.show(text)
    }

    fn show(&mut self, text: String) -> Result<String, Error> {
        let same = text.bytes().zip(self.before.bytes()).take_while(|(a, b)| a == b).count();
        let news = text.get(same..).unwrap_or_default().to_owned();
        self.ids.drain(..self.shown);
        self.shown = self.ids.len();
        self.before = self.tokenizer.decode(&self.ids)?;
        Ok(news)
    }
}
