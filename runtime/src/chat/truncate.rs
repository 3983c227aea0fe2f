//! Making a dialogue fit: the oldest turns go first, then the start of the question.
//!
//! ```text
//! system | user assistant | user assistant | user assistant      too long
//! system |                  user assistant | user assistant      the oldest turn is left out
//! system |                                   user assistant      only the last exchange stays
//! system |                                   ..er assistant      the question loses its first tokens,
//!                                                                then the system, then the reply's end
//! ```

use core::ops::Range;

use super::{Chat, Error, Rendered};
use crate::dialogue::{Message, Role};

impl Chat {
    /// Renders as much of `messages` as `limit` tokens hold. `dropped` and `cut` of the result say
    /// what was left out. A turn goes with its answer, so that roles still alternate.
    ///
    /// # Errors
    /// As [`Chat::render`], or the template alone is longer than `limit`.
    pub fn render_within(
        &self,
        messages: &[Message],
        prompt: bool,
        limit: usize,
    ) -> Result<Rendered, Error> {
        let mut rendered = self.render(messages, prompt)?;
        if rendered.ids.len() <= limit {
            return Ok(rendered);
        }
        let system = messages.iter().take_while(|m| m.role == Role::System).count();
        let starts: Vec<usize> =
            (system + 1..messages.len()).filter(|&i| messages[i].role == Role::User).collect();
        for start in starts {
            let kept = [&messages[..system], &messages[start..]].concat();
            rendered = self.render(&kept, prompt)?;
            rendered.dropped = start - system;
            if rendered.ids.len() <= limit {
                return Ok(rendered);
            }
        }
        rendered.cut_to(limit)?;
        Ok(rendered)
    }
}

impl Rendered {
    /// The tokens that lie wholly in the content of message `i`.
    fn tokens_of(&self, i: usize) -> Range<usize> {
        let Some(Some(place)) = self.contents.get(i).map(|(_, place)| place) else { return 0..0 };
        let start = self.spans.partition_point(|span| span.start < place.start);
        let end = self.spans.partition_point(|span| span.end <= place.end);
        start..end.max(start)
    }

    fn cut_to(&mut self, limit: usize) -> Result<(), Error> {
        let excess = |r: &Self| r.ids.len().saturating_sub(limit);
        let last = self.contents.len().saturating_sub(1);
        let answered = self.contents.last().is_some_and(|(role, _)| *role == Role::Assistant);
        // The question next to the reply first, then what stands before it.
        for i in (0..self.contents.len() - usize::from(answered)).rev() {
            let tokens = self.tokens_of(i);
            let n = excess(self).min(tokens.len());
            self.remove(tokens.start..tokens.start + n);
        }
        if answered {
            let tokens = self.tokens_of(last);
            let n = excess(self).min(tokens.len());
            // What follows the reply goes with its end, which is no longer there.
            let end = if n > 0 { self.ids.len() } else { tokens.end };
            let start = if n > 0 { limit.max(tokens.start).min(end) } else { end };
            self.remove(start..end);
        }
        match excess(self) {
            0 => Ok(()),
            more => Err(Error::TooLong { needed: limit + more, limit }),
        }
    }

    fn remove(&mut self, tokens: Range<usize>) {
        self.cut += tokens.len();
        self.ids.drain(tokens.clone());
        self.spans.drain(tokens.clone());
        self.ends.drain(tokens.clone());
        self.eos.drain(tokens);
    }
}
