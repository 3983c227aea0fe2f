//! Which tokens the loss counts.
//!
//! ```text
//! User : ␣ Hi \n Assistant : ␣Ho </s> \n User : ␣ No \n Assistant : ␣So </s> \n
//! response                                                          ^^^ ^^^^
//! assistant                  ^^^ ^^^^                               ^^^ ^^^^
//! all    ^ ^ ^^ ... every token but the first
//! ```

use core::ops::Range;
use core::str::FromStr;

use super::Rendered;
use crate::dialogue::Role;
use crate::tokenizer::touches;

/// What a dialogue teaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The last message, where it is the assistant's, and its end token.
    #[default]
    Response,
    /// Every message of the assistant and its end token.
    Assistant,
    /// Every token after the first.
    All,
}

impl Loss {
    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Assistant => "assistant",
            Self::All => "all",
        }
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Response, Self::Assistant, Self::All]
            .into_iter()
            .find(|loss| loss.as_str() == name)
            .ok_or_else(|| format!("{name:?} is none of response, assistant, all"))
    }
}

impl Rendered {
    /// For each token whether it is predicted and counted; the first never is.
    pub fn targets(&self, loss: Loss) -> Vec<bool> {
        let mut targets = vec![loss == Loss::All; self.ids.len()];
        let messages = match loss {
            Loss::All => 0..0,
            Loss::Response => self.contents.len().saturating_sub(1)..self.contents.len(),
            Loss::Assistant => 0..self.contents.len(),
        };
        for (role, place) in &self.contents[messages] {
            if let (Role::Assistant, Some(place)) = (role, place) {
                self.mark(place, &mut targets);
            }
        }
        if let Some(first) = targets.first_mut() {
            *first = false;
        }
        targets
    }

    /// Marks the tokens of one message and what ends it: the control token that directly follows,
    /// or an end of reply behind spaces, which then have to be predicted too.
    fn mark(&self, place: &Range<usize>, targets: &mut [bool]) {
        let mut end = self.spans.partition_point(|span| span.end <= place.start);
        while let Some(span) = self.spans.get(end)
            && span.start < place.end
        {
            targets[end] = touches(core::slice::from_ref(place), span);
            end += 1;
        }
        // A last token that swallowed spaces of the content is the end itself.
        if end > 0 && targets[end - 1] && self.ends[end - 1] {
            return;
        }
        let spaces = |span: &Range<usize>| self.text[span.clone()].trim().is_empty();
        let last = (end..self.ids.len()).find(|&i| self.ends[i] || !spaces(&self.spans[i]));
        if let Some(last) = last
            && self.ends[last]
            && (last == end || self.eos[last])
        {
            targets[end..=last].fill(true);
        }
    }
}
