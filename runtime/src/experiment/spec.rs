//! What an experiment is: a TOML file, read whole and checked before any work.
//!
//! ```text
//! model = "../shared/models/dialogue-5m"     # or "builtin"
//! policies = ["none", "random", "quality"]   # arms: see `cell::Arm`
//! bins = [32]
//! [[streams]]
//! name = "empathetic"
//! file = "../shared/data/empathetic_test.jsonl"   # relative to this file; or "builtin:SEED"
//! share = { stream = 0.1, development = 0.1 }     # or held_out = "FILE"
//! ```
//! Everything else has a default: that of the preset, `paper` unless `preset` says `everyday`.

use std::path::{Path, PathBuf};

use homespun_core::lora::{LoraConfig, Target, Targets};
use homespun_core::schedule::Schedule;
use homespun_core::select::Scoring;
use homespun_core::select::embedding::Pooling;
use homespun_core::select::entropy::Entropy;
use serde::Deserialize;

use super::Error;
use super::cell::Arm;
use super::split::Share;
use crate::builtin;
use crate::personalize::presets::{self, Plan, Trigger};
use crate::tune::Length;

/// More bins than a buffer has.
const MOST_BINS: usize = 65_534;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: PathBuf,
    preset: Option<String>,
    streams: Vec<StreamKeys>,
    policies: Vec<String>,
    bins: Vec<usize>,
    synth: Option<OneOrMore<usize>>,
    rounds: Option<usize>,
    seeds: Option<Vec<u64>>,
    epochs: Option<usize>,
    patience: Option<usize>,
    least_held_out: Option<usize>,
    lr: Option<f64>,
    scale_lr: Option<bool>,
    schedule: Option<String>,
    temperature: Option<OneOrMore<f64>>,
    general: Option<PathBuf>,
    part: Option<String>,
    evaluate: Option<usize>,
    evaluate_general: Option<usize>,
    reply_tokens: Option<usize>,
    max_length: Option<usize>,
    batch: Option<usize>,
    rank: Option<usize>,
    alpha: Option<f32>,
    dropout: Option<f32>,
    targets: Option<Vec<String>>,
    loss: Option<String>,
    entropy: Option<String>,
    embedding: Option<String>,
    frozen_dissimilarity: Option<bool>,
}

/// One of `[[streams]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamKeys {
    name: String,
    file: PathBuf,
    held_out: Option<PathBuf>,
    lexicons: Option<PathBuf>,
    share: Option<Share>,
    first: Option<usize>,
    questions: Option<usize>,
}

/// `x` or `[x, y]`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or a list of numbers")]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    fn all(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

/// Where a stream's dialogues come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The imaginary user of this seed, who is asked so many held-out questions.
    BuiltIn(u64, usize),
    /// A file that is cut into parts.
    Split(PathBuf, Share),
    /// A file, and another with what is held out.
    Files(PathBuf, PathBuf),
}

/// A stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSpec {
    /// How results call it.
    pub name: String,
    /// Its dialogues.
    pub source: Source,
    /// Its lexicons; the built-in ones where there are none.
    pub lexicons: Option<PathBuf>,
    /// Only so many dialogues of the stream, from its beginning.
    pub first: Option<usize>,
}

/// An experiment.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The file it was read from.
    pub file: PathBuf,
    /// The file's text.
    pub text: String,
    /// A folder, or `builtin`.
    pub model: PathBuf,
    /// The streams, by name.
    pub streams: Vec<StreamSpec>,
    /// What is compared.
    pub arms: Vec<Arm>,
    /// Bins of the buffer.
    pub bins: Vec<usize>,
    /// Synthesised questions tried for each annotated dialogue.
    pub synth: Vec<usize>,
    /// Rounds a stream.
    pub rounds: usize,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// How a round is made; its `synth` and `lr` are those of a cell's.
    pub plan: Plan,
    /// Whether the learning rate grows with the root of the bins.
    pub scale_lr: bool,
    /// Temperatures of the replies; 0 is greedy.
    pub temperatures: Vec<f64>,
    /// General dialogues, to see what is forgotten.
    pub general: Option<PathBuf>,
    /// Whether splits are judged by their test part instead of the development part.
    pub test: bool,
    /// At most so many held-out dialogues.
    pub evaluate: usize,
    /// At most so many general ones.
    pub evaluate_general: usize,
    /// How dialogues are scored.
    pub scoring: Scoring,
    /// Whether dissimilarities are compared as they were at arrival.
    pub frozen: bool,
}

