//! What was measured, as a table for a person and as JSON for a program.

use serde_json::{Value, json};

use super::{Limits, Settings};
use crate::memory::Peak;
use crate::tune::Plan;

/// Tokens a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens of one repetition.
    pub tokens: usize,
    /// In the best repetition.
    pub best: f64,
    /// In the median one.
    pub median: f64,
}

impl Rate {
    /// The rate of repetitions of `tokens` tokens that took these `seconds`.
    pub(super) fn new(tokens: usize, mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let rate = |i: usize| tokens as f64 / seconds.get(i).copied().unwrap_or(f64::NAN);
        Self { tokens, best: rate(0), median: rate(seconds.len() / 2) }
    }
}

/// What training took.
#[derive(Clone, Copy, Debug)]
pub struct Training {
    /// Tokens a second.
    pub rate: Rate,
    /// Multiplications and additions that one step cannot do without: those of all matrix products,
    /// what was made again left out.
    pub operations: f64,
    /// How it was laid out.
    pub plan: Plan,
    /// Anonymous memory of the whole process by the plan.
    pub planned: u64,
}

/// Everything that [`run`](super::run) measured. Times in seconds.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was measured.
    pub model: String,
    /// What tells its weights from others.
    pub weights: String,
    /// The table of kernels.
    pub isa: &'static str,
    /// Threads that computed.
    pub threads: usize,
    /// How much was asked for.
    pub settings: Settings,
    /// How the linear layers' weights are stored.
    pub dtype: &'static str,
    /// Whether linear layers multiplied 8-bit integers.
    pub int8: bool,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    /// Bytes of weights that one decoded token reads: all but the rows of an untied embedding.
    pub decode_bytes: u64,
    /// Multiplications and additions of the matrix products of one prefill; attention is left out.
    pub prefill_operations: f64,
    /// To open and map the weights.
    pub load: f64,
    /// To open the tokenizer and the template, the weights once more among them.
    pub tokenizer: Option<f64>,
    /// From the start to the first token after the prompt.
    pub first_token: f64,
    /// Prompt tokens.
    pub prefill: Rate,
    /// New tokens.
    pub decode: Rate,
    /// A training step.
    pub train: Option<Training>,
    /// Memory before training.
    pub inference: Peak,
    /// Memory at the end.
    pub peak: Peak,
    /// What the machine can do.
    pub limits: Limits,
}

impl Report {
    /// Bytes of weights a second while decoding.
    pub fn read(&self) -> f64 {
        self.decode.best * self.decode_bytes as f64
    }

    /// Operations a second while prefilling.
    pub fn operations(&self) -> f64 {
        self.prefill_operations * self.prefill.best / self.prefill.tokens as f64
    }

    /// What [`operations`](Self::operations) are held against, and its name: the limit of the kind
    /// of numbers that linear layers multiplied.
    pub fn compute_limit(&self) -> (f64, &'static str) {
        self.limits.int8.filter(|_| self.int8).unwrap_or(self.limits.float)
    }

    /// As JSON; what was not measured is null.
    pub fn json(&self) -> Value {
        let mut report = json!({
            "model": self.model,
            "dtype": self.dtype,
            "kv": self.settings.precision.kv.name(),
            "activations": if self.int8 { "i8" } else { "f32" },
            "isa": self.isa,
            "threads": self.threads,
            "repeat": self.settings.repeat,
            "statistic": "best",
            "weight_bytes": self.weight_bytes,
            "load_seconds": self.load,
            "tokenizer_seconds": self.tokenizer,
            "first_token_seconds": self.first_token,
            "prefill_tokens": self.settings.prefill,
            "prefill_tokens_per_second": self.prefill.best,
            "prefill_median_tokens_per_second": self.prefill.median,
            "decode_tokens": self.settings.decode,
            "decode_tokens_per_second": self.decode.best,
            "decode_median_tokens_per_second": self.decode.median,
            "inference_peak_anonymous_bytes": self.inference.anonymous_bytes,
            "peak_anonymous_bytes": self.peak.anonymous_bytes,
            "peak_rss_bytes": self.peak.rss_bytes,
            "decode_bytes_per_second": self.read(),
            "read_bytes_per_second_limit": self.limits.read,
            "read_bandwidth_fraction": self.read() / self.limits.read,
            "prefill_operations_per_second": self.operations(),
            "float_operations_per_second_limit": self.limits.float.0,
            "float_limit": self.limits.float.1,
            "int8_operations_per_second_limit": self.limits.int8.map(|(rate, _)| rate),
            "int8_limit": self.limits.int8.map(|(_, name)| name),
            "compute_limit": self.compute_limit().1,
            "compute_peak_fraction": self.operations() / self.compute_limit().0,
        });
        // One object: a program reads the training's figures beside the others.
        if let (Some(report), Value::Object(train)) = (report.as_object_mut(), self.train_json()) {
            report.extend(train);
        }
        report
    }

