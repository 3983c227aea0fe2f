//! The embedding of a dialogue: one vector of the states after the final norm.
//!
//! ```text
//! mean  e_d = (1 / T) sum_t h_td      in f64, over the tokens that the scores are taken over
//! last  e   = h_T
//! ```

/// Which vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over the tokens.
    #[default]
    Mean,
    /// The last token's state.
    Last,
}

impl Pooling {
    /// Both.
    pub const ALL: [Pooling; 2] = [Pooling::Mean, Pooling::Last];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Pooling::Mean => "mean",
            Pooling::Last => "last",
        }
    }

    /// The pooling of that name.
    pub fn named(name: &str) -> Option<Pooling> {
        Pooling::ALL.into_iter().find(|pooling| pooling.name() == name)
    }

    /// Writes the embedding of `states (T, dim)` to `out (dim)`; zeros where T is 0.
    ///
    /// # Panics
    /// If `dim` is 0, does not divide the length of `states` or is not the length of `out`.
    pub fn pool(self, states: &[f32], dim: usize, out: &mut [f32]) {
        assert!(dim > 0 && states.len().is_multiple_of(dim), "states are rows of dim components");
        assert_eq!(out.len(), dim, "the embedding has dim components");
        let tokens = states.len() / dim;
        match self {
            Pooling::Mean => {
                for (d, out) in out.iter_mut().enumerate() {
                    let sum: f64 = states.iter().skip(d).step_by(dim).map(|&x| f64::from(x)).sum();
                    *out = (sum / tokens.max(1) as f64) as f32;
                }
            }
            Pooling::Last => match states.rchunks(dim).next() {
                Some(last) => out.copy_from_slice(last),
                None => out.fill(0.0),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_last_of_hand_made_states() {
        let states = [1.0, 2.0, 3.0, 6.0, -1.0, 1.0];
        let mut out = [9.0; 2];
        Pooling::Mean.pool(&states, 2, &mut out);
        assert_eq!(out, [1.0, 3.0]);
        Pooling::Last.pool(&states, 2, &mut out);
        assert_eq!(out, [-1.0, 1.0]);
        for pooling in Pooling::ALL {
            pooling.pool(&[], 2, &mut out);
            assert_eq!(out, [0.0; 2]);
            assert_eq!(Pooling::named(pooling.name()), Some(pooling));
        }
    }
}
