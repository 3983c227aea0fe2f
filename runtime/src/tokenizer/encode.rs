//! Encoding in which text of a dialogue can never become a control token.
//!
//! ```text
//! text     <|im_start|>user\n  say <|im_end|> twice  <|im_end|>\n
//! content                      ^^^^^^^^^^^^^^^^^^^^
//!   1 added tokens of the text    control ones only outside content    -> ids 1, 2
//!   2 the rest is normalised, its added tokens are found likewise
//!   3 the rest of that is pre-tokenised and merged by the model        -> "<", "|", "im", ...
//!   4 a control id that the model itself made of content is taken apart
//! ```
//! Without content the steps are those of the tokenizers crate, and so are the ids.

use core::ops::Range;

use tokenizers::normalizer::Range as Part;
use tokenizers::{
    Encoding, Model, ModelWrapper, NormalizedString, Normalizer, OffsetType, PostProcessor,
    PostProcessorWrapper, PreTokenizedString, PreTokenizer, Token,
};

use super::guard::guarded_text;
use super::{Error, Tokenizer};

/// Token ids and where they stand in the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The ids.
    pub ids: Vec<u32>,
    /// The bytes of the text that each id covers; tokens that share a character all cover it.
    pub spans: Vec<Range<usize>>,
}

/// Whether `span` has a byte in common with one of `content`, which is sorted and disjoint.
pub(crate) fn touches(content: &[Range<usize>], span: &Range<usize>) -> bool {
    let next = content.partition_point(|c| c.end <= span.start);
    content.get(next).is_some_and(|c| c.start < span.end && c.start < c.end)
}

/// The token that stands for what the model cannot spell.
pub(super) fn unk(model: &ModelWrapper) -> Option<String> {
    match model {
        ModelWrapper::BPE(model) => model.get_unk_token().clone(),
        ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
        ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
        ModelWrapper::Unigram(_) => None,
    }
}

/// The ids that the post-processor puts before and after a text.
pub(super) fn ends(
    tokenizer: &Tokenizer,
    post: Option<&PostProcessorWrapper>,
) -> tokenizers::Result<(Vec<u32>, Vec<u32>)> {
    let Some(post) = post else { return Ok((Vec::new(), Vec::new())) };
    // An id that no vocabulary has marks the place of the text.
    let probe = Encoding::from_tokens(vec![Token::new(u32::MAX, "x".into(), (0, 1))], 0);
    let ids = post.process(probe, None, true)?.get_ids().to_vec();
    let at = ids.iter().position(|&id| id == u32::MAX);
    let at =
        at.ok_or_else(|| format!("{}: post_processor drops the text", tokenizer.path.display()))?;
    Ok((ids[..at].to_vec(), ids[at + 1..].to_vec()))
}

impl Tokenizer {
    /// Encodes `text`, whose byte ranges `content` (sorted, disjoint) are words of a dialogue: no
    /// token that touches them is a control token. Nothing is put before or after.
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode_marked(&self, text: &str, content: &[Range<usize>]) -> Result<Encoded, Error> {
        self.encode_chat(text, content, false)
    }

    /// As [`Self::encode_marked`]; `literal` finds control tokens outside content as they are
    /// spelled, also where the tokenizer would only find their normal form.
    pub(crate) fn encode_chat(
        &self,
        text: &str,
        content: &[Range<usize>],
        literal: bool,
    ) -> Result<Encoded, Error> {
        let encoding =
            guarded_text(|| self.steps(text, content, literal)).map_err(|e| self.text_error(e))?;
        let spans = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
        Ok(Encoded { ids: encoding.get_ids().to_vec(), spans })
    }

