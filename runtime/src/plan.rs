//! What a model takes where it runs, before it does: the rows of memory of talking and of training, and
//! the longest dialogue and the largest batch that fit under a ceiling.
//!
//! ```text
//! talking    process + KV cache + activations                         a session's own sizes
//! training   process + adapter + gradients + moments + arena + heap   the plan of a real run
//! ```
//! The arithmetic is that of [`Session`] and of [`tune::Plan`]: what is printed is what will be asked.

use std::collections::BTreeMap;

use homespun_boards::Board;
use homespun_core::lora::LoraConfig;
use homespun_kernels::{DType, Pool};

use crate::adapter::Adapter;
use crate::engine::{Engine, Error, Session, Work};
use crate::memory;
use crate::personalize::buffer;
use crate::tune::plan::to_come;
use crate::tune::{self, Budget, Run};

/// The most examples at once that are tried.
pub const MOST_BATCH: usize = 64;

/// One row of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What takes it.
    pub what: &'static str,
    /// Bytes.
    pub bytes: u64,
    /// More about it.
    pub note: String,
}

impl Row {
    fn new(what: &'static str, bytes: usize, note: impl Into<String>) -> Self {
        Self { what, bytes: bytes as u64, note: note.into() }
    }
}

/// Bytes of all rows.
pub fn total(rows: &[Row]) -> u64 {
    rows.iter().map(|row| row.bytes).sum()
}

/// Talking under a ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talking {
    /// Anonymous memory.
    pub rows: Vec<Row>,
    /// The longest context that fits, in tokens; 0 if none does.
    pub longest: usize,
}

/// Training under a ceiling.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// Anonymous memory.
    pub rows: Vec<Row>,
    /// How it is laid out.
    pub plan: tune::Plan,
    /// Tokens of the longest example that fits.
    pub longest: usize,
    /// The most examples of the asked length that fit at once.
    pub largest: usize,
}

/// The anonymous memory of this process, an adapter of `adapter_bytes` left out.
fn process(adapter_bytes: usize) -> Row {
    let now = memory::anonymous_bytes().saturating_sub(adapter_bytes as u64);
    Row { what: "process", bytes: now, note: "this program and the tokenizer".into() }
}

/// What a conversation of up to `context` tokens takes with an adapter of this shape, and the longest
/// one that fits `ceiling`.
pub fn talking(
    engine: &Engine,
    lora: Option<&LoraConfig>,
    context: usize,
    ceiling: u64,
) -> Talking {
    let config = &engine.model().config;
    let process = process(0);
    let adapter = lora.map_or(0, |lora| 4 * lora.parameters(config));
    let rows = |context: usize| {
        let (cache, work) = Session::bytes(engine, lora, context);
        let kv = engine.precision().kv.name();
        vec![
            process.clone(),
            Row::new("adapter", adapter, ""),
            Row::new("KV cache", cache, format!("{kv}, {context} tokens")),
            Row::new("activations", work, "a piece of the prompt, logits"),
        ]
    };
    let fits = |context: usize| total(&rows(context)) <= ceiling;
    Talking { rows: rows(context), longest: most(engine.context(), fits) }
}

/// Bytes of the mapped weights that the model uses, by how they are stored.
///
/// # Errors
/// None that opening the model has not seen.
pub fn mapped(engine: &Engine) -> Result<BTreeMap<&'static str, u64>, Error> {
    let mut bytes = BTreeMap::new();
    for part in engine.base().checkpoint().parts()? {
        *bytes.entry(part.dtype().name()).or_default() += part.bytes();
    }
    Ok(bytes)
}

/// Tokens a second that the arithmetic of a board cannot exceed: nothing that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AtMost {
    /// Of a prompt.
    pub prefill: f64,
    /// New ones; reading the weights takes longer.
    pub decode: f64,
    /// In training, however few of them are targets.
    pub train: f64,
}

impl AtMost {
    /// That of `engine`'s model and threads on `board`, if the board's peak is known.
    pub fn of(engine: &Engine, board: &Board) -> Option<Self> {
        let (peak, config) = (board.peak?, &engine.model().config);
        let packed = matches!(engine.model().linear_dtype(), DType::Q8 | DType::Q4);
        let threads = engine.threads().min(board.cores()) as f64;
        let int8 = packed && engine.precision().int8;
        let talking = threads * if int8 { peak.int8 } else { peak.float };
        Some(Self {
            prefill: talking / Work::of_token(1, 0, 0).flop(config),
            decode: talking / Work::of_token(0, 0, 1).flop(config),
            train: threads * peak.float / Work::of_token(0, 1, 0).flop(config),
        })
    }
}

/// The steps of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Tokens of the longest example, at least 2.
    pub length: usize,
    /// Examples of a step.
    pub batch: usize,
    /// Examples computed at once, where that is not the plan's to choose.
    pub micro_batch: Option<usize>,
}

