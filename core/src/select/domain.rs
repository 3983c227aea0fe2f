//! DSS, the domain-specific score, and the dominant domain (arXiv 2311.12275).
//!
//! ```text
//! words  maximal runs of Unicode alphanumeric characters, each character lower-cased
//! hits_i the words of the text that lexicon i holds, each occurrence counted
//! DSS    (1 / m) sum_i hits_i / n      m lexicons, n words; 0 without lexicons or words
//! Dom    argmax_i hits_i               ties: the first; no hit: the domain `general`
//! ```

use core::cmp::Ordering;

/// The words of one domain: `&str` and a slice of them, or `String` and a `Vec` of them.
#[derive(Clone, Copy, Debug)]
pub struct Lexicon<S, W> {
    /// The domain's name.
    pub name: S,
    /// Lower-case, sorted by bytes, without repetition.
    pub words: W,
}

/// A lexicon per domain.
#[derive(Clone, Copy, Debug)]
pub struct Lexicons<'a, S = &'static str, W = &'static [&'static str]>(&'a [Lexicon<S, W>]);

/// A domain: the place of its lexicon, or [`Domain::GENERAL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Domain(pub u16);

impl Domain {
    /// The domain of a text without a hit.
    pub const GENERAL: Domain = Domain(u16::MAX);

    /// The place of its lexicon.
    pub fn index(self) -> Option<usize> {
        (self != Domain::GENERAL).then_some(usize::from(self.0))
    }
}

impl Default for Domain {
    fn default() -> Self {
        Domain::GENERAL
    }
}

/// Why lexicons cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexiconError {
    /// There are 65,535 lexicons or more.
    TooMany,
    /// Word `word` of lexicon `lexicon` is not one lower-case word.
    Word {
        /// The lexicon's place.
        lexicon: usize,
        /// The word's place in it.
        word: usize,
    },
    /// Word `word` of lexicon `lexicon` does not come after the word before it.
    Order {
        /// The lexicon's place.
        lexicon: usize,
        /// The word's place in it.
        word: usize,
    },
}

impl core::fmt::Display for LexiconError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            LexiconError::TooMany => f.write_str("more lexicons than 65,534"),
            LexiconError::Word { lexicon, word } => {
                write!(f, "word {word} of lexicon {lexicon} is not one lower-case word")
            }
            LexiconError::Order { lexicon, word } => {
                write!(f, "word {word} of lexicon {lexicon} is out of order or repeated")
            }
        }
    }
}

impl core::error::Error for LexiconError {}

impl Lexicons<'static> {
    /// No lexicon: every text is `general` and scores 0.
    pub const NONE: Lexicons<'static> = Lexicons(&[]);
}

impl<'a, S: AsRef<str>, W: AsRef<[S]>> Lexicons<'a, S, W> {
    /// Lexicons over words that are lent or held.
    ///
    /// # Errors
    /// If a word could never match, or the words are not sorted.
    pub fn try_new(lexicons: &'a [Lexicon<S, W>]) -> Result<Self, LexiconError> {
        if lexicons.len() >= usize::from(u16::MAX) {
            return Err(LexiconError::TooMany);
        }
        for (lexicon, words) in lexicons.iter().map(|l| l.words.as_ref()).enumerate() {
            for (word, text) in words.iter().enumerate() {
                if !is_word(text.as_ref()) {
                    return Err(LexiconError::Word { lexicon, word });
                }
                if word > 0 && words[word - 1].as_ref() >= text.as_ref() {
                    return Err(LexiconError::Order { lexicon, word });
                }
            }
        }
        Ok(Lexicons(lexicons))
    }

    /// Lexicons that are known to be right, as a reader makes them.
    ///
    /// A word out of order or not lower-case may go unmatched; [`Lexicons::try_new`] checks.
    pub const fn sorted(lexicons: &'a [Lexicon<S, W>]) -> Self {
        Lexicons(lexicons)
    }

