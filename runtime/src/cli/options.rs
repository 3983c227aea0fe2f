//! Options that several subcommands share.

mod adapter;
mod care;
mod key;
mod learn;

use core::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use homespun_boards::Board;
use homespun_core::cache::KvType;
use homespun_core::sampler;
use homespun_core::select::Scoring;
use homespun_core::select::embedding::Pooling;
use homespun_core::select::entropy::Entropy;
use homespun_kernels::{Isa, Kernels};

use crate::builtin;
use crate::checkpoint::{self, Checkpoint};
use crate::engine::{Base, Precision, Sampling};
use crate::lexicon::Table;
use crate::pool::Threads;
use crate::tune::Budget;
pub(crate) use adapter::{AdapterArgs, AdaptersArgs, AnyBase, VariantArgs};
pub(crate) use care::CareArgs;
pub(crate) use key::KeyArgs;
pub(crate) use learn::LearnArgs;

/// More threads than any CPU has, and fewer than make a system refuse them.
const MAX_THREADS: usize = 1024;

/// Which part of the machine computes.
#[derive(Args)]
pub(crate) struct Machine {
    /// Threads that compute [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
    /// Instruction set: scalar, avx2, avxvnni, avx512, avx512vnni, neon or dotprod [default: the fastest that this CPU has]
    #[arg(long, global = true, value_name = "NAME")]
    isa: Option<String>,
}

impl Machine {
    /// The kernels that `--isa` names.
    pub(crate) fn kernels(&self) -> Result<&'static Kernels, String> {
        let Some(name) = &self.isa else { return Ok(Kernels::detect()) };
        let names = || Kernels::available().map(|k| k.isa().name()).collect::<Vec<_>>().join(", ");
        let isa = Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| format!("--isa: unknown name {name:?}; this CPU has {}", names()))?;
        Kernels::for_isa(isa)
            .ok_or_else(|| format!("--isa: this CPU has no {name}; it has {}", names()))
    }

    /// The options again, for a process that is to compute alike.
    pub(crate) fn words(&self) -> Vec<String> {
        let threads = self.threads.map(|n| format!("--threads={n}"));
        let isa = self.isa.as_ref().map(|name| format!("--isa={name}"));
        threads.into_iter().chain(isa).collect()
    }

    /// Whether `--isa` names any.
    pub(crate) const fn names_isa(&self) -> bool {
        self.isa.is_some()
    }

    /// A pool of as many threads as `--threads` says.
    pub(crate) fn pool(&self) -> Result<Threads, String> {
        let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        Threads::new(self.threads_of(cores)?).map_err(|error| format!("--threads: {error}"))
    }

    /// As many threads as `--threads` says, or one on each of `cores`.
    pub(crate) fn threads_of(&self, cores: usize) -> Result<usize, String> {
        match self.threads {
            Some(n) if (1..=MAX_THREADS).contains(&n) => Ok(n),
            Some(_) => Err(format!("--threads: must be between 1 and {MAX_THREADS}")),
            None => Ok(cores),
        }
    }
}

/// Which model.
#[derive(Args)]
pub(crate) struct ModelArgs {
    /// A Hugging Face folder (config.json, tokenizer.json, *.safetensors), or `builtin`
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A chat template (Jinja) to use instead of the model's own
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
}

impl ModelArgs {
    /// Opens it.
    pub(crate) fn open(&self) -> Result<Base, crate::engine::Error> {
        if is_builtin(&self.model) {
            return Base::builtin(self.template.as_deref());
        }
        Base::open(&self.model, self.template.as_deref())
    }

    /// Opens its configuration and its weights alone.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint, checkpoint::Error> {
        open_weights(&self.model)
    }
}

/// How exactly the model computes: unless told otherwise, fast or exactly. `LOSS`: a command that
/// measures the loss too, which has no cache and an exact head.
#[derive(Args)]
pub(crate) struct PrecisionArgs<const FAST: bool, const LOSS: bool> {
    #[arg(long, value_name = "TYPE", default_value = Self::USUAL.kv.name(), help = Self::KV_HELP)]
    kv: String,
    #[arg(
        long,
        value_name = "TYPE",
        default_value = if Self::USUAL.int8 { "i8" } else { "f32" },
        help = Self::ACTIVATIONS_HELP
    )]
    activations: String,
}

/// Of commands that talk, and of `bench`.
pub(crate) type FastArgs = PrecisionArgs<true, false>;
/// Of commands that measure states.
pub(crate) type ExactArgs = PrecisionArgs<false, false>;
/// Of `evaluate`.
pub(crate) type LossArgs = PrecisionArgs<false, true>;

impl<const FAST: bool, const LOSS: bool> PrecisionArgs<FAST, LOSS> {
    const USUAL: Precision = if FAST { Precision::FAST } else { Precision::EXACT };
    const KV_HELP: &str = if LOSS {
        "How keys and values are kept while replies are written: f32, f16 or i8; the loss keeps none"
    } else {
        "How keys and values are kept: f32, f16 or i8"
    };
    const ACTIVATIONS_HELP: &str = if LOSS {
        "What linear layers with q8 or q4 weights take: f32 or i8; in the loss, the head takes f32"
    } else {
        "What linear layers with q8 or q4 weights take: f32 or i8"
    };