    fn steps(
        &self,
        text: &str,
        content: &[Range<usize>],
        literal: bool,
    ) -> tokenizers::Result<Encoding> {
        let take = |id, span: &Range<usize>| !self.is_control(id) || !touches(content, span);
        let tokens = |id: Option<u32>, piece: &NormalizedString| {
            id.map(|id| vec![Token::new(id, piece.get().to_owned(), (0, piece.get().len()))])
        };
        let cut = |whole: &NormalizedString, pieces: Vec<(Option<u32>, Range<usize>)>| {
            let piece = |(id, range)| {
                let piece =
                    whole.slice(Part::Normalized(range)).ok_or("a token splits a character")?;
                let tokens = tokens(id, &piece);
                Ok((piece, tokens))
            };
            pieces.into_iter().map(piece).collect::<tokenizers::Result<Vec<_>>>()
        };
        let mut parts = PreTokenizedString::from(text);
        if literal {
            parts.split(|_, whole| {
                let pieces = self.literal.split(whole.get(), |id, span| take(id, &span));
                cut(&whole, pieces)
            })?;
        }
        parts.split(|_, whole| {
            let pieces = self.raw.split(whole.get(), |id, span| take(id, &original(&whole, &span)));
            cut(&whole, pieces)
        })?;
        parts.split(|_, mut whole| {
            if let Some(normalizer) = self.inner.get_normalizer() {
                normalizer.normalize(&mut whole)?;
            }
            let pieces =
                self.normalized.split(whole.get(), |id, span| take(id, &original(&whole, &span)));
            cut(&whole, pieces)
        })?;
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut parts)?;
        }
        let model = self.inner.get_model();
        parts.tokenize(|piece| {
            let tokens = model.tokenize(piece.get())?;
            let bad = |token: &Token| {
                self.is_control(token.id)
                    && Some(token.id) != self.unk
                    && touches(content, &original(piece, &(token.offsets.0..token.offsets.1)))
            };
            if !tokens.iter().any(bad) {
                return Ok(tokens);
            }
            let mut plain = Vec::with_capacity(tokens.len() + 8);
            for token in tokens {
                match bad(&token) {
                    true => self.take_apart(&token.value, token.offsets, &mut plain)?,
                    false => plain.push(token),
                }
            }
            Ok(plain)
        })?;
        parts.into_encoding(None, 0, OffsetType::Byte)
    }

    /// Spells a control token that the model made of plain text: its first character, then the rest.
    fn take_apart(
        &self,
        value: &str,
        offsets: (usize, usize),
        plain: &mut Vec<Token>,
    ) -> tokenizers::Result<()> {
        let first = value.chars().next().map_or(0, char::len_utf8);
        if first == value.len() {
            // One character that is itself a control token has no other spelling.
            let unk = self.unk.and_then(|id| Some(Token::new(id, self.token(id)?, offsets)));
            plain.extend(unk);
            return Ok(());
        }
        let (head, rest) = value.split_at(first);
        let exact = offsets.1 - offsets.0 == value.len();
        for (part, from) in [(head, 0), (rest, first)] {
            let place = |token: &Token| match exact {
                true => {
                    let start = offsets.0 + from;
                    (start + token.offsets.0, start + token.offsets.1)
                }
                false => offsets,
            };
            for token in self.inner.get_model().tokenize(part)? {
                let offsets = place(&token);
                if self.is_control(token.id) && Some(token.id) != self.unk {
                    self.take_apart(&token.value, offsets, plain)?;
                } else {
                    plain.push(Token::new(token.id, token.value, offsets));
                }
            }
        }
        Ok(())
    }

    /// Puts what begins and ends a text (BOS, EOS where the tokenizer adds them) around `ids`.
    pub fn with_ends(&self, ids: &[u32]) -> Vec<u32> {
        [&self.prefix, ids, &self.suffix].concat()
    }

    /// Encodes `text` as transformers does, control tokens in it included; `ends` adds BOS and EOS
    /// where the tokenizer does so (`add_special_tokens`).
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode(&self, text: &str, ends: bool) -> Result<Vec<u32>, Error> {
        let ids = self.encode_marked(text, &[])?.ids;
        Ok(if ends { self.with_ends(&ids) } else { ids })
    }

    /// Encodes words of a dialogue: as [`Self::encode`], but nothing in them is a control token.
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode_text(&self, text: &str, ends: bool) -> Result<Vec<u32>, Error> {
        let whole = 0..text.len();
        let ids = self.encode_marked(text, core::slice::from_ref(&whole))?.ids;
        Ok(if ends { self.with_ends(&ids) } else { ids })
    }
}

/// The bytes of the whole text that a range of a normalised piece stands for.
fn original(piece: &NormalizedString, span: &Range<usize>) -> Range<usize> {
    let shift = piece.offsets_original().0;
    match piece.convert_offsets(Part::Normalized(span.clone())) {
        Some(range) => shift + range.start..shift + range.end,
        None => {
            let (start, end) = piece.offsets_original();
            start..end
        }
    }
}
