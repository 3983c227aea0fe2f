//! What a report is made of: the results of one folder or of several that belong together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::Error;
use super::super::results::{Folder, HeldOut, Machine, ReplyRow, Row};
use super::super::setup::{Setup, StreamSetup};
use super::super::stats::{self, Gain};

/// Arms that are compared with.
pub const BASELINES: [&str; 3] = ["random", "fifo", "k-center"];
/// Arms that show what a gain does not come from.
pub const CONTROLS: [&str; 4] = ["none", "all", "shuffled", "length"];
/// Arms that are one metric of the paper's rule alone.
pub const METRICS: [&str; 3] = ["entropy", "domain", "dissimilarity"];

/// A done cell.
pub struct Run {
    /// Its arm.
    pub arm: String,
    /// Its bins, 0 without a buffer.
    pub bins: usize,
    /// Its synthesised questions.
    pub synth: usize,
    /// Its seed.
    pub seed: u64,
    /// Its key.
    pub key: String,
    /// Its lines.
    pub rows: Vec<Row>,
    /// Its replies after the last round.
    pub replies: Vec<ReplyRow>,
    /// Who did it.
    pub machine: Machine,
}

impl Run {
    /// The line of the last round at `temperature`.
    pub fn last(&self, temperature: f64) -> Option<&Row> {
        self.rows.iter().filter(|row| row.temperature == temperature).max_by_key(|row| row.round)
    }

    /// The scores of the replies at `temperature`.
    fn scores(&self, temperature: f64) -> Vec<f64> {
        let rows = self.replies.iter().filter(|row| row.temperature == temperature);
        rows.map(|row| row.rouge1).collect()
    }
}

/// A stream and what was done with it.
pub struct StreamRuns {
    /// What it is.
    pub setup: StreamSetup,
    /// The dialogues that it is judged by.
    pub held_out: Vec<HeldOut>,
    /// The cells.
    pub runs: Vec<Run>,
}

/// What arms are compared at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    /// Bins.
    pub bins: usize,
    /// Synthesised questions.
    pub synth: usize,
    /// Temperature.
    pub temperature: f64,
}

impl StreamRuns {
    /// The runs of `arm`, one a seed; `none` and `all` have no bins, `none` no synthesis.
    pub fn of(&self, arm: &str, at: At) -> Vec<&Run> {
        let (bins, synth) = match arm {
            "none" => (0, 0),
            "all" => (0, at.synth),
            _ => (at.bins, at.synth),
        };
        let of = |run: &&Run| run.arm == arm && run.bins == bins && run.synth == synth;
        self.runs.iter().filter(of).collect()
    }

    /// A figure of the last round of `arm`, one a seed.
    pub fn figures(&self, arm: &str, at: At, figure: impl Fn(&Row) -> f64) -> Vec<f64> {
        let runs = self.of(arm, at);
        runs.iter().filter_map(|run| run.last(at.temperature)).map(figure).collect()
    }

    /// Mean ROUGE-1 of `arm` after its last round; nothing where it was not run.
    pub fn rouge1(&self, arm: &str, at: At) -> Option<f64> {
        let figures = self.figures(arm, at, |row| row.rouge1);
        (!figures.is_empty()).then(|| stats::mean(&figures))
    }

