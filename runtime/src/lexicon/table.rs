//! Lexicons from a file of lines `domain<TAB>word`, or the small built-in ones.
//!
//! Words are lower-cased. Empty lines and lines that begin with `#` are left out. Domains come in
//! the order in which they first appear, which decides ties. A row that is not one word, as
//! `ice cream` or `x-ray`, can never equal a word of a text: it is left out and counted.

use std::path::{Path, PathBuf};

use homespun_core::select::domain::{Lexicon, LexiconError, Lexicons, is_word};

use super::LEXICONS;

/// Lexicons that hold their words; none by default.
#[derive(Clone, Debug, Default)]
pub struct Table {
    lexicons: Vec<Lexicon<String, Vec<String>>>,
    unusable: Vec<usize>,
}

/// Why a file of lexicons cannot be used; every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused, or the file is not UTF-8.
    #[error("{}: cannot read the lexicons: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is not `domain<TAB>word`.
    #[error("{}: line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No line holds a usable word.
    #[error("{}: no domain has a word", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The lexicons do not suit the selection.
    #[error("{}: {source}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: LexiconError,
    },
}

impl Table {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, a line has no tab, no domain or no word, or nothing is left.
    pub fn open(path: &Path) -> Result<Table, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Table::parse(path, &text)
    }

    /// The built-in lexicons: everyday life in a dozen domains.
    pub fn built_in() -> Table {
        let mut table = Table::default();
        for Lexicon { name, words } in &LEXICONS {
            table.words_of(name).extend(words.iter().map(|&word| word.to_owned()));
        }
        table.sort();
        table
    }

    /// Reads `text`; errors name `path`.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn parse(path: &Path, text: &str) -> Result<Table, Error> {
        let path = || path.to_owned();
        let mut table = Table::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (at, row) in text.lines().enumerate() {
            if row.trim().is_empty() || row.starts_with('#') {
                continue;
            }
            let refuse = |problem| Error::Line { path: path(), line: at + 1, problem };
            let (domain, word) =
                row.split_once('\t').ok_or_else(|| refuse("no tab between domain and word"))?;
            let (domain, word) = (domain.trim(), word.trim());
            if domain.is_empty() || word.is_empty() {
                return Err(refuse("the domain or the word is empty"));
            }
            if domain == "general" {
                return Err(refuse("`general` is the domain of texts without a hit"));
            }
            let word: String = word.chars().flat_map(char::to_lowercase).collect();
            if is_word(&word) {
                table.words_of(domain).push(word);
            } else {
                table.unusable.push(at + 1);
            }
        }
        table.sort();
        if table.lexicons.is_empty() {
            return Err(Error::Empty { path: path() });
        }
        Lexicons::try_new(&table.lexicons)
            .map_err(|source| Error::Refused { path: path(), source })?;
        Ok(table)
    }

    /// The lexicons as core takes them.
    pub fn lexicons(&self) -> Lexicons<'_, String, Vec<String>> {
        Lexicons::sorted(&self.lexicons)
    }

    /// The line numbers of rows that are not one word.
    pub fn unusable(&self) -> &[usize] {
        &self.unusable
    }

    fn sort(&mut self) {
        for lexicon in &mut self.lexicons {
            lexicon.words.sort_unstable();
            lexicon.words.dedup();
        }
    }

    fn words_of(&mut self, domain: &str) -> &mut Vec<String> {
        let at = self.lexicons.iter().position(|lexicon| lexicon.name == domain);
        let at = at.unwrap_or_else(|| {
            self.lexicons.push(Lexicon { name: domain.to_owned(), words: Vec::new() });
            self.lexicons.len() - 1
        });
        &mut self.lexicons[at].words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homespun_core::select::Domain;

    fn refused(text: &str) -> String {
        Table::parse(Path::new("words.tsv"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_and_scores() {
        let text = "# mine\nhealth\tFever\r\nfood\tsoup\n\nhealth\tfever\nfood\tice cream\n";
        let table = Table::parse(Path::new("words.tsv"), &format!("\u{feff}{text}")).unwrap();
        assert_eq!(table.unusable(), [6]);
        let lexicons = table.lexicons();
        assert_eq!(lexicons.len(), 2);
        // One hit, two lexicons, four words.
        assert_eq!(lexicons.score("A FEVER, I fear"), (0.125, Domain(0)));
        assert_eq!(lexicons.name(lexicons.score("soup").1), "food");
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        assert_eq!(
            refused("food\tsoup\nsoup\n"),
            "words.tsv: line 2: no tab between domain and word"
        );
        for text in ["\tsoup", "food\t", "food\t  ", "general\tsoup"] {
            assert!(refused(text).starts_with("words.tsv: line 1: "), "{text:?}");
        }
        for text in ["", "# nothing\n\n", "food\tice cream"] {
            assert_eq!(refused(text), "words.tsv: no domain has a word");
        }
        let missing = Table::open(Path::new("no/such.tsv")).unwrap_err().to_string();
        assert!(missing.starts_with("no/such.tsv: cannot read the lexicons"), "{missing}");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"food\t\xff\n").unwrap();
        assert!(matches!(Table::open(file.path()), Err(Error::Read { .. })));
    }

    #[test]
    fn the_built_in_words_are_words_and_speak_of_one_domain() {
        assert!(Lexicons::try_new(&LEXICONS).is_ok());
        let table = Table::built_in();
        let mut all: Vec<&String> = table.lexicons.iter().flat_map(|l| &l.words).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "a word stands in two domains");
        let lexicons = table.lexicons();
        let domain = |text| lexicons.name(lexicons.score(text).1);
        assert_eq!(domain("Which tea should I drink for breakfast?"), "food");
        assert_eq!(domain("My doctor says the fever will pass."), "health");
        assert_eq!(domain("Hello there"), "general");
    }
}