    /// As the engine takes it.
    pub(crate) fn get(&self) -> Result<Precision, String> {
        let (kv, activations) = (&self.kv, &self.activations);
        let kv = KvType::ALL
            .into_iter()
            .find(|one| one.name() == kv)
            .ok_or_else(|| format!("--kv: {kv:?} is not f32, f16 or i8"))?;
        let int8 = match activations.as_str() {
            "f32" => false,
            "i8" => true,
            _ => return Err(format!("--activations: {activations:?} is not f32 or i8")),
        };
        Ok(Precision { kv, int8 })
    }
}

/// Whether `--model` or a like option means the built-in model.
pub(crate) fn is_builtin(model: &Path) -> bool {
    model.as_os_str() == "builtin"
}

/// Opens the configuration and the weights of a folder, or of the built-in model.
pub(crate) fn open_weights(model: &Path) -> Result<Checkpoint, checkpoint::Error> {
    if is_builtin(model) { builtin::checkpoint() } else { Checkpoint::open(model) }
}

/// How much memory training may take.
#[derive(Args)]
pub(crate) struct MemoryArgs {
    /// Anonymous memory of the whole process while it trains, at most: 300M, 1.5G, 256MiB [default:
    /// most of what is free]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Keep the inputs of layers as bf16: half their memory, gradients that are not exact and depend,
    /// by rounding, on what the memory has room for
    #[arg(long)]
    half_inputs: bool,
}

impl MemoryArgs {
    /// As the engine takes it.
    pub(crate) fn get(&self) -> Result<Budget, String> {
        let memory = self.memory.as_deref().map(|text| {
            size(text).ok_or_else(|| {
                format!("--memory: {text:?} is no size; write it like 300M, 1.5G or 256MiB")
            })
        });
        Ok(Budget { memory: memory.transpose()?, half_inputs: self.half_inputs })
    }
}

/// Bytes: a number and one of B, K, M, G (powers of 1000) or KiB, MiB, GiB (of 1024).
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1_048_576.0,
        "gi" | "gib" => 1_073_741_824.0,
        _ => return None,
    };
    let bytes = number * unit;
    (bytes.is_finite() && (1.0..1e18).contains(&bytes)).then_some(bytes as u64)
}

/// How tokens are drawn.
#[derive(Args)]
pub(crate) struct SamplingArgs {
    /// At most this many new tokens
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// 0 takes the likeliest token
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    temperature: f32,
    /// Draw from the N likeliest tokens; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,
    /// Draw from the likeliest tokens that together have this probability
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    top_p: f32,
    /// Above 1, tokens that occurred become less likely
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl SamplingArgs {
    /// As the engine takes it.
    pub(crate) const fn get(&self) -> Sampling {
        let draw = sampler::Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
        };
        Sampling { max_tokens: self.max_tokens, draw, seed: self.seed }
    }
}

/// The board of this name, one with an operating system.
pub(crate) fn board(name: &str) -> Result<&'static Board, String> {
    let known = || {
        let here = homespun_boards::ALL.into_iter().filter(|board| !board.is_firmware());
        here.map(|board| board.name).collect::<Vec<_>>().join(", ")
    };
    match Board::named(name) {
        None => Err(format!("--board: unknown board {name:?}; there are {}", known())),
        Some(board) if board.is_firmware() => Err(format!(
            "--board: {name} has a firmware of its own, see boards/{name}/README.md; this program \
             knows {}",
            known()
        )),
        Some(board) => Ok(board),
    }
}

/// Prints a line on stdout. Unlike `println!`, which panics, it tells of a full disk or a closed pipe.
pub(crate) fn say(line: impl Display) -> Result<(), String> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(|error| format!("stdout: {error}"))
}

/// Prints one JSON object as the last line of stdout.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), String> {
    say(value)
}

/// Which lexicons.
#[derive(Args)]
pub(crate) struct LexiconArgs {
    /// Lines of domain<TAB>word [default: a small built-in set]
    #[arg(long, value_name = "TSV")]
    lexicons: Option<PathBuf>,
}

impl LexiconArgs {
    /// Reads them.
    pub(crate) fn open(&self) -> Result<Table, crate::lexicon::Error> {
        match &self.lexicons {
            Some(path) => Table::open(path),
            None => Ok(Table::built_in()),
        }
    }
}

/// How dialogues are scored.
#[derive(Args)]
pub(crate) struct ScoringArgs {
    /// histogram (of the last token's state) or token-norm
    #[arg(long, value_name = "NAME", default_value = "histogram")]
    entropy: String,
    /// Which states make the embedding: their mean, or the last token's (mean or last)
    #[arg(long, value_name = "NAME", default_value = "mean")]
    embedding: String,
}

impl ScoringArgs {
    /// As core takes it.
    pub(crate) fn get(&self) -> Result<Scoring, String> {
        let (entropy, pooling) = (&self.entropy, &self.embedding);
        Ok(Scoring {
            entropy: Entropy::named(entropy)
                .ok_or_else(|| format!("--entropy: {entropy:?} is not histogram or token-norm"))?,
            pooling: Pooling::named(pooling)
                .ok_or_else(|| format!("--embedding: {pooling:?} is not mean or last"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_powers_of_ten_or_of_two_as_their_unit_says() {
        let right = [("300M", 300_000_000), ("1.5G", 1_500_000_000), ("256MiB", 268_435_456)];
        let small = [("100", 100), ("2 kB", 2000), ("1Ki", 1024), ("0.5GiB", 536_870_912)];
        for (text, bytes) in right.into_iter().chain(small) {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "M", "-1M", "1.2.3M", "12Q", "0", "NaN", "1e9", "99999999999G"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
