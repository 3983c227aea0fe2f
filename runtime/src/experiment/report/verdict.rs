//! What the figures say, in words: the gate, the gain over the best baseline, the controls.

use super::super::results::Row;
use super::super::stats::{self, Gain};
use super::load::{At, BASELINES, Loaded, StreamRuns};

/// *All data* must gain so much over no tuning for a stream to count.
pub const GATE: f64 = 0.10;

/// Whether a stream can tell policies apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// *All data* gains enough, with its interval above zero.
    Counted(Gain),
    /// It does not.
    NotCounted(Gain),
    /// `all` or `none` was not run, or there is nothing to divide by.
    Unknown,
}

/// The gate of `stream`.
pub fn gate(stream: &StreamRuns, at: At) -> Gate {
    match stream.gain(("all", at), ("none", at)) {
        None => Gate::Unknown,
        Some(gain) if gain.gain >= GATE && gain.low > 0.0 => Gate::Counted(gain),
        Some(gain) => Gate::NotCounted(gain),
    }
}

impl Gate {
    /// For a table.
    pub fn word(&self) -> &'static str {
        match self {
            Gate::Counted(_) => "counted",
            Gate::NotCounted(_) => "not counted",
            Gate::Unknown => "no gate",
        }
    }

    /// For people.
    pub fn said(&self, stream: &str) -> String {
        match self {
            Gate::Counted(gain) => format!(
                "`{stream}` counts: learning from all data gains {} over no tuning.",
                percent(gain)
            ),
            Gate::NotCounted(gain) => format!(
                "`{stream}` is **not counted**: learning from all data changes ROUGE-1 by {} over no \
                 tuning, where at least +{:.0}% with an interval above zero is asked. This base cannot \
                 tell policies apart here.",
                percent(gain),
                100.0 * GATE
            ),
            Gate::Unknown => {
                format!(
                    "`{stream}` has no gate: `all` or `none` was not run, so it is not counted."
                )
            }
        }
    }
}

/// What an interval says of an effect.
pub fn effect(gain: &Gain) -> &'static str {
    match gain {
        gain if gain.low > 0.0 => "better",
        gain if gain.high < 0.0 => "worse",
        _ => "no effect shown",
    }
}

/// `+12.3% [+2.1, +20.4]`.
pub fn percent(gain: &Gain) -> String {
    let Gain { gain, low, high } = gain;
    format!("{:+.1}% [{:+.1}, {:+.1}]", 100.0 * gain, 100.0 * low, 100.0 * high)
}

/// The candidate whose gain over the best baseline is the highest, over the streams it was run on.
pub fn best_candidate(loaded: &Loaded, at: At) -> Option<&str> {
    let mean = |arm: &str| -> Option<f64> {
        let gains: Vec<f64> = loaded
            .streams
            .iter()
            .filter_map(|stream| {
                let base = stream.rouge1(stream.best_baseline(at)?, at)?;
                Some(stream.rouge1(arm, at)? / base - 1.0)
            })
            .collect();
        (!gains.is_empty()).then(|| gains.iter().sum::<f64>() / gains.len() as f64)
    };
    let known = loaded.candidates().into_iter().filter_map(|arm| Some((arm, mean(arm)?)));
    known.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(arm, _)| arm)
}

/// The counted streams.
pub fn counted(loaded: &Loaded, at: At) -> impl Iterator<Item = &StreamRuns> {
    loaded.streams.iter().filter(move |stream| matches!(gate(stream, at), Gate::Counted(_)))
}

/// The baseline of the highest mean over the counted streams, of those that all of them have.
pub fn common_baseline(loaded: &Loaded, at: At) -> Option<&'static str> {
    let mean = |arm: &str| -> Option<f64> {
        let all: Option<Vec<f64>> = counted(loaded, at).map(|one| one.rouge1(arm, at)).collect();
        all.filter(|all| !all.is_empty()).map(|all| stats::mean(&all))
    };
    let known = BASELINES.into_iter().filter_map(|arm| Some((arm, mean(arm)?)));
    known.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(arm, _)| arm)
}

/// The gain of `arm` over `base` on the counted streams together, and how many there are.
pub fn together(loaded: &Loaded, arm: &str, base: &str, at: At) -> Option<(Gain, usize)> {
    let pairs: Vec<stats::Pair> =
        counted(loaded, at).map(|stream| stream.pair((arm, at), (base, at))).collect();
    Some((stats::together(&pairs)?, pairs.len()))
}

/// Means of ROUGE-1 and of annotations of `arm` over the counted streams.
pub fn means(loaded: &Loaded, arm: &str, at: At) -> [f64; 2] {
    let of = |figure: fn(&Row) -> f64| {
        let streams =
            counted(loaded, at).map(|stream| stats::mean(&stream.figures(arm, at, figure)));
        stats::mean(&streams.collect::<Vec<_>>())
    };
    [of(|row| row.rouge1), of(|row| row.annotations as f64)]
}

/// What is to be said of `arm` over all streams.
pub fn summary(loaded: &Loaded, arm: &str, at: At) -> String {
    let (mut better, mut worse, mut counted, mut gains) = (0, 0, 0, Vec::new());
    for stream in &loaded.streams {
        if !matches!(gate(stream, at), Gate::Counted(_)) {
            continue;
        }
        let Some(base) = stream.best_baseline(at) else { continue };
        let Some(gain) = stream.gain((arm, at), (base, at)) else { continue };
        counted += 1;
        better += usize::from(gain.low > 0.0);
        worse += usize::from(gain.high < 0.0);
        gains.push(100.0 * gain.gain);
    }
    if counted == 0 {
        return format!(
            "`{arm}`: no stream both counts and has a baseline, so nothing is shown of it."
        );
    }
    let range = gains.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &gain| {
        (low.min(gain), high.max(gain))
    });
    let verdict = match () {
        () if 2 * better > counted => "It beats the best baseline on most of them.",
        () if better > 0 => "It does **not** beat the best baseline on most of them.",
        () => "It is **not** shown to beat the best baseline on any.",
    };
    let all = common_baseline(loaded, at).filter(|_| counted > 1).and_then(|base| {
        let (gain, n) = together(loaded, arm, base, at)?;
        Some(format!(" The {n} together: {} over `{base}`, {}.", percent(&gain), effect(&gain)))
    });
    let all = all.unwrap_or_default();
    format!(
        "`{arm}` against the best baseline on {counted} counted {}: better with an interval \
         above zero on {better}, worse with one below on {worse}, no effect shown on {}; gains from \
         {:+.1}% to {:+.1}% (the paper: +18% to +41%). {verdict}{all}",
        if counted == 1 { "stream" } else { "streams" },
        counted - better - worse,
        range.0,
        range.1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_the_interval() {
        let gain = |gain, low, high| Gain { gain, low, high };
        assert_eq!(effect(&gain(0.1, 0.01, 0.2)), "better");
        assert_eq!(effect(&gain(-0.1, -0.2, -0.01)), "worse");
        assert_eq!(effect(&gain(0.3, -0.01, 0.6)), "no effect shown");
        assert_eq!(percent(&gain(0.123, -0.02, 0.3)), "+12.3% [-2.0, +30.0]");
        assert!(Gate::NotCounted(gain(0.05, 0.01, 0.1)).said("x").contains("**not counted**"));
    }
}
