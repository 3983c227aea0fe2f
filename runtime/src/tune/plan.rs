//! How a training run is laid out in the memory it may take: micro-batches, pieces and what is kept.
//!
//! ```text
//! available   ceiling - what the process has - adapter's gradients and moments - gemm's workspace
//! candidates  multiples of the longest example x rows of an MLP's pieces x targets of the head's
//! plan        the candidate that fits and computes least, by the cost below
//! cost        weights of attention, MLPs and head x times that each is multiplied
//!             x (1 + packing / rows that share one packing of the weights)
//! ```
//! Rows and pieces decide the order of additions: a run that goes on after a cut keeps them, and they
//! are the same for up to [`WORKERS`] threads. With half inputs what is kept decides bits as well: such
//! a run goes on to rounding alone under another ceiling.

use homespun_core::config::Config;
use homespun_core::lora::{LoraConfig, Target};
use homespun_core::train::{Layout, Memory, Pieces};
use homespun_kernels::{DType, Kernels};

use crate::adapter::Adapter;
use crate::engine::{Engine, Error};
use crate::memory;

/// Threads that pieces are chosen for, where there are not more.
const WORKERS: usize = 8;
/// More rows of a micro-batch than these gain nothing.
const MOST_ROWS: usize = 384;
/// Rows of an MLP's pieces that are tried.
const MLP_ROWS: [usize; 5] = [16, 32, 64, 128, 256];
/// Targets of the head's pieces that are tried.
const HEAD_ROWS: [usize; 4] = [32, 64, 128, 256];

/// What is to be trained, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// The model.
    pub config: Config,
    /// The adapter.
    pub lora: LoraConfig,
    /// Rows of the longest example.
    pub longest: usize,
    /// Rows of a step's examples together, at most.
    pub batch: usize,
    /// What computes.
    pub kernels: &'static Kernels,
    /// How the linear layers' weights are stored.
    pub dtype: DType,
    /// Threads.
    pub workers: usize,
    /// Whether the inputs of layers are kept as bf16.
    pub half_inputs: bool,
}

/// The memory that training may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// `RssAnon + RssShmem` of the whole process, at most; without it, most of what is free.
    pub memory: Option<u64>,
    /// Whether the inputs of layers are kept as bf16, which is not exact.
    pub half_inputs: bool,
}

/// What an allocator's rounding, threads and the reading of memory itself may take.
const SLACK: u64 = 1 << 20;

impl Budget {
    /// Bytes for the arena and the workspace of a run whose gradients and moments are still to come.
    pub fn available(&self, to_come: u64) -> u64 {
        let taken = to_come + SLACK;
        match (self.memory, memory::free_bytes()) {
            (Some(most), _) => most.saturating_sub(memory::anonymous_bytes() + taken),
            // Others need memory too, and weights stay in what is left.
            (None, Some(free)) => (free / 10 * 7).saturating_sub(taken),
            (None, None) => u64::MAX,
        }
    }

    /// The anonymous memory that the whole process may take.
    pub fn ceiling(&self) -> u64 {
        let free = || memory::free_bytes().map(|free| free / 10 * 7 + memory::anonymous_bytes());
        self.memory.or_else(free).unwrap_or(u64::MAX)
    }

    /// What is left where something else takes `bytes`.
    pub fn less(self, bytes: u64) -> Self {
        Self { memory: self.memory.map(|memory| memory.saturating_sub(bytes)), ..self }
    }

    /// The ceiling that leaves [`available`](Self::available) to be `needed`; without a ceiling, the
    /// bytes that must be free.
    pub fn needed(&self, to_come: u64, needed: u64) -> u64 {
        let needed = needed.saturating_add(to_come + SLACK);
        match self.memory {
            // The process is not of the same size to the page each time.
            Some(_) => needed.saturating_add(memory::anonymous_bytes() + SLACK / 2),
            None => needed.div_ceil(7).saturating_mul(10),
        }
    }
}

