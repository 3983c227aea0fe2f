//! What happens, a line each on standard error: numbers and fixed words, never what somebody said.
//!
//! ```text
//! time=2026-01-31T12:00:00Z event=observed dialogue=17 kept=true
//! ```

use core::fmt::{Display, Write};
use std::io;

/// Writes a line; a standard error that is gone is no reason to end.
pub fn event(name: &str, fields: &[(&str, &dyn Display)]) {
    let now = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
    let line = line(&now, name, fields);
    let _ = io::Write::write_all(&mut io::stderr().lock(), line.as_bytes());
}

fn line(now: &str, name: &str, fields: &[(&str, &dyn Display)]) -> String {
    let mut line = format!("time={now} event={name}");
    for (key, value) in fields {
        let value = value.to_string();
        let plain = !value.is_empty()
            && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"\"=\\".contains(c));
        // A String takes everything.
        let _ =
            if plain { write!(line, " {key}={value}") } else { write!(line, " {key}={value:?}") };
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_a_value_is() {
        let text =
            line("T", "ended", &[("round", &3), ("why", &"no \"step\"\nat all"), ("x", &"")]);
        assert_eq!(text, "time=T event=ended round=3 why=\"no \\\"step\\\"\\nat all\" x=\"\"\n");
    }
}