/// What training in `steps` takes under the engine's budget, beside a sample buffer of `bins` bins.
///
/// # Errors
/// If it does not fit; tells what would do.
pub fn training(
    engine: &Engine,
    lora: LoraConfig,
    steps: Steps,
    bins: usize,
) -> Result<Training, Error> {
    let Steps { length, batch, micro_batch } = steps;
    let config = &engine.model().config;
    // What is free must not change from one length to the next.
    let budget = *engine.budget();
    let fixed = engine.with_budget(Budget { memory: Some(budget.ceiling()), ..budget });
    // The run's own adapter, so that the process is as large as it will be.
    let adapter = Adapter::fresh(lora, config, engine.base().name(), 0);
    let plan_of = |engine, length: usize, batch: usize, micro_batch: Option<usize>| {
        let rows = vec![length - 1; batch];
        tune::Plan::of_run(
            engine,
            &adapter,
            Run { rows: &rows, batch, micro_batch, judge: 0 },
            None,
        )
    };
    let buffer = buffer::bytes(bins, config.dim);
    let (plan, _) = plan_of(engine, length, batch, micro_batch)?;
    let [gradients, moments, norms] = to_come(engine, &adapter);
    let parameters = 4 * adapter.parameters.len();
    let (memory, layout) = (plan.memory, plan.layout);
    let kept = |count: usize| format!("of {count} of {} layers", layout.layers);
    let (mlp, head) = (plan.pieces.mlp_rows, plan.pieces.head_rows);
    let mut rows = vec![
        process(parameters),
        Row::new("adapter", parameters, format!("rank {}", lora.rank)),
        Row::new("gradients", gradients, ""),
        Row::new("optimiser", moments, "two moments"),
        Row::new("layer inputs", memory.inputs_bytes(layout), kept(layout.segments)),
        Row::new("layer activations", memory.kept_bytes(layout), kept(layout.kept)),
        Row::new(
            "residual stream",
            memory.stream,
            format!("{} rows and their gradient", plan.rows),
        ),
        Row::new(
            "working set",
            memory.working_bytes(layout),
            format!("MLP {mlp} rows, head {head} at a time"),
        ),
        Row::new("gemm workspace", plan.workspace, "on the heap of each thread"),
        // The plan leaves more than this unplanned.
        Row::new("sample buffer", buffer, format!("index and scratch of {bins} bins, one record")),
    ];
    if norms > 0 {
        rows.push(Row::new("norms of DoRA", norms, "while they are made"));
    }
    let longest =
        most(config.max_context - 1, |rows| plan_of(&fixed, rows + 1, 1, None).is_ok()) + 1;
    let largest = most(MOST_BATCH, |n| plan_of(&fixed, length, n, Some(n)).is_ok());
    Ok(Training { rows, plan, longest, largest })
}

/// The largest number up to `limit` that `fits`, if all smaller ones do; 0 if none.
fn most(limit: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut fit, mut over) = (0, limit + 1);
    while over - fit > 1 {
        let middle = fit + (over - fit) / 2;
        if fits(middle) {
            fit = middle;
        } else {
            over = middle;
        }
    }
    fit
}

/// So many threads, of which none is started: for the plan of another machine.
#[derive(Clone, Copy, Debug)]
pub struct Cores(pub usize);

impl Pool for Cores {
    fn run(&self, chunks: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..chunks).for_each(job);
    }

    fn threads(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use homespun_core::lora::{Target, Targets};
    use homespun_kernels::Kernels;

    use super::*;
    use crate::engine::Base;

    #[test]
    fn the_largest_that_fits_is_found_at_both_ends() {
        for edge in [0, 1, 7, 99, 100] {
            assert_eq!(most(100, |n| n <= edge), edge);
        }
        assert_eq!(most(0, |_| true), 0);
    }

    #[test]
    fn a_boards_bound_is_that_of_its_cores_and_of_the_numbers_multiplied() {
        let base = Base::builtin(None).unwrap();
        let layers = base.layers().unwrap();
        let peak = homespun_boards::Peak { float: 1e9, int8: 4e9 };
        let board = Board { peak: Some(peak), clusters: &[2], ..homespun_boards::HOST };
        let bound = |threads, board: &Board| {
            let cores = Cores(threads);
            AtMost::of(&Engine::new(&base, &layers, Kernels::detect(), &cores).unwrap(), board)
        };
        let (one, two) = (bound(1, &board).unwrap(), bound(2, &board).unwrap());
        assert!((two.decode / one.decode - 2.0).abs() < 1e-9);
        assert_eq!(bound(8, &board), Some(two), "more threads than cores");
        assert_eq!(bound(1, &homespun_boards::HOST), None);
        // Two operations a weight of the linear layers and the head; training goes back as well.
        let config = base.config();
        let weight = |target: Target| {
            let (outputs, inputs) = target.shape(config);
            (outputs * inputs * config.layers) as f64
        };
        let linear: f64 = Target::ALL.into_iter().map(weight).sum();
        let head = (config.vocab * config.dim) as f64;
        assert!((one.decode - 1e9 / (2.0 * (linear + head))).abs() < 1e-6 * one.decode);
        assert!((one.train - 1e9 / (4.0 * linear)).abs() < 1e-6 * one.train);
        assert!(one.prefill > 1e9 / (2.0 * linear), "the last block is not all of a prompt's");
    }

    #[test]
    fn a_longer_conversation_and_an_adapter_take_more_and_the_longest_that_fits_is_told() {
        let base = Base::builtin(None).unwrap();
        let layers = base.layers().unwrap();
        let engine = Engine::new(&base, &layers, Kernels::detect(), &Cores(2)).unwrap();
        let lora = LoraConfig::new(8, 16.0, 0.0, Targets::ALL);
        // This process is as large as the tests beside this one make it.
        let sum = |talking: &Talking| total(&talking.rows[1..]);
        let short = talking(&engine, None, 64, u64::MAX);
        let long = talking(&engine, Some(&lora), 256, u64::MAX);
        assert_eq!(short.rows[0].what, "process");
        assert!(sum(&short) < sum(&long));
        assert_eq!(short.longest, engine.context());
        assert_eq!(talking(&engine, None, 64, 0).longest, 0);
    }
}
