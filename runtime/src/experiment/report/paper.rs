//! The paper's figures (Qin et al., DAC 2024, OpenLLaMA-3B, ROUGE-1), to be set beside ours as relative
//! gains: absolute ones compare on one model alone.

/// Table 4: each metric alone and all three, with 128 bins; exact.
pub struct Metrics {
    /// The data set.
    pub name: &'static str,
    /// Entropy alone.
    pub entropy: f64,
    /// The domain score alone.
    pub domain: f64,
    /// The dissimilarity alone.
    pub dissimilarity: f64,
    /// All three.
    pub quality: f64,
}

const fn metrics(name: &'static str, [e, d, i, q]: [f64; 4]) -> Metrics {
    Metrics { name, entropy: e, domain: d, dissimilarity: i, quality: q }
}

/// Table 4.
pub const METRICS: [Metrics; 6] = [
    metrics("ALPACA", [0.2821, 0.2726, 0.2950, 0.3736]),
    metrics("DOLLY", [0.2782, 0.2633, 0.2247, 0.3465]),
    metrics("Prosocial-Dialog", [0.2617, 0.2441, 0.2324, 0.3062]),
    metrics("Empathetic-Dialog", [0.2661, 0.2726, 0.2707, 0.3260]),
    metrics("OPENORCA", [0.2468, 0.2362, 0.2468, 0.2813]),
    metrics("MedDialog", [0.2608, 0.2726, 0.2931, 0.3429]),
];

/// Figure 2 after 4,600 dialogues, read off within 0.002: random, FIFO, K-Center and theirs.
pub const BASELINES: [(&str, [f64; 4]); 6] = [
    ("ALPACA", [0.266, 0.234, 0.270, 0.3736]),
    ("DOLLY", [0.242, 0.220, 0.246, 0.3465]),
    ("Prosocial-Dialog", [0.237, 0.204, 0.202, 0.3062]),
    ("Empathetic-Dialog", [0.235, 0.226, 0.214, 0.3260]),
    ("OPENORCA", [0.239, 0.229, 0.203, 0.2813]),
    ("MedDialog", [0.247, 0.241, 0.217, 0.3429]),
];

/// Figure 3: ROUGE-1 on MedDialog with 1 to 9 synthesised sets, read off.
pub const SYNTHESISED: [f64; 9] = [0.2415, 0.281, 0.2925, 0.314, 0.322, 0.344, 0.343, 0.345, 0.344];

/// The gain of theirs over the best of the three baselines.
pub fn gain([random, fifo, k_center, ours]: [f64; 4]) -> f64 {
    ours / random.max(fifo).max(k_center) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gains_are_those_that_the_paper_speaks_of() {
        let gains = BASELINES.map(|(_, values)| (100.0 * gain(values)).round());
        assert_eq!(gains, [38.0, 41.0, 29.0, 39.0, 18.0, 39.0]);
        for ((name, [.., ours]), metrics) in BASELINES.iter().zip(&METRICS) {
            assert_eq!((*name, *ours), (metrics.name, metrics.quality));
        }
    }
}