    fn train_json(&self) -> Value {
        let train = |get: fn(&Training) -> f64| self.train.as_ref().map(get);
        let whole = |get: fn(&Training) -> u64| self.train.as_ref().map(get);
        json!({
            "train_length": self.settings.train.map(|train| train.length),
            "train_batch": self.settings.train.map(|train| train.batch),
            "train_accumulate": self.settings.train.map(|train| train.accumulate),
            "train_tokens_per_second": train(|train| train.rate.best),
            "train_median_tokens_per_second": train(|train| train.rate.median),
            "train_operations_per_second": train(Training::useful),
            "train_peak_fraction": self.train.as_ref().map(|t| t.useful() / self.limits.float.0),
            "train_planned_anonymous_bytes": whole(|train| train.planned),
            "train_micro_batch_rows": whole(|train| train.plan.rows as u64),
            "train_layers_kept": whole(|train| train.plan.layout.kept as u64),
            "train_inputs_kept": whole(|train| train.plan.layout.segments as u64),
            "train_mlp_rows": whole(|train| train.plan.pieces.mlp_rows as u64),
            "train_head_rows": whole(|train| train.plan.pieces.head_rows as u64),
        })
    }

    /// As lines of a table, for a terminal or as Markdown.
    pub fn table(&self, markdown: bool) -> String {
        let title = format!(
            "{}: {} of {} weights, activations {}, cache {}; {} threads, {}",
            self.model,
            bytes(self.weight_bytes),
            self.dtype,
            if self.int8 { "i8" } else { "f32" },
            self.settings.precision.kv.name(),
            self.threads,
            self.isa
        );
        let rows = self.rows();
        let mut text = format!("{title}\n");
        if markdown {
            text.push_str("\n| what | best | median | of this machine |\n|---|---|---|---|\n");
            for row in &rows {
                text.push_str(&format!("| {} |\n", row.join(" | ")));
            }
            return text;
        }
        let head = ["what", "best", "median", "of this machine"].map(str::to_owned);
        let width = |i: usize| {
            let cells = rows.iter().chain([&head]).map(|row| row[i].chars().count());
            cells.max().unwrap_or(0)
        };
        let (what, best, median) = (width(0), width(1), width(2));
        for row in core::iter::once(&head).chain(&rows) {
            let [a, b, c, d] = row;
            let line = format!("{a:<what$}  {b:>best$}  {c:>median$}  {d}");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn rows(&self) -> Vec<[String; 4]> {
        let row = |what: String, best: String| [what, best, String::new(), String::new()];
        let (read, compute) = (self.limits.read, self.compute_limit());
        let rate = |what: String, rate: &Rate, of: String| {
            [what, format!("{:.1} tok/s", rate.best), format!("{:.1} tok/s", rate.median), of]
        };
        let mut rows = vec![
            rate(
                format!("prefill {}", self.settings.prefill),
                &self.prefill,
                format!(
                    "{:.0} of {:.0} GOP/s ({}): {:.0}%",
                    self.operations() / 1e9,
                    compute.0 / 1e9,
                    compute.1,
                    100.0 * self.operations() / compute.0
                ),
            ),
            rate(
                format!("decode {}", self.settings.decode),
                &self.decode,
                format!(
                    "{:.1} of {:.1} GB/s: {:.0}%",
                    self.read() / 1e9,
                    read / 1e9,
                    100.0 * self.read() / read
                ),
            ),
        ];
        if let (Some(train), Some(asked)) = (&self.train, self.settings.train) {
            let what = match asked.accumulate {
                1 => format!("train {} x {}", asked.batch, asked.length),
                more => format!("train {more} x {} x {}", asked.batch, asked.length),
            };
            let (useful, limit) = (train.useful(), self.limits.float);
            let of = format!(
                "{:.0} of {:.0} GOP/s ({}): {:.0}%",
                useful / 1e9,
                limit.0 / 1e9,
                limit.1,
                100.0 * useful / limit.0
            );
            rows.push(rate(what, &train.rate, of));
        }
        rows.push(row("load".into(), milliseconds(self.load)));
        if let Some(tokenizer) = self.tokenizer {
            rows.push(row("tokenizer, template".into(), milliseconds(tokenizer)));
        }
        let first = format!("first token after {}", self.settings.prefill);
        rows.push(row(first, milliseconds(self.first_token)));
        let memory = [
            ("anonymous, inference", self.inference.anonymous_bytes),
            ("anonymous, peak", self.peak.anonymous_bytes),
            ("resident, peak", self.peak.rss_bytes),
        ];
        rows.extend(memory.map(|(what, size)| row(what.into(), bytes(size))));
        if let Some(train) = &self.train {
            rows.push(row("anonymous, planned".into(), bytes(train.planned)));
            let plan = &train.plan;
            let (kept, inputs) = (plan.layout.kept, plan.layout.segments);
            let kept = format!("{inputs} inputs, {kept} of {} layers", plan.layout.layers);
            rows.push(row("kept in training".into(), kept));
            let (mlp, head) = (plan.pieces.mlp_rows, plan.pieces.head_rows);
            let pieces = format!("{} rows, MLP {mlp}, head {head}", plan.rows);
            rows.push(row("computed at once".into(), pieces));
        }
        let limits = [Some(self.limits.float), self.limits.int8];
        for (rate, name) in limits.into_iter().flatten() {
            rows.push(row(format!("limit, {name}"), format!("{:.0} GOP/s", rate / 1e9)));
        }
        rows
    }
}

impl Training {
    /// Operations a second, of those that a step cannot do without.
    pub fn useful(&self) -> f64 {
        self.operations * self.rate.best / self.rate.tokens as f64
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", 1e3 * seconds)
}

fn bytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