/// What a run does with its memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Rows of a micro-batch, at most.
    pub rows: usize,
    /// The pieces it is computed in.
    pub pieces: Pieces,
    /// The parts of its arena.
    pub memory: Memory,
    /// What is kept in it.
    pub layout: Layout,
    /// Bytes that the kernels take on the heap, on all threads together.
    pub workspace: usize,
    /// Products with all weights that a row takes, packing included; comparable for one demand.
    pub cost: f64,
}

/// The examples of a run and how many make a step.
#[derive(Clone, Copy, Debug)]
pub struct Run<'r> {
    /// Rows of each example, the longest first; at least one.
    pub rows: &'r [usize],
    /// Examples of a step.
    pub batch: usize,
    /// Examples computed at once, where that is not the plan's to choose.
    pub micro_batch: Option<usize>,
    /// Rows of the longest example that it is judged by, 0 if there is none.
    pub judge: usize,
}

/// Bytes of gradients and of the two moments, and of DoRA's norms while they are made.
pub(crate) fn to_come(engine: &Engine, adapter: &Adapter) -> [usize; 3] {
    let trained = 4 * adapter.config.trainable(&engine.model().config);
    [trained, 2 * trained, adapter.norm_bytes(engine.model())]
}

impl Plan {
    /// The plan of a run whose gradients and moments are not there yet, within the engine's budget, and
    /// the anonymous memory that the whole process then takes; in the pieces of `words`, if there are
    /// any.
    ///
    /// # Errors
    /// If it does not fit; tells what would do.
    pub fn of_run(
        engine: &Engine,
        adapter: &Adapter,
        run: Run,
        words: Option<&[u64]>,
    ) -> Result<(Self, u64), Error> {
        let longest = run.rows.first().copied().unwrap_or(0).max(run.judge);
        // Steps may wrap round to the longest examples more than once.
        let step = run.rows.iter().cycle().take(run.batch);
        let demand = Demand {
            config: engine.model().config,
            lora: adapter.config,
            longest,
            batch: step.fold(0, |sum, rows| sum.saturating_add(*rows)),
            kernels: engine.kernels(),
            dtype: engine.model().linear_dtype(),
            workers: engine.threads(),
            half_inputs: engine.budget().half_inputs,
        };
        let to_come = to_come(engine, adapter).iter().sum::<usize>() as u64;
        let available = engine.budget().available(to_come);
        let now = memory::anonymous_bytes();
        let plan = match (words, run.micro_batch) {
            (Some(words), _) => Self::of_words(&demand, available, words),
            (None, Some(n)) => {
                let rows = n.saturating_mul(longest).min(demand.batch);
                Self::of_rows(&demand, available, rows)
            }
            (None, None) => Self::choose(&demand, available),
        };
        let plan = plan.map_err(|needed| Error::TooLittleMemory {
            needed: engine.budget().needed(to_come, needed),
            given: engine.budget().memory,
        })?;
        Ok((plan, now + to_come + (plan.arena() + plan.workspace) as u64))
    }

    /// The plan that computes least in an arena of `available` bytes.
    ///
    /// # Errors
    /// With the bytes of the smallest arena that there is a plan for.
    pub fn choose(demand: &Demand, available: u64) -> Result<Self, u64> {
        let most = demand.batch.clamp(1, MOST_ROWS).max(demand.longest);
        Self::best(demand, available, (demand.longest..=most).step_by(demand.longest.max(1)))
    }

    /// The same with micro-batches of up to `rows` rows.
    ///
    /// # Errors
    /// As [`choose`](Self::choose).
    pub fn of_rows(demand: &Demand, available: u64, rows: usize) -> Result<Self, u64> {
        Self::best(demand, available, [rows.max(demand.longest)].into_iter())
    }

    /// The same plan's rows and pieces, written as [`words`](Self::words); what is kept is chosen anew,
    /// for that changes no bit.
    ///
    /// # Errors
    /// As [`choose`](Self::choose), or with 0 if the words are no plan for these examples.
    pub fn of_words(demand: &Demand, available: u64, words: &[u64]) -> Result<Self, u64> {
        let &[rows, mlp_rows, head_rows, half] = words else { return Err(0) };
        let size = |word: u64| usize::try_from(word).ok().filter(|&size| size > 0).ok_or(0u64);
        let (mlp_rows, head_rows) = (size(mlp_rows)?, size(head_rows)?);
        let (rows, half_inputs) = (size(rows)?, half != 0);
        if rows < demand.longest || half_inputs != demand.half_inputs {
            return Err(0);
        }
        Self::of(demand, available, rows, Pieces { mlp_rows, head_rows, half_inputs })
    }

