//! Token ids in lent memory, and the merging of a word's symbols at their end.

/// There is no room for another token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Tokens that there is room for.
    pub capacity: usize,
}

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "there is room for {} symbols, and the text has more", self.capacity)
    }
}

impl core::error::Error for Full {}

/// Ids, and where each ends in the text that it is of. A word's symbols lie in them before they are
/// merged: there must be room for as many as it has bytes.
#[derive(Debug)]
pub struct Tokens<'m> {
    ids: &'m mut [u32],
    ends: &'m mut [u32],
    /// The rank of each symbol with the next one; all ones where they are not merged.
    ranks: &'m mut [u32],
    len: usize,
}

/// The rank of what is not merged.
const NEVER: u32 = u32::MAX;

impl<'m> Tokens<'m> {
    /// Words of memory for `capacity` tokens.
    pub const fn words(capacity: usize) -> usize {
        3 * capacity
    }

    /// No token yet, in `memory`.
    pub fn new(memory: &'m mut [u32]) -> Self {
        let capacity = memory.len() / 3;
        let (ids, rest) = memory.split_at_mut(capacity);
        let (ends, rest) = rest.split_at_mut(capacity);
        Tokens { ids, ends, ranks: &mut rest[..capacity], len: 0 }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.len]
    }

    /// Where each ends in its text.
    pub fn ends(&self) -> &[u32] {
        &self.ends[..self.len]
    }

    /// The ids, once nothing more is added.
    pub fn into_ids(self) -> &'m [u32] {
        &self.ids[..self.len]
    }

    /// Forgets all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Adds a token that ends at `end`.
    ///
    /// # Errors
    /// If there is no room.
    pub fn push(&mut self, id: u32, end: u32) -> Result<(), Full> {
        let capacity = self.ids.len();
        if self.len == capacity {
            return Err(Full { capacity });
        }
        (self.ids[self.len], self.ends[self.len]) = (id, end);
        self.len += 1;
        Ok(())
    }

    /// Whether the last of the tokens from `begin` on is `id`.
    pub(super) fn last_is(&self, id: u32, begin: usize) -> bool {
        self.ids()[begin..].last() == Some(&id)
    }

    /// Lets the last token end at `end`.
    pub(super) fn stretch(&mut self, end: u32) {
        if let Some(last) = self.ends[..self.len].last_mut() {
            *last = end;
        }
    }

    /// Merges the tokens from `begin` on, always the first of the pairs of the lowest rank that
    /// `merged` knows.
    pub(super) fn merge(&mut self, begin: usize, merged: impl Fn(u32, u32) -> Option<(u32, u32)>) {
        let (ids, ends, ranks) =
            (&mut self.ids[begin..], &mut self.ends[begin..], &mut self.ranks[begin..]);
        let mut len = self.len - begin;
        let rank =
            |ids: &[u32], i: usize| merged(ids[i], ids[i + 1]).map_or(NEVER, |(rank, _)| rank);
        for i in 1..len {
            ranks[i - 1] = rank(ids, i - 1);
        }
        while len > 1 {
            let pairs = &ranks[..len - 1];
            let lowest = pairs.iter().copied().fold(NEVER, u32::min);
            let Some(i) = pairs.iter().position(|&rank| rank == lowest) else { break };
            let Some((_, id)) = (lowest != NEVER).then(|| merged(ids[i], ids[i + 1])).flatten()
            else {
                break;
            };
            (ids[i], ends[i]) = (id, ends[i + 1]);
            ids.copy_within(i + 2..len, i + 1);
            ends.copy_within(i + 2..len, i + 1);
            ranks.copy_within(i + 1..len - 1, i);
            len -= 1;
            if i > 0 {
                ranks[i - 1] = rank(ids, i - 1);
            }
            if i + 1 < len {
                ranks[i] = rank(ids, i);
            }
        }
        self.len = begin + len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(left: u32, right: u32) -> Option<(u32, u32)> {
        // ab before bc, abc from either, aa.
        match (left, right) {
            (1, 2) => Some((1, 12)),
            (2, 3) => Some((0, 23)),
            (1, 23) | (12, 3) => Some((5, 123)),
            (1, 1) => Some((7, 11)),
            _ => None,
        }
    }

    #[test]
    fn the_lowest_rank_goes_first_and_of_equals_the_left_one() {
        let mut memory = [0; 30];
        let mut tokens = Tokens::new(&mut memory);
        for (end, id) in (1..).zip([9, 1, 2, 3, 1, 1, 1, 2]) {
            tokens.push(id, end).unwrap();
        }
        tokens.merge(1, merged);
        assert_eq!(tokens.ids(), [9, 123, 11, 12]);
        assert_eq!(tokens.ends(), [1, 4, 6, 8]);
        tokens.merge(4, merged);
        assert_eq!(tokens.len(), 4);
    }

    #[test]
    fn a_token_too_many_is_an_error() {
        let mut memory = [0; 6];
        let mut tokens = Tokens::new(&mut memory);
        tokens.push(1, 1).unwrap();
        tokens.push(2, 2).unwrap();
        assert_eq!(tokens.push(3, 3), Err(Full { capacity: 2 }));
        assert_eq!(tokens.into_ids(), [1, 2]);
    }
}
