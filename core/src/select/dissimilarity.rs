//! IDD, the in-domain dissimilarity: how far an embedding is from the buffered ones of its domain
//! (arXiv 2311.12275).
//!
//! ```text
//! IDD(E, B) = (1 / R) sum_i (1 - cos(E, E_i))       the R buffered sets of E's dominant domain
//!           = 1 - (e . S) / R                       e = E / |E|, S = sum_i E_i / |E_i|
//! ```
//!
//! The second form reads each embedding once. `R = 0` scores 1; a buffered set leaves itself out.
//! An embedding that is zero or not finite has no direction and is taken as equal to all (cosine
//! 1): it never counts as new, and new ones are not new because of it.

use super::{Buffer, Domain, Unreadable};

/// The embeddings of one domain: the sum of their directions, over lent memory.
#[derive(Debug)]
pub struct Peers<'a> {
    sum: &'a mut [f32],
    count: usize,
    without_direction: usize,
}

impl<'a> Peers<'a> {
    /// Nobody yet; `sum (D)` is cleared.
    pub fn new(sum: &'a mut [f32]) -> Self {
        sum.fill(0.0);
        Peers { sum, count: 0, without_direction: 0 }
    }

    /// How many there are, R.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds `embedding (D)`.
    ///
    /// # Panics
    /// If its length is not D.
    pub fn add(&mut self, embedding: &[f32]) {
        assert_eq!(embedding.len(), self.sum.len(), "the embedding has D components");
        self.count += 1;
        match inverse_norm(embedding) {
            Some(scale) => {
                for (sum, &x) in self.sum.iter_mut().zip(embedding) {
                    *sum += (f64::from(x) * scale) as f32;
                }
            }
            None => self.without_direction += 1,
        }
    }

    /// IDD of `embedding (D)` against all of them; in `0..=2`.
    ///
    /// # Panics
    /// If its length is not D.
    pub fn dissimilarity(&self, embedding: &[f32]) -> f32 {
        self.against(embedding, self.count, 0.0)
    }

    /// IDD of `member (D)`, one of them, against the others; in `0..=2`.
    ///
    /// # Panics
    /// If its length is not D.
    pub fn dissimilarity_of_member(&self, member: &[f32]) -> f32 {
        self.against(member, self.count.saturating_sub(1), 1.0)
    }

    /// `own`: the embedding's cosine with itself, to take off the sum.
    fn against(&self, embedding: &[f32], others: usize, own: f64) -> f32 {
        assert_eq!(embedding.len(), self.sum.len(), "the embedding has D components");
        if others == 0 {
            return 1.0;
        }
        let Some(scale) = inverse_norm(embedding) else { return 0.0 };
        let cosines = dot(embedding, self.sum) * scale - own + self.without_direction as f64;
        (1.0 - cosines / others as f64).clamp(0.0, 2.0) as f32
    }
}

/// Gathers the buffered embeddings of `domain`; `sum` and `embedding` are scratch of D each.
///
/// # Errors
/// If an embedding cannot be read.
pub fn peers<'a>(
    buffer: &mut dyn Buffer,
    domain: Domain,
    sum: &'a mut [f32],
    embedding: &mut [f32],
) -> Result<Peers<'a>, Unreadable> {
    let mut peers = Peers::new(sum);
    for bin in 0..buffer.bins() {
        if buffer.entry(bin).is_some_and(|entry| entry.scores.domain == domain) {
            buffer.embedding(bin, embedding)?;
            peers.add(embedding);
        }
    }
    Ok(peers)
}

/// `1 / |x|`; `None` if `x` is zero or not finite.
fn inverse_norm(x: &[f32]) -> Option<f64> {
    let squares = dot(x, x);
    (squares.is_finite() && squares > 0.0).then(|| 1.0 / libm::sqrt(squares))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, pair by pair.
    fn oracle(e: &[f32], others: &[Vec<f32>]) -> f64 {
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
            };
            let c = dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt());
            if c.is_finite() { c } else { 1.0 }
        };
        if others.is_empty() {
            return 1.0;
        }
        others.iter().map(|o| 1.0 - cosine(e, o)).sum::<f64>() / others.len() as f64
    }

    fn noise(n: usize, seed: u32) -> Vec<f32> {
        let mut x = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        (0..n)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 8) as f32 / 8.4e6 - 0.5
            })
            .collect()
    }

    #[test]
    fn hand_computed_angles() {
        let mut sum = [0.0; 2];
        let mut peers = Peers::new(&mut sum);
        assert_eq!(peers.dissimilarity(&[3.0, 4.0]), 1.0);
        peers.add(&[5.0, 0.0]);
        assert_eq!(peers.dissimilarity(&[0.1, 0.0]), 0.0);
        assert_eq!(peers.dissimilarity(&[0.0, 2.0]), 1.0);
        assert_eq!(peers.dissimilarity(&[-7.0, 0.0]), 2.0);
        peers.add(&[0.0, 1.0]);
        assert_eq!(peers.dissimilarity_of_member(&[0.0, 1.0]), 1.0);
        // cosines 0.6 and 0.8.
        assert!((peers.dissimilarity(&[3.0, 4.0]) - 0.3).abs() < 1e-7);
    }

    #[test]
    fn sums_of_directions_equal_the_pairwise_definition() {
        for seed in 0..20 {
            let mut set: Vec<Vec<f32>> =
                (0..1 + seed % 7).map(|i| noise(48, seed * 99 + i)).collect();
            if seed % 3 == 0 {
                set.push(vec![0.0; 48]);
                set.push(vec![f32::NAN; 48]);
            }
            let mut sum = [0.0; 48];
            let mut peers = Peers::new(&mut sum);
            set.iter().for_each(|e| peers.add(e));
            let new = noise(48, 7 + seed);
            assert!((f64::from(peers.dissimilarity(&new)) - oracle(&new, &set)).abs() < 1e-6);
            for (i, member) in set.iter().enumerate() {
                let mut others = set.clone();
                others.remove(i);
                let ours = f64::from(peers.dissimilarity_of_member(member));
                assert!((ours - oracle(member, &others)).abs() < 1e-6, "{seed} {i}");
            }
        }
    }

    #[test]
    fn embeddings_without_direction_are_never_new() {
        let mut sum = [0.0; 2];
        let mut peers = Peers::new(&mut sum);
        peers.add(&[1.0, 0.0]);
        for broken in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            assert_eq!(peers.dissimilarity(&broken), 0.0);
        }
        peers.add(&[f32::NAN; 2]);
        assert_eq!(peers.dissimilarity(&[0.0, 1.0]), 0.5);
        assert!(peers.dissimilarity(&[f32::MAX, f32::MIN]).is_finite());
    }
}
