//! How far a long command is: a bar on a terminal, a plain line every 30 s elsewhere, on stderr.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

const INTERVAL: Duration = Duration::from_secs(30);

/// Whether nothing is shown.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on nothing is shown of any task: for a command that does many at once and tells of them in
/// its own way.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Tells `message`, unless nothing is shown.
pub fn say(message: &str) {
    if !quiet() {
        eprintln!("{message}");
    }
}

fn quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Progress of one task of `total` steps.
pub struct Progress {
    label: String,
    total: u64,
    done: u64,
    tokens: u64,
    start: Instant,
    last: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts showing a task.
    pub fn new(label: &str, total: usize) -> Self {
        let bar = (!quiet() && std::io::stderr().is_terminal()).then(|| {
            let style =
                ProgressStyle::with_template("{prefix:>12} {bar:30} {pos}/{len} {msg}{eta} left")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64).with_style(style).with_prefix(label.to_owned())
        });
        let now = Instant::now();
        Self {
            label: label.into(),
            total: total as u64,
            done: 0,
            tokens: 0,
            start: now,
            last: now,
            bar,
        }
    }

    /// `steps` more are done, and took `tokens` tokens.
    pub fn advance(&mut self, steps: usize, tokens: usize) {
        self.done += steps as u64;
        self.tokens += tokens as u64;
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done);
                bar.set_message(self.rate());
            }
            None if self.last.elapsed() >= INTERVAL && !quiet() => {
                self.last = Instant::now();
                eprintln!("{}", self.line());
            }
            None => {}
        }
    }

    /// Shows `message` without disturbing the bar.
    pub fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None if quiet() => {}
            None => eprintln!("{message}"),
        }
    }

    fn rate(&self) -> String {
        if self.tokens == 0 {
            return String::new();
        }
        let elapsed = self.start.elapsed().as_secs_f64().max(1e-3);
        format!("{:.0} tok/s, ", self.tokens as f64 / elapsed)
    }

    fn line(&self) -> String {
        let elapsed = self.start.elapsed().as_secs_f64();
        let left = elapsed * self.total.saturating_sub(self.done) as f64 / self.done.max(1) as f64;
        format!("{}: {}/{}, {}{left:.0} s left", self.label, self.done, self.total, self.rate())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_what_how_far_how_fast_and_how_long() {
        let mut progress = Progress::new("score", 10);
        progress.advance(4, 100);
        let line = progress.line();
        assert!(line.starts_with("score: 4/10, "), "{line}");
        assert!(line.contains("tok/s") && line.ends_with("s left"), "{line}");
    }
}