    /// The baseline of the highest mean ROUGE-1.
    pub fn best_baseline(&self, at: At) -> Option<&'static str> {
        let known = BASELINES.into_iter().filter_map(|arm| Some((arm, self.rouge1(arm, at)?)));
        known.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(arm, _)| arm)
    }

    /// The gain of one arm over another, over the seeds that both have.
    pub fn gain(&self, ours: (&str, At), theirs: (&str, At)) -> Option<Gain> {
        let [a, b] = self.pair(ours, theirs);
        stats::paired(&a, &b)
    }

    /// The scores of two arms, seed by seed and dialogue by dialogue, of the seeds that both have.
    pub fn pair(&self, ours: (&str, At), theirs: (&str, At)) -> stats::Pair {
        let scores = |(arm, at): (&str, At)| -> BTreeMap<u64, Vec<f64>> {
            let runs = self.of(arm, at).into_iter();
            runs.map(|run| (run.seed, run.scores(at.temperature))).collect()
        };
        let (ours, theirs) = (scores(ours), scores(theirs));
        let whole = |scores: &Vec<f64>| scores.len() == self.held_out.len();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for (seed, scores) in ours.into_iter().filter(|(_, scores)| whole(scores)) {
            if let Some(others) = theirs.get(&seed).filter(|others| whole(others)) {
                a.push(scores);
                b.push(others.clone());
            }
        }
        [a, b]
    }

    /// The values that the runs have of something, sorted; what has no buffer left out.
    pub fn values(&self, of: impl Fn(&Run) -> usize) -> Vec<usize> {
        let with = self.runs.iter().filter(|run| run.bins > 0);
        let mut values: Vec<usize> = with.map(of).collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

/// All that is reported.
pub struct Loaded {
    /// One a folder.
    pub setups: Vec<Setup>,
    /// The streams.
    pub streams: Vec<StreamRuns>,
    /// The arms in order, and what each does.
    pub arms: Vec<(String, String)>,
    /// Cells that the folders ask for.
    pub cells: usize,
}

impl Loaded {
    /// Reads `folders`.
    ///
    /// # Errors
    /// If one is not a folder of results, a file of it is damaged, or two do not belong together.
    pub fn open(folders: &[PathBuf]) -> Result<Self, Error> {
        let mut loaded =
            Self { setups: Vec::new(), streams: Vec::new(), arms: Vec::new(), cells: 0 };
        for root in folders {
            loaded.add(root)?;
        }
        Ok(loaded)
    }

    fn add(&mut self, root: &Path) -> Result<(), Error> {
        let folder = Folder::open(root)?;
        let path = root.join("experiment.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let setup: Setup = serde_json::from_str(&text).map_err(|error| Error::Damaged {
            path: path.clone(),
            line: error.line(),
            problem: error.to_string(),
        })?;
        if let Some(first) = self.setups.first() {
            let differs = |what: &str| {
                Err(Error::key(&path, what, "is another one than that of the first folder"))
            };
            if first.model != setup.model {
                return differs("model");
            }
            if first.isa != setup.isa {
                return differs("isa");
            }
        }
        for arm in &setup.arms {
            if !self.arms.contains(arm) {
                self.arms.push(arm.clone());
            }
        }
        self.cells += cells(&setup);
        for stream in &setup.streams {
            match self.streams.iter().find(|known| known.setup.name == stream.name) {
                Some(known) if known.setup.hashes != stream.hashes => {
                    let problem = "is another stream than that of this name in another folder";
                    return Err(Error::key(&path, format!("streams {}", stream.name), problem));
                }
                Some(_) => {}
                None => self.streams.push(StreamRuns {
                    setup: stream.clone(),
                    held_out: folder.held_out(&stream.name)?,
                    runs: Vec::new(),
                }),
            }
        }
        // One run after another in the file; a stranger among them would be another's stream.
        let mut rows = folder.results()?.into_iter().peekable();
        while let Some(row) = rows.next() {
            let of = (row.key.clone(), row.seed);
            let mut own = vec![row];
            while let Some(next) = rows.next_if(|next| next.key == of.0 && next.seed == of.1) {
                own.push(next);
            }
            let row = &own[0];
            let Some(stream) = self.streams.iter_mut().find(|s| s.setup.name == row.stream) else {
                let problem = format!("{}: there is no such stream in experiment.json", row.stream);
                return Err(Error::key(&root.join("results.jsonl"), "stream", problem));
            };
            let same = |run: &&Run| {
                run.arm == row.policy
                    && (run.bins, run.synth, run.seed) == (row.bins, row.synth, row.seed)
            };
            match stream.runs.iter().find(same) {
                Some(run) if run.key != row.key => {
                    let problem = format!(
                        "{} {} of seed {} was run otherwise in another folder",
                        row.stream, row.policy, row.seed
                    );
                    return Err(Error::key(&root.join("results.jsonl"), "key", problem));
                }
                Some(_) => {}
                None => stream.runs.push(Run {
                    arm: row.policy.clone(),
                    bins: row.bins,
                    synth: row.synth,
                    seed: row.seed,
                    key: row.key.clone(),
                    replies: folder.replies(&row.key)?,
                    machine: folder.machine(&row.key)?,
                    rows: own,
                }),
            }
        }
        self.setups.push(setup);
        Ok(())
    }

    /// Cells that are done.
    pub fn done(&self) -> usize {
        self.streams.iter().map(|stream| stream.runs.len()).sum()
    }

    /// What the main comparison is at: the first bins and synthesis of the first folder.
    pub fn main(&self, temperature: f64) -> At {
        let first = self.setups.first();
        At {
            bins: first.and_then(|setup| setup.bins.first()).copied().unwrap_or(0),
            synth: first.and_then(|setup| setup.synth.first()).copied().unwrap_or(0),
            temperature,
        }
    }

    /// All temperatures.
    pub fn temperatures(&self) -> Vec<f64> {
        let mut all: Vec<f64> = Vec::new();
        for &temperature in self.setups.iter().flat_map(|setup| &setup.temperatures) {
            if !all.contains(&temperature) {
                all.push(temperature);
            }
        }
        all
    }

    /// Policies that are neither baselines nor controls nor a metric alone.
    pub fn candidates(&self) -> Vec<&str> {
        let names = self.arms.iter().map(|(name, _)| name.as_str());
        let other = [&BASELINES[..], &CONTROLS[..], &METRICS[..]].concat();
        names.filter(|name| !other.contains(name)).collect()
    }
}

/// How many cells an experiment has.
fn cells(setup: &Setup) -> usize {
    let of = |(arm, _): &(String, String)| match arm.as_str() {
        "none" => 1,
        "all" => setup.synth.len(),
        _ => setup.bins.len() * setup.synth.len(),
    };
    setup.streams.len() * setup.seeds.len() * setup.arms.iter().map(of).sum::<usize>()
}
