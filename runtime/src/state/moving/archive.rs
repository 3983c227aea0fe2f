//! The entries of an exported state, and the code that opens it.

use core::fmt;
use std::io::{self, Write};

use zeroize::Zeroizing;

use crate::seal::{KEY_BYTES, Key};

/// A name and its bytes.
pub(super) type Entry = (String, Zeroizing<Vec<u8>>);

/// What opens an exported state: 64 hexadecimal digits in groups of eight.
#[derive(Clone, Debug)]
pub struct Code(Key);

impl Code {
    pub(super) fn new(key: Key) -> Self {
        Self(key)
    }

    pub(super) fn key(&self) -> &Key {
        &self.0
    }

    /// The code that is written so, with whatever between its digits; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
            text.chars().filter_map(|digit| Some(digit.to_digit(16)? as u8)).collect(),
        );
        let others = text.chars().filter(|c| !c.is_ascii_hexdigit());
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if digits.len() != 2 * KEY_BYTES || others.clone().any(|c| c.is_alphanumeric()) {
            return None;
        }
        for (byte, two) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = two[0] << 4 | two[1];
        }
        Some(Self(Key::new(*bytes)))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, four) in self.0.bytes().chunks(4).enumerate() {
            let between = if i == 0 { "" } else { "-" };
            write!(f, "{between}{:02x}{:02x}{:02x}{:02x}", four[0], four[1], four[2], four[3])?;
        }
        Ok(())
    }
}

/// Writes one entry.
pub(super) fn write(out: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    write!(out, "{name}\n{}\n", bytes.len())?;
    out.write_all(bytes)
}

/// The entries in `text`; `None` if it is something else.
pub(super) fn parse(mut text: &[u8]) -> Option<Vec<Entry>> {
    fn line<'t>(text: &mut &'t [u8]) -> Option<&'t str> {
        let end = text.iter().position(|byte| *byte == b'\n')?;
        let line = core::str::from_utf8(&text[..end]).ok()?;
        *text = &text[end + 1..];
        Some(line)
    }
    let mut entries = Vec::new();
    while !text.is_empty() {
        let name = line(&mut text)?.to_owned();
        let length: usize = line(&mut text)?.parse().ok()?;
        let bytes = text.get(..length)?;
        text = &text[length..];
        // A name stays within the state.
        if name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return None;
        }
        entries.push((name, Zeroizing::new(bytes.to_vec())));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_it_is_written() {
        let code = Code::new(Key::new([0xA7; 32]));
        let text = code.to_string();
        assert_eq!((text.len(), text.matches('-').count()), (71, 7));
        assert_eq!(Code::parse(&text).unwrap().0, code.0);
        assert_eq!(
            Code::parse(&format!(" {} ", text.replace('-', " ").to_uppercase())).unwrap().0,
            code.0
        );
        for wrong in ["", "a7", &text[1..], &format!("{text}0"), &text.replace('a', "g")] {
            assert!(Code::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn entries_come_back_and_others_are_refused() {
        let mut out = Vec::new();
        write(&mut out, "a/b", b"12\n3").unwrap();
        write(&mut out, "c", b"").unwrap();
        let entries = parse(&out).unwrap();
        assert_eq!(entries[0], ("a/b".to_owned(), b"12\n3".to_vec().into()));
        assert_eq!(entries[1], ("c".to_owned(), Vec::new().into()));
        for wrong in [&out[..7], b"a\n", b"a\nx\n", b"../a\n0\n", b"/a\n0\n", b"a\n9\nab"] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
