//! Random numbers: SplitMix64 (Steele, Lea and Flood 2014), as a stream and as a hash of counters.
//!
//! ```text
//! stream   state += GOLDEN ; output = mix(state)
//! hash     h = mix(h + GOLDEN * (word + 1))   for each word of the counter
//! ```
//! The hash needs no state, so a value depends on what it is for and not on what was drawn before.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: a bijection whose output bits look independent.
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash of `words`, in order.
pub fn hash(words: &[u64]) -> u64 {
    words.iter().fold(0, |h, &word| next(h, word))
}

/// The hash `h` of some words continued by `word`.
pub(crate) const fn next(h: u64, word: u64) -> u64 {
    mix(h.wrapping_add(GOLDEN.wrapping_mul(word.wrapping_add(1))))
}

/// A stream of random numbers; the same seed gives the same stream everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The stream of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    /// A stream that goes on where [`state`](Self::state) was taken.
    pub const fn from_state(state: u64) -> Self {
        Self { state }
    }

    /// Where the stream is, to store it.
    pub const fn state(&self) -> u64 {
        self.state
    }

    /// 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-24.
    pub const fn next_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `0..n` without bias (Lemire 2019, algorithm 5); 0 if `n` is 0.
    pub const fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = self.next_u64() as u128 * n as u128;
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Puts `items` in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // The first outputs of SplitMix64 from state 1234567.
        let mut rng = Rng::from_state(1234567);
        let first = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
        assert_eq!(first, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn draws_below_n_reach_every_value_about_equally() {
        let mut rng = Rng::new(1);
        let mut counts = [0; 7];
        for _ in 0..7000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (880..1120).contains(c)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn floats_are_in_the_unit_interval_with_mean_a_half() {
        let mut rng = Rng::new(2);
        let draws: Vec<f32> = (0..10_000).map(|_| rng.next_f32()).collect();
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
        assert!((draws.iter().sum::<f32>() / 1e4 - 0.5).abs() < 0.01);
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_depends_on_the_seed() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..50).collect();
            Rng::new(seed).shuffle(&mut items);
            items
        };
        let mut sorted = order(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(order(3), order(3));
        assert_ne!(order(3), order(4));
    }

    #[test]
    fn the_hash_depends_on_the_order_of_words() {
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        assert_ne!(hash(&[0]), hash(&[0, 0]));
    }
}