    /// What decides the order of additions, to be kept in a checkpoint.
    pub fn words(&self) -> [u64; 4] {
        let Pieces { mlp_rows, head_rows, half_inputs } = self.pieces;
        [self.rows as u64, mlp_rows as u64, head_rows as u64, u64::from(half_inputs)]
    }

    fn best(
        demand: &Demand,
        available: u64,
        rows: impl Iterator<Item = usize>,
    ) -> Result<Self, u64> {
        let half_inputs = demand.half_inputs;
        // Pieces decide bits, so they must not depend on how many threads there are.
        let fixed = Demand { workers: demand.workers.max(WORKERS), ..*demand };
        let mut best: Result<Self, u64> = Err(u64::MAX);
        let mut least = usize::MAX;
        for rows in rows {
            least = least.min(rows);
            for (mlp_rows, head_rows) in
                MLP_ROWS.into_iter().flat_map(|mlp| HEAD_ROWS.map(|head| (mlp, head)))
            {
                let pieces = Pieces { mlp_rows, head_rows, half_inputs };
                let plan = Self::of(&fixed, available, rows, pieces);
                best = match (best, plan) {
                    (Ok(best), Ok(plan)) if plan.cost < best.cost => Ok(plan),
                    (Ok(best), _) => Ok(best),
                    (Err(_), Ok(plan)) => Ok(plan),
                    (Err(needed), Err(more)) => Err(needed.min(more)),
                };
            }
        }
        // Where none has room for so many, the smallest are left, whatever the number. What is kept
        // decides no bit.
        let (rows, pieces) = match best {
            Ok(best) => (best.rows, best.pieces),
            Err(_) => {
                let [mlp_rows, ..] = MLP_ROWS;
                let [head_rows, ..] = HEAD_ROWS;
                (least, Pieces { mlp_rows, head_rows, half_inputs })
            }
        };
        Self::of(demand, available, rows, pieces)
    }

    fn of(demand: &Demand, available: u64, rows: usize, pieces: Pieces) -> Result<Self, u64> {
        let Demand { config, lora, kernels, workers, .. } = demand;
        let memory = Memory::new(config, lora, rows, pieces, *workers);
        let workspace = workers * kernels.workspace(rows);
        let room = usize::try_from(available).unwrap_or(usize::MAX).saturating_sub(workspace);
        let layout = memory.layout(room).map_err(|error| (error.needed + workspace) as u64)?;
        let cost = cost(demand, rows, pieces, layout);
        Ok(Self { rows, pieces, memory, layout, workspace, cost })
    }

    /// Bytes of the arena.
    pub const fn arena(&self) -> usize {
        self.memory.bytes(self.layout)
    }
}

/// Packing a weight takes about as long as multiplying it by so many rows: what a step of SmolLM2-135M
/// took in pieces of 32 to 256 rows (Zen 5, one thread).
const fn packing(dtype: DType) -> f64 {
    match dtype {
        DType::F32 | DType::Bf16 | DType::F16 | DType::I8 => 18.0,
        // Fewer bytes to read, and no transposition.
        DType::Q8 | DType::Q4 => 7.0,
    }
}