    /// How many there are, m.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of `domain`; `general` for a place that has no lexicon.
    pub fn name(&self, domain: Domain) -> &'a str {
        domain
            .index()
            .and_then(|at| self.0.get(at))
            .map_or("general", |lexicon| lexicon.name.as_ref())
    }

    /// DSS of `text`, in `0..=1`, and its dominant domain. The score is the f64 nearest to the
    /// quotient: `m n` is exact, so nothing is rounded twice.
    pub fn score(&self, text: &str) -> (f64, Domain) {
        let total = words(text).count();
        let (mut hits, mut most, mut domain) = (0, 0, Domain::GENERAL);
        for (at, lexicon) in self.0.iter().enumerate() {
            let found = words(text).filter(|word| lexicon.holds(word)).count();
            hits += found;
            if found > most {
                (most, domain) = (found, Domain(at as u16));
            }
        }
        if hits == 0 {
            return (0.0, Domain::GENERAL);
        }
        (hits as f64 / (self.len() as f64 * total as f64), domain)
    }
}

impl<S: AsRef<str>, W: AsRef<[S]>> Lexicon<S, W> {
    fn holds(&self, word: &str) -> bool {
        let letters = || word.chars().flat_map(char::to_lowercase);
        let words = self.words.as_ref();
        words.binary_search_by(|held| held.as_ref().chars().cmp(letters())).is_ok()
    }
}

/// The maximal runs of Unicode alphanumeric characters of `text`, as they stand there.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Whether `text` equals a lower-cased word, so that it can match one.
///
/// Lower-casing U+0130 yields a combining dot, which is the one lower-cased word that is not
/// alphanumeric throughout.
pub fn is_word(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_alphanumeric() || c == '\u{307}');
    plain
        && text.chars().next().is_some_and(char::is_alphanumeric)
        && text.chars().flat_map(char::to_lowercase).cmp(text.chars()) == Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lent = Lexicon<&'static str, &'static [&'static str]>;
    const HEALTH: Lent = Lexicon { name: "health", words: &["fever", "pain", "\u{e9}t\u{e9}"] };
    const FOOD: Lent = Lexicon { name: "food", words: &["fever", "soup"] };

    #[test]
    fn words_are_alphanumeric_runs() {
        let found: Vec<&str> =
            words("It's na\u{ef}ve, caf\u{e9}2-go\u{3000}\u{4f60}\u{597d}!").collect();
        assert_eq!(found, ["It", "s", "na\u{ef}ve", "caf\u{e9}2", "go", "\u{4f60}\u{597d}"]);
    }

    #[test]
    fn occurrences_count_and_the_mean_is_over_lexicons() {
        let both = [HEALTH, FOOD];
        let lexicons = Lexicons::try_new(&both).unwrap();
        // 6 words; health: pain x2, fever -> 3; food: fever, soup -> 2; (3 + 2) / 2 / 6.
        let (score, domain) = lexicons.score("Pain, pain! FEVER and then soup");
        assert_eq!(score, 5.0 / 12.0);
        assert_eq!(lexicons.name(domain), "health");
        assert_eq!(lexicons.score("\u{c9}T\u{c9}").1, Domain(0));
    }

    #[test]
    fn ties_go_to_the_first_lexicon_and_no_hit_to_general() {
        let both = [FOOD, HEALTH];
        let lexicons = Lexicons::try_new(&both).unwrap();
        assert_eq!(lexicons.score("fever").1, Domain(0));
        assert_eq!(lexicons.score("fever and pain").1, Domain(1));
        for text in ["nothing here", "", "?!", "feverish souped"] {
            assert_eq!(lexicons.score(text), (0.0, Domain::GENERAL));
        }
        assert_eq!(lexicons.name(Domain::GENERAL), "general");
        assert_eq!(lexicons.name(Domain(9)), "general");
        assert_eq!(Lexicons::NONE.score("fever"), (0.0, Domain::GENERAL));
    }

    #[test]
    fn words_that_cannot_match_are_refused() {
        for bad in ["", "two words", "Upper", "a-b", "\u{307}"] {
            let lexicon = [Lexicon { name: "x", words: [bad] }];
            let refused = Lexicons::try_new(&lexicon).unwrap_err();
            assert_eq!(refused, LexiconError::Word { lexicon: 0, word: 0 }, "{bad:?}");
        }
        let unsorted = [Lexicon { name: "x", words: ["b", "a"] }];
        assert_eq!(
            Lexicons::try_new(&unsorted).unwrap_err(),
            LexiconError::Order { lexicon: 0, word: 1 }
        );
    }
}