impl Spec {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or any key is unknown, missing or wrong: with the file and the key.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::parse(path, &text)
    }

    /// Reads and checks `text`; `path` is for messages, and other paths are relative to its folder.
    ///
    /// # Errors
    /// If any key is unknown, missing or wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|error| Error::Toml {
            file: path.to_owned(),
            problem: error.to_string().trim().to_owned(),
        })?;
        Reader { file: path }.spec(file, text)
    }

    /// The learning rate of a cell of `bins` bins: `lr`, or, with `scale_lr`, that of the first bins
    /// times the root of how many times as many there are. `all` has no bins and takes `lr`.
    pub fn lr(&self, bins: usize) -> f64 {
        let first = self.bins.first().copied().unwrap_or(1);
        match self.scale_lr && bins > 0 {
            true => self.plan.train.lr * (bins as f64 / first as f64).sqrt(),
            false => self.plan.train.lr,
        }
    }

    /// Most epochs of a round.
    pub fn epochs(&self) -> usize {
        match self.plan.train.length {
            Length::Epochs(epochs) => epochs,
            Length::Steps(steps) => steps,
        }
    }
}

struct Reader<'a> {
    file: &'a Path,
}

impl Reader<'_> {
    fn wrong(&self, key: &str, problem: impl Into<String>) -> Error {
        Error::key(self.file, key, problem)
    }

    fn check(&self, good: bool, key: &str, must: &str) -> Result<(), Error> {
        if good { Ok(()) } else { Err(self.wrong(key, format!("must be {must}"))) }
    }

    /// A path that is relative to the file's folder.
    fn path(&self, path: PathBuf) -> PathBuf {
        self.file.parent().map_or_else(|| path.clone(), |folder| folder.join(&path))
    }

    fn some<T: PartialEq>(&self, values: Vec<T>, key: &str) -> Result<Vec<T>, Error> {
        self.check(!values.is_empty(), key, "a list that is not empty")?;
        let twice = (1..values.len()).any(|i| values[..i].contains(&values[i]));
        self.check(!twice, key, "a list without the same twice")?;
        Ok(values)
    }

    fn spec(&self, file: File, text: &str) -> Result<Spec, Error> {
        let plan = self.plan(&file)?;
        let arms = file.policies.iter().map(|name| {
            Arm::named(name).ok_or_else(|| {
                self.wrong("policies", format!("{name:?} is not one of {}", Arm::names()))
            })
        });
        let arms = self.some(arms.collect::<Result<Vec<Arm>, Error>>()?, "policies")?;
        let bins = self.some(file.bins, "bins")?;
        let fits = bins.iter().all(|n| (1..=MOST_BINS).contains(n));
        self.check(fits, "bins", &format!("between 1 and {MOST_BINS} each"))?;
        let synth = file.synth.map_or_else(|| vec![plan.synth], OneOrMore::all);
        let synth = self.some(synth, "synth")?;
        self.check(synth.iter().all(|n| *n <= 1000), "synth", "at most 1000 each")?;
        let seeds = self.some(file.seeds.unwrap_or_else(|| vec![0, 1, 2]), "seeds")?;
        let rounds = file.rounds.unwrap_or(5);
        self.check((1..=10_000).contains(&rounds), "rounds", "between 1 and 10000")?;
        let temperatures = file.temperature.map_or_else(|| vec![0.0], OneOrMore::all);
        let temperatures = self.some(temperatures, "temperature")?;
        let warm = |t: &f64| t.is_finite() && (0.0..=100.0).contains(t);
        self.check(temperatures.iter().all(warm), "temperature", "between 0 and 100 each")?;
        let evaluate = file.evaluate.unwrap_or(200);
        self.check(evaluate >= 2, "evaluate", "at least 2")?;
        let evaluate_general = file.evaluate_general.unwrap_or(evaluate);
        self.check(evaluate_general > 0, "evaluate_general", "at least 1")?;
        let test = match file.part.as_deref() {
            None | Some("development") => false,
            Some("test") => true,
            Some(other) => {
                let problem = format!("{other:?} is not development or test");
                return Err(self.wrong("part", problem));
            }
        };
        let entropy = file.entropy.unwrap_or_else(|| "histogram".to_owned());
        let embedding = file.embedding.unwrap_or_else(|| "mean".to_owned());
        let scoring = Scoring {
            entropy: Entropy::named(&entropy).ok_or_else(|| {
                self.wrong("entropy", format!("{entropy:?} is not histogram or token-norm"))
            })?,
            pooling: Pooling::named(&embedding).ok_or_else(|| {
                self.wrong("embedding", format!("{embedding:?} is not mean or last"))
            })?,
        };
        self.check(!file.streams.is_empty(), "streams", "one at least")?;
        let streams = file.streams.into_iter().map(|keys| self.stream(keys));
        let streams = streams.collect::<Result<Vec<_>, _>>()?;
        for (i, stream) in streams.iter().enumerate() {
            if streams[..i].iter().any(|other| other.name == stream.name) {
                let problem = format!("two streams are called {:?}", stream.name);
                return Err(self.wrong("streams.name", problem));
            }
        }
        let model = match file.model.as_os_str() == "builtin" {
            true => file.model,
            false => self.path(file.model),
        };
        if model.as_os_str() != "builtin" && !model.is_dir() {
            return Err(self.wrong("model", format!("there is no folder {}", model.display())));
        }
        Ok(Spec {
            file: self.file.to_owned(),
            text: text.to_owned(),
            model,
            streams,
            arms,
            bins,
            synth,
            rounds,
            seeds,
            plan,
            scale_lr: file.scale_lr.unwrap_or(false),
            temperatures,
            general: file.general.map(|path| self.there("general", path)).transpose()?,
            test,
            evaluate,
            evaluate_general,
            scoring,
            frozen: file.frozen_dissimilarity.unwrap_or(false),
        })
    }

    fn there(&self, key: &str, path: PathBuf) -> Result<PathBuf, Error> {
        let path = self.path(path);
        match path.is_file() {
            true => Ok(path),
            false => Err(self.wrong(key, format!("there is no file {}", path.display()))),
        }
    }

    fn stream(&self, keys: StreamKeys) -> Result<StreamSpec, Error> {
        let StreamKeys { name, file, held_out, lexicons, share, first, questions } = keys;
        let key = |what: &str| format!("streams.{what} of {name:?}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        self.check(
            !name.is_empty() && name.len() <= 64 && name.chars().all(plain),
            &key("name"),
            "1 to 64 of the characters a-z, A-Z, 0-9, '.', '_' and '-'",
        )?;
        self.check(first != Some(0), &key("first"), "at least 1")?;
        if let Some(problem) = share.and_then(|share| share.problem()) {
            return Err(self.wrong(&key("share"), problem));
        }
        let built_in = file.to_str().and_then(|text| text.strip_prefix("builtin"));
        let source = if let Some(seed) = built_in {
            let seed = match seed.strip_prefix(':') {
                None if seed.is_empty() => Some(0),
                None => None,
                Some(seed) => seed.parse().ok(),
            };
            let seed =
                seed.ok_or_else(|| self.wrong(&key("file"), "must be builtin or builtin:SEED"))?;
            if held_out.is_some() || share.is_some() {
                let problem = "the built-in stream has its own held-out questions: \
                               leave held_out and share out";
                return Err(self.wrong(&key("file"), problem));
            }
            let questions = questions.unwrap_or(builtin::Size::DEFAULT.held_out);
            self.check((2..=1000).contains(&questions), &key("questions"), "between 2 and 1000")?;
            Source::BuiltIn(seed, questions)
        } else if questions.is_some() {
            let problem = "only an imaginary user is asked: leave it out";
            return Err(self.wrong(&key("questions"), problem));
        } else {
            let file = self.there(&key("file"), file)?;
            match (held_out, share) {
                (Some(_), Some(_)) => {
                    return Err(self.wrong(&key("share"), "has no use beside held_out"));
                }
                (Some(held), None) => Source::Files(file, self.there(&key("held_out"), held)?),
                (None, share) => Source::Split(file, share.unwrap_or_default()),
            }
        };
        let lexicons = lexicons.map(|path| self.there(&key("lexicons"), path)).transpose()?;
        Ok(StreamSpec { name, source, lexicons, first })
    }

    /// The preset, and what the file has of its own.
    fn plan(&self, file: &File) -> Result<Plan, Error> {
        let preset = file.preset.as_deref().unwrap_or("paper");
        let preset = presets::named(preset)
            .ok_or_else(|| self.wrong("preset", format!("{preset:?} is not paper or everyday")))?;
        let mut plan = Plan { trigger: Trigger::Dialogues(u64::MAX), ..preset };
        if let Some(epochs) = file.epochs {
            self.check((1..=1_000_000).contains(&epochs), "epochs", "between 1 and 1000000")?;
            plan.train.length = Length::Epochs(epochs);
        }
        plan.patience = file.patience.unwrap_or(plan.patience);
        plan.least_held_out = file.least_held_out.unwrap_or(plan.least_held_out);
        self.check(plan.least_held_out > 0, "least_held_out", "at least 1")?;
        let lr = file.lr.unwrap_or(plan.train.lr);
        self.check(lr.is_finite() && lr > 0.0 && lr <= 1.0, "lr", "above 0 and at most 1")?;
        let batch = file.batch.unwrap_or(plan.train.batch);
        self.check((1..=1_000_000).contains(&batch), "batch", "between 1 and 1000000")?;
        (plan.train.lr, plan.train.batch) = (lr, batch);
        plan.reply_tokens = file.reply_tokens.unwrap_or(plan.reply_tokens);
        self.check((1..=100_000).contains(&plan.reply_tokens), "reply_tokens", "at least 1")?;
        plan.max_length = file.max_length.unwrap_or(plan.max_length);
        self.check(plan.max_length >= 2, "max_length", "at least 2")?;
        if let Some(loss) = &file.loss {
            plan.mode = loss.parse().map_err(|problem: String| self.wrong("loss", problem))?;
        }
        if let Some(name) = &file.schedule {
            let schedule = Schedule::ALL.into_iter().find(|schedule| schedule.name() == name);
            plan.train.schedule = schedule.ok_or_else(|| {
                let known = Schedule::ALL.map(Schedule::name).join(", ");
                self.wrong("schedule", format!("{name:?} is not one of {known}"))
            })?;
        }
        let rank = file.rank.unwrap_or(plan.lora.rank);
        self.check((1..=4096).contains(&rank), "rank", "between 1 and 4096")?;
        let alpha = file.alpha.unwrap_or(plan.lora.alpha);
        self.check(alpha.is_finite() && alpha > 0.0, "alpha", "above 0")?;
        let dropout = file.dropout.unwrap_or(plan.lora.dropout);
        self.check((0.0..1.0).contains(&dropout), "dropout", "at least 0 and below 1")?;
        let targets = match &file.targets {
            None => plan.lora.targets,
            Some(names) => names.iter().try_fold(Targets::NONE, |set, name| {
                let target = Target::ALL.into_iter().find(|target| target.name() == name);
                target.map(|target| set.with(target)).ok_or_else(|| {
                    let known = Target::ALL.map(Target::name).join(", ");
                    self.wrong("targets", format!("{name:?} is not one of {known}"))
                })
            })?,
        };
        self.check(targets.iter().next().is_some(), "targets", "a list that is not empty")?;
        plan.lora = LoraConfig { rank, alpha, dropout, targets, ..plan.lora };
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "model = \"builtin\"\npolicies = [\"none\", \"quality\"]\nbins = [8, 32]\n";
    const FILE: &str = "[[streams]]\nname = \"file\"\nfile = \"/dev/null\"\nquestions = 9\n";
    const STREAM: &str = "[[streams]]\nname = \"user\"\nfile = \"builtin:7\"\n";

    fn parse(more: &str, stream: &str) -> Result<Spec, String> {
        let text = format!("{LEAST}{more}\n{STREAM}{stream}");
        Spec::parse(Path::new("here/x.toml"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_file_leaves_out_is_the_papers() {
        let spec = parse("", "").unwrap();
        let paper = Plan { trigger: Trigger::Dialogues(u64::MAX), ..presets::PAPER };
        assert_eq!(spec.plan, paper);
        assert_eq!((spec.rounds, &spec.seeds[..], &spec.synth[..]), (5, &[0, 1, 2][..], &[3][..]));
        assert_eq!((spec.test, spec.evaluate, &spec.temperatures[..]), (false, 200, &[0.0][..]));
        assert_eq!(spec.streams[0].source, Source::BuiltIn(7, 48));
        let lr = |spec: &Spec| [8, 32, 0].map(|bins| spec.lr(bins) / presets::PAPER.train.lr);
        assert_eq!(lr(&spec), [1.0; 3]);
        assert_eq!(lr(&parse("scale_lr = true", "").unwrap()), [1.0, 2.0, 1.0]);
        let spec = parse("temperature = 0\nsynth = [0, 2]\npreset = \"everyday\"", "").unwrap();
        assert_eq!((spec.temperatures, spec.synth), (vec![0.0], vec![0, 2]));
        assert_eq!(spec.plan.train.batch, presets::EVERYDAY.train.batch);
    }

    #[test]
    fn each_error_names_the_file_and_the_key() {
        for (more, stream, key) in [
            ("polices = []", "", "polices"),
            ("seeds = [\"a\"]", "", "seeds"),
            ("seeds = []", "", "seeds: "),
            ("seeds = [1, 1]", "", "seeds: "),
            ("synth = \"x\"", "", "synth"),
            ("rounds = 0", "", "rounds: "),
            ("epochs = 0", "", "epochs: "),
            ("lr = nan", "", "lr: "),
            ("lr = 0.0", "", "lr: "),
            ("temperature = -1", "", "temperature: "),
            ("evaluate = 1", "", "evaluate: "),
            ("evaluate_general = 0", "", "evaluate_general: "),
            ("part = \"both\"", "", "part: "),
            ("preset = \"mine\"", "", "preset: "),
            ("loss = \"none\"", "", "loss: "),
            ("targets = [\"x\"]", "", "targets: "),
            ("targets = []", "", "targets: "),
            ("schedule = \"wild\"", "", "schedule: "),
            ("rank = 0", "", "rank: "),
            ("alpha = 0.0", "", "alpha: "),
            ("dropout = 1.0", "", "dropout: "),
            ("batch = 0", "", "batch: "),
            ("max_length = 1", "", "max_length: "),
            ("reply_tokens = 0", "", "reply_tokens: "),
            ("entropy = \"x\"", "", "entropy: "),
            ("embedding = \"x\"", "", "embedding: "),
            ("general = \"no.jsonl\"", "", "general: there is no file here/no.jsonl"),
            ("", "first = 0", "streams.first of \"user\": "),
            ("", "questions = 1", "streams.questions of \"user\": "),
            ("", "held_out = \"x\"", "streams.file of \"user\": "),
            ("", "share = { stream = 0.9, development = 0.2 }", "streams.share of \"user\": "),
            ("", "lexicons = \"no.tsv\"", "streams.lexicons of \"user\": "),
            ("", "share = { strem = 0.9 }", "strem"),
            ("", STREAM, "streams.name: "),
        ] {
            let error = parse(more, stream).expect_err(&format!("{more}{stream}"));
            assert!(error.starts_with("here/x.toml: ") && error.contains(key), "{key}: {error}");
        }
        for (text, part) in [
            (LEAST.replace("[8, 32]", "[0]"), "bins: "),
            (format!("{LEAST}{FILE}"), "streams.questions of \"file\": only an imaginary"),
            (LEAST.replace("quality", "best"), "policies: \"best\" is not one of none, all"),
            (LEAST.replace("\"builtin\"", "\"nowhere\""), "model: there is no folder here/nowhere"),
            (LEAST.replace("model = \"builtin\"\n", ""), "missing field `model`"),
        ] {
            let text = format!("{text}{STREAM}");
            let error = Spec::parse(Path::new("here/x.toml"), &text).unwrap_err().to_string();
            assert!(error.starts_with("here/x.toml: ") && error.contains(part), "{error}");
        }
        assert!(Spec::parse(Path::new("x"), LEAST).unwrap_err().to_string().contains("streams"));
    }
}