/// Multiply-adds of a row, packing included.
fn cost(demand: &Demand, rows: usize, pieces: Pieces, layout: Layout) -> f64 {
    let config = &demand.config;
    let size = |targets: &[Target]| -> f64 {
        let sizes = targets.iter().map(|target| target.shape(config));
        sizes.map(|(outputs, inputs)| (outputs * inputs * config.layers) as f64).sum()
    };
    let attention = size(&[Target::Q, Target::K, Target::V, Target::O]);
    let (gates, down) = (size(&[Target::Gate, Target::Up]), size(&[Target::Down]));
    let head = (config.vocab * config.dim) as f64;
    let share = |layers: usize| layers as f64 / layout.layers as f64;
    let (again, twice) = (share(layout.recomputed()), share(layout.repeated()));
    let packed = |rows: usize| 1.0 + packing(demand.dtype) / rows as f64;
    (attention * (2.0 + again + twice)) * packed(rows)
        + (gates * (2.0 + again + twice) + down * (2.0 + twice)) * packed(rows.min(pieces.mlp_rows))
        + 2.0 * head * packed(rows.min(pieces.head_rows))
}

#[cfg(test)]
pub(crate) mod tests {
    use homespun_core::config::RopeScaling;
    use homespun_core::family::Family;
    use homespun_core::lora::Targets;

    use super::*;

    /// SmolLM2-135M.
    pub(crate) const CONFIG: Config = Config {
        family: Family::Llama,
        dim: 576,
        hidden: 1536,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        vocab: 49_152,
        max_context: 2048,
        norm_eps: 1e-5,
        rope_theta: 1e5,
        rope_scaling: RopeScaling::None,
        tied: true,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
    };

    fn demand(longest: usize, batch: usize) -> Demand {
        let config = CONFIG;
        let lora = LoraConfig::new(8, 16.0, 0.0, Targets::ALL);
        let (kernels, dtype) = (Kernels::detect(), DType::F32);
        Demand { config, lora, longest, batch, kernels, dtype, workers: 2, half_inputs: false }
    }

    #[test]
    fn more_memory_is_never_slower_and_no_plan_takes_more_than_there_is() {
        let demand = demand(256, 1024);
        let needed = Plan::choose(&demand, 0).expect_err("nothing fits nothing");
        assert!(Plan::choose(&demand, needed - 1).is_err());
        let mut before = f64::INFINITY;
        for step in 0..80 {
            let available = needed + step * step * (1 << 18);
            let plan = Plan::choose(&demand, available).expect("it fits");
            assert!((plan.arena() + plan.workspace) as u64 <= available && plan.rows >= 256);
            assert!(plan.cost <= before, "{plan:?}");
            before = plan.cost;
        }
        let all = Plan::choose(&demand, u64::MAX).expect("it fits");
        assert_eq!((all.rows, all.layout.kept), (256, 30));
    }

    #[test]
    fn the_pieces_are_the_same_for_any_number_of_threads_that_fit() {
        let demand = demand(256, 1024);
        let with = |workers| Demand { workers, ..demand };
        let needed = |workers| Plan::choose(&with(workers), 0).expect_err("nothing fits nothing");
        let (least, all) = (needed(1), needed(WORKERS));
        assert!(least < all);
        for step in 0..120 {
            let available = least + step * step * (1 << 15);
            let mut words = Vec::new();
            for workers in 1..=WORKERS {
                let Ok(plan) = Plan::choose(&with(workers), available) else {
                    assert!(available < all, "{workers} threads do not fit {available}");
                    continue;
                };
                assert!((plan.arena() + plan.workspace) as u64 <= available);
                words.push(plan.words());
            }
            assert!(words.iter().all(|other| *other == words[0]), "{available}: {words:?}");
        }
    }

    #[test]
    fn words_give_the_same_pieces_in_another_memory_or_are_refused() {
        let demand = demand(200, 4000);
        let tight = Plan::choose(&demand, 60_000_000).expect("it fits");
        let again = Plan::of_words(&demand, u64::MAX, &tight.words()).expect("it fits");
        assert_eq!((again.rows, again.pieces), (tight.rows, tight.pieces));
        assert!(again.layout.kept > tight.layout.kept);
        let longer = Demand { longest: tight.rows + 1, ..demand };
        assert_eq!(Plan::of_words(&longer, u64::MAX, &tight.words()), Err(0));
        assert_eq!(Plan::of_words(&demand, u64::MAX, &[1, 2]), Err(0));
        assert!(Plan::of_words(&demand, 1000, &tight.words()).is_err_and(|needed| needed > 1000));
    }
}
