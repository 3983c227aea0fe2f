//! The learning rate over the steps, as transformers' `get_scheduler` gives it.
//!
//! ```text
//! step < warmup    step / warmup                          (the first step of a warm-up has rate 0)
//! constant         1
//! linear           (total - step) / (total - warmup)
//! cosine           (1 + cos(pi (step - warmup) / (total - warmup))) / 2
//! ```

/// How the rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls to zero in a line.
    Linear,
    /// It falls to zero along half a cosine (Loshchilov and Hutter 2017).
    Cosine,
}

impl Schedule {
    /// Every schedule.
    pub const ALL: [Schedule; 3] = [Schedule::Constant, Schedule::Linear, Schedule::Cosine];

    /// The name that `--schedule` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Schedule::Constant => "constant",
            Schedule::Linear => "linear",
            Schedule::Cosine => "cosine",
        }
    }

    /// What the learning rate is multiplied by in step `step` of `total`, counted from 0, of which
    /// the first `warmup` warm up.
    pub fn factor(self, step: u64, warmup: u64, total: u64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let length = total.saturating_sub(warmup).max(1) as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => total.saturating_sub(step) as f64 / length,
            Schedule::Cosine => {
                let progress = (step - warmup) as f64 / length;
                (0.5 * (1.0 + libm::cos(core::f64::consts::PI * progress))).max(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: Schedule, warmup: u64) -> Vec<f64> {
        (0..6).map(|step| schedule.factor(step, warmup, 6)).collect()
    }

    fn assert_close(a: &[f64], b: &[f64]) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12), "{a:?} instead of {b:?}");
    }

    #[test]
    fn the_factors_are_those_of_transformers() {
        // transformers 5.23, `get_scheduler(..., num_warmup_steps=2, num_training_steps=6)`.
        assert_close(&factors(Schedule::Constant, 2), &[0.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
        assert_close(&factors(Schedule::Linear, 2), &[0.0, 0.5, 1.0, 0.75, 0.5, 0.25]);
        let cosine = [0.0, 0.5, 1.0, 0.8535533905932737, 0.5, 0.14644660940672627];
        assert_close(&factors(Schedule::Cosine, 2), &cosine);
        assert_close(&factors(Schedule::Linear, 0)[..2], &[1.0, 5.0 / 6.0]);
    }

    #[test]
    fn past_the_end_and_without_steps_the_factor_is_defined() {
        assert_eq!(Schedule::Linear.factor(9, 2, 6), 0.0);
        assert_eq!(Schedule::Linear.factor(0, 0, 0), 0.0);
        assert_eq!(Schedule::Cosine.factor(3, 3, 3), 1.0);
        assert_eq!(Schedule::Constant.factor(u64::MAX, 0, 0), 1.0);
    }
}
