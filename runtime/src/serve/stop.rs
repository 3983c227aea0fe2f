//! Ends a reply before one of some texts, wherever the pieces of the reply are cut.

/// Holds back what may be the beginning of a text that ends the reply.
#[derive(Debug, Default)]
pub struct Filter {
    stops: Vec<String>,
    held: String,
}

impl Filter {
    /// Ends before the first of `stops`.
    pub fn new(stops: Vec<String>) -> Self {
        Filter { stops, held: String::new() }
    }

    /// Takes a piece; gives what is sure by now, and whether the reply ends with it.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.held.truncate(at);
            return (core::mem::take(&mut self.held), true);
        }
        // The longest end of what is held that a stop begins with.
        let begins = |at: &usize| {
            let end = &self.held[*at..];
            self.stops.iter().any(|stop| stop.starts_with(end))
        };
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest.saturating_sub(1));
        let at = (from..self.held.len()).filter(|at| self.held.is_char_boundary(*at)).find(begins);
        let rest = self.held.split_off(at.unwrap_or(self.held.len()));
        (core::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back and turned out to be none.
    pub fn finish(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_before_a_stop_however_it_is_cut() {
        let text = "One, two, thé END of it";
        for stops in [vec!["END"], vec!["thé", "END"], vec!["xyz"], vec![" END of it!"], vec![]] {
            let stops: Vec<String> = stops.into_iter().map(str::to_owned).collect();
            let expected = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
            let expected = &text[..expected.unwrap_or(text.len())];
            for size in 1..text.chars().count() {
                let mut filter = Filter::new(stops.clone());
                let (mut out, mut ended) = (String::new(), false);
                let letters: Vec<char> = text.chars().collect();
                for piece in letters.chunks(size) {
                    let (sure, ends) = filter.push(&piece.iter().collect::<String>());
                    out.push_str(&sure);
                    ended = ends;
                    if ends {
                        break;
                    }
                }
                if !ended {
                    out.push_str(&filter.finish());
                }
                assert_eq!(out, expected, "{stops:?} by {size}");
            }
        }
    }
}
