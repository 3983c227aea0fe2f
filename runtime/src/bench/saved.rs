//! What `bench` measured on this machine, kept for `plan`: one JSON file for a model, a number of threads
//! and an instruction set, in the user's cache folder.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Report;
use crate::durable;

/// Which measurement.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What tells the weights from others: [`base_hash`](crate::checkpoint::Checkpoint::base_hash), or of
    /// random ones their shape and type.
    pub weights: &'a str,
    /// Threads.
    pub threads: usize,
    /// The table of kernels.
    pub isa: &'a str,
}

/// Rates that were measured here.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Tokens a second of a prompt.
    pub prefill: f64,
    /// New tokens a second.
    pub decode: f64,
    /// Trained tokens a second, and how they were trained.
    pub train: Option<(f64, Trained)>,
    /// Days ago.
    pub days: u64,
}

/// What a training rate was measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trained {
    /// Tokens of an example.
    pub length: u64,
    /// Examples of a step.
    pub batch: u64,
    /// Layers of which everything was kept: a ceiling may have left less than there is.
    pub kept: u64,
}

impl Subject<'_> {
    fn file(&self, cache: &Path) -> PathBuf {
        let weights = self.weights.get(..16).unwrap_or(self.weights);
        cache.join(format!("bench-{weights}-{}-{}.json", self.threads, self.isa))
    }

    /// Writes `report` into the folder `cache` in place of an older one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, cache: &Path, report: &Report) -> Result<PathBuf, durable::Error> {
        let file = self.file(cache);
        let all = json!({
            "weights": self.weights,
            "cpu": cpu(),
            "seconds_since_1970": now(),
            "report": report.json(),
        });
        durable::write(&file, format!("{all:#}\n").as_bytes())?;
        Ok(file)
    }

    /// What was saved in `cache` on a CPU like this one, if anything was.
    pub fn load(&self, cache: &Path) -> Option<Saved> {
        let all: Value = serde_json::from_slice(&std::fs::read(self.file(cache)).ok()?).ok()?;
        if all["weights"] != self.weights || all["cpu"] != cpu() {
            return None;
        }
        let report = &all["report"];
        Some(Saved {
            prefill: report["prefill_tokens_per_second"].as_f64()?,
            decode: report["decode_tokens_per_second"].as_f64()?,
            train: report["train_tokens_per_second"].as_f64().and_then(|rate| {
                let whole = |name: &str| report[name].as_u64();
                let examples = whole("train_batch")? * whole("train_accumulate")?;
                let (length, kept) = (whole("train_length")?, whole("train_layers_kept")?);
                Some((rate, Trained { length, batch: examples, kept }))
            }),
            days: now().saturating_sub(all["seconds_since_1970"].as_u64()?) / 86_400,
        })
    }
}

/// What this machine calls its CPU.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line =
        info.lines().find(|line| line.starts_with("model name") || line.starts_with("CPU part"));
    let name = line.and_then(|line| line.split_once(':')).map_or("", |(_, name)| name.trim());
    format!("{} {name}", std::env::consts::ARCH)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
