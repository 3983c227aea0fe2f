//! Standard output and the lines of standard input of the machine that debugs this one.
//!
//! ```text
//! buffer, N bytes   [ taken | a line \n | the beginning of the next .. | free ]
//!                             start       searched                  end
//! ```
//! A read gives what there is, a byte or many; a line of `N` bytes or more, its end counted, is too long
//! and is passed over whole.

use core::fmt;

use crate::semihosting::{Error, File, Mode};

/// Standard output or standard error.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    file: File,
}

impl Output {
    /// Standard output.
    ///
    /// # Errors
    /// If the host has none.
    pub fn standard() -> Result<Self, Error> {
        File::open(c":tt", Mode::Write).map(|file| Output { file })
    }

    /// Standard error.
    ///
    /// # Errors
    /// If the host has none.
    pub fn error() -> Result<Self, Error> {
        File::open(c":tt", Mode::Append).map(|file| Output { file })
    }
}

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.file.write(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Standard input, a line at a time.
#[derive(Clone, Debug)]
pub struct Input<const N: usize> {
    file: File,
    lines: Lines<N>,
}

impl<const N: usize> Input<N> {
    /// Standard input, with memory for lines below `N` bytes.
    ///
    /// # Errors
    /// If the host has none.
    pub fn standard() -> Result<Self, Error> {
        File::open(c":tt", Mode::Read).map(|file| Input { file, lines: Lines::new() })
    }

    /// The next line without its end; `None` behind the last.
    ///
    /// # Errors
    /// If the line is too long or not UTF-8, after which the next one can be read; or the host fails.
    pub fn line(&mut self) -> Result<Option<&str>, LineError<Error>> {
        let file = self.file;
        self.lines.next(|bytes| file.read(bytes))
    }
}

/// Why there is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError<E> {
    /// It has more bytes than that.
    TooLong {
        /// The most.
        most: usize,
    },
    /// It is not UTF-8.
    NotUtf8,
    /// It cannot be read.
    Read(E),
}

impl<E: fmt::Display> fmt::Display for LineError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::TooLong { most } => write!(f, "the line has more than {most} bytes"),
            LineError::NotUtf8 => f.write_str("the line is not UTF-8"),
            LineError::Read(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for LineError<E> {}

/// Makes lines out of bytes that come in any pieces.
#[derive(Clone, Debug)]
pub struct Lines<const N: usize> {
    buffer: [u8; N],
    /// The bytes that no line was made of yet.
    start: usize,
    end: usize,
    /// Whether they go on a line that is too long.
    skipping: bool,
}

impl<const N: usize> Default for Lines<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Lines<N> {
    /// Of nothing yet.
    pub const fn new() -> Self {
        const { assert!(N > 1, "no room for a line") };
        Lines { buffer: [0; N], start: 0, end: 0, skipping: false }
    }

    /// The next line without its end (`\n` or `\r\n`); `None` behind the last. `read` gives bytes, none at
    /// the end of all.
    ///
    /// # Errors
    /// As [`Input::line`].
    pub fn next<E>(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Option<&str>, LineError<E>> {
        let mut searched = self.start;
        let (line, skipped) = loop {
            let found = self.buffer[searched..self.end].iter().position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let line = self.start..searched + at;
                self.start = line.end + 1;
                break (line, core::mem::take(&mut self.skipping));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == N {
                (self.end, self.skipping) = (0, true);
            }
            searched = self.end;
            match read(&mut self.buffer[self.end..]).map_err(LineError::Read)? {
                0 if self.end == 0 && !self.skipping => return Ok(None),
                0 => {
                    let line = 0..self.end;
                    self.end = 0;
                    break (line, core::mem::take(&mut self.skipping));
                }
                n => self.end += n,
            }
        };
        if skipped {
            return Err(LineError::TooLong { most: N - 1 });
        }
        let line = &self.buffer[line];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        core::str::from_utf8(line).map(Some).map_err(|_| LineError::NotUtf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `text` that comes in pieces of `piece` bytes; `!` for what is too long.
    fn lines(text: &str, piece: usize) -> Vec<String> {
        let (mut left, mut lines, mut seen) = (text.as_bytes(), Lines::<8>::new(), Vec::new());
        loop {
            let line = lines.next(|out| {
                let n = piece.min(out.len()).min(left.len());
                out[..n].copy_from_slice(&left[..n]);
                left = &left[n..];
                Ok::<_, ()>(n)
            });
            match line {
                Ok(Some(line)) => seen.push(line.to_owned()),
                Ok(None) => return seen,
                Err(error) => {
                    assert_eq!(error, LineError::TooLong { most: 7 });
                    seen.push("!".to_owned());
                }
            }
        }
    }

    #[test]
    fn lines_are_the_same_in_any_pieces() {
        for piece in 1..20 {
            let text = "one\ntwo\r\n\n1234567\n12345678\nthree\n123456789012345678\nlast";
            let expected = ["one", "two", "", "1234567", "!", "three", "!", "last"];
            assert_eq!(lines(text, piece), expected, "{piece}");
            assert_eq!(lines("a\n0123456789", piece), ["a", "!"]);
            assert_eq!(lines("a\n", piece), ["a"]);
            assert!(lines("", piece).is_empty());
        }
    }

    #[test]
    fn what_is_no_text_is_passed_over() {
        let (mut left, mut lines) = (&b"\xff\nok\n"[..], Lines::<8>::new());
        let mut read = |out: &mut [u8]| {
            let n = left.len().min(out.len());
            out[..n].copy_from_slice(&left[..n]);
            left = &left[n..];
            Ok::<_, ()>(n)
        };
        assert_eq!(lines.next(&mut read), Err(LineError::NotUtf8));
        assert_eq!(lines.next(&mut read), Ok(Some("ok")));
        assert_eq!(lines.next(&mut read), Ok(None));
    }
}
