//! How long a sweep takes: a few things timed on this machine, times how often each is done; as cells
//! end, times how much longer they took than was thought.
//!
//! ```text
//! cell = sum over rounds of  dialogues in the buffer x (1 + kept questions) x epochs x training one
//!                          + new dialogues x synth x writing a question
//!                          + held-out dialogues x temperatures x writing a reply
//! ```
//! Nobody knows when a round stops early: [`epochs`] says what is assumed.

use std::time::Instant;

use homespun_core::rng::hash;

use super::Error;
use super::cell::{Arm, Cell};
use super::data::{self, Stream, World};
use super::spec::Spec;
use crate::adapter::Adapter;
use crate::engine::{Engine, Sampling};
use crate::memory;
use crate::personalize::round;
use crate::personalize::score::Scorer;
use crate::personalize::synthesise::{Rejected, synthesise};
use crate::tune::{self, Length, Options, Trainer};

/// Dialogues that are timed of each kind.
const PROBED: usize = 6;
/// The share of synthesised questions that is taken to pass the gate.
const KEPT: f64 = 0.5;
/// Epochs to the best loss that are assumed where a round may stop early.
const TO_BEST: usize = 6;

/// Seconds of one thing each, for one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Scoring a dialogue.
    pub score: f64,
    /// Writing and judging a reply.
    pub reply: f64,
    /// Training on one dialogue.
    pub train: f64,
    /// Writing a question.
    pub question: f64,
    /// Bytes that a training takes; no time.
    pub bytes: u64,
}

/// What is known of the time that cells take.
#[derive(Clone, Debug)]
pub struct Estimate {
    times: Vec<Times>,
    /// Of the cells that ended: the arm, and the seconds that were thought and that it took.
    ended: Vec<(&'static str, f64, f64)>,
}

/// Epochs that an estimate assumes of a round over so many dialogues.
pub fn epochs(spec: &Spec, dialogues: usize) -> usize {
    let most = spec.epochs();
    let stops = round::holds_out(&spec.plan, dialogues);
    if stops { most.min(TO_BEST + spec.plan.patience) } else { most }
}

impl Estimate {
    /// Times a few dialogues of each stream with `engine`.
    ///
    /// # Errors
    /// If the model fails.
    pub fn probe(spec: &Spec, world: &World, engine: Engine) -> Result<Self, Error> {
        let times = world.streams.iter().map(|stream| probe(spec, stream, engine));
        Ok(Self { times: times.collect::<Result<_, _>>()?, ended: Vec::new() })
    }

    /// Of a sweep that has nothing left to do.
    pub fn none(world: &World) -> Self {
        Self { times: vec![Times::default(); world.streams.len()], ended: Vec::new() }
    }

    /// Seconds of one thing each, a stream after another.
    pub fn times(&self) -> &[Times] {
        &self.times
    }

    /// Bytes that the largest training takes, about.
    pub fn bytes(&self) -> u64 {
        self.times.iter().map(|times| times.bytes).max().unwrap_or(0)
    }

    /// Seconds that `cell` is thought to take.
    pub fn seconds(&self, spec: &Spec, world: &World, cell: &Cell) -> f64 {
        self.factor(cell.arm.name()) * self.thought(spec, world, cell)
    }

    /// Hears that `cell` took so many seconds.
    pub fn learn(&mut self, spec: &Spec, world: &World, cell: &Cell, took: f64) {
        self.ended.push((cell.arm.name(), self.thought(spec, world, cell), took));
    }

    fn thought(&self, spec: &Spec, world: &World, cell: &Cell) -> f64 {
        let stream = &world.streams[cell.stream];
        let sizes = [stream.dialogues.len(), stream.held_out.len()];
        seconds(spec, sizes, &self.times[cell.stream], cell)
    }

    /// How much longer than thought cells of the arm took; where none has ended, all cells.
    fn factor(&self, arm: &str) -> f64 {
        let of = |arm: Option<&str>| {
            let ended = self.ended.iter().filter(|(one, ..)| arm.is_none_or(|arm| *one == arm));
            let sum = ended.fold((0.0, 0.0), |sum, (_, a, b)| (sum.0 + a, sum.1 + b));
            (sum.0 > 0.0).then(|| sum.1 / sum.0)
        };
        of(Some(arm)).or_else(|| of(None)).unwrap_or(1.0)
    }
}

fn seconds(spec: &Spec, [dialogues, held_out]: [usize; 2], times: &Times, cell: &Cell) -> f64 {
    let judge = (held_out * spec.temperatures.len()) as f64 * times.reply;
    if cell.arm == Arm::None {
        return judge;
    }
    let bins = if cell.arm == Arm::All { dialogues } else { cell.bins };
    let mut sum = 0.0;
    let mut before = 0;
    for seen in data::cuts(dialogues, spec.rounds) {
        let buffered = seen.min(bins);
        let new = (seen - before).min(bins) as f64;
        let examples = buffered as f64 * (1.0 + KEPT * cell.synth as f64);
        sum += examples * epochs(spec, buffered) as f64 * times.train
            + new * cell.synth as f64 * times.question
            + judge;
        before = seen;
    }
    sum
}

fn probe(spec: &Spec, stream: &Stream, engine: Engine) -> Result<Times, Error> {
    // Spread over the stream, whose parts may be of different lengths.
    let spread = |n: usize| (0..PROBED.min(n)).map(move |i| i * n / PROBED.min(n));
    let some: Vec<_> =
        spread(stream.dialogues.len()).map(|i| stream.dialogues[i].clone()).collect();
    let mean = |start: Instant, n: usize| start.elapsed().as_secs_f64() / n.max(1) as f64;
    let mut scorer = Scorer::new(engine, stream.lexicons.lexicons(), spec.scoring);
    let start = Instant::now();
    for dialogue in &some {
        scorer.features(dialogue)?;
    }
    let score = mean(start, some.len());
    let mut session = engine.session(None);
    let sampling = Sampling::greedy(spec.plan.reply_tokens);
    let start = Instant::now();
    for i in spread(stream.held_out.len()) {
        session.reply(stream.held_out[i].question(), &sampling, spec.plan.max_length)?;
    }
    // The loss of the reference reply is a pass over all of the dialogue, as scoring is.
    let reply = mean(start, PROBED.min(stream.held_out.len())) + score;
    let start = Instant::now();
    let asked =
        if spec.synth.iter().any(|&sets| sets > 0) { &some[..some.len().min(3)] } else { &[] };
    for (i, dialogue) in asked.iter().enumerate() {
        let question = data::last_question(dialogue);
        synthesise(&mut session, i as u64, question, 1, 0, &mut Rejected::default())?;
    }
    let question = mean(start, asked.len());
    let plan = &spec.plan;
    let examples = tune::prepare(engine.base(), &some, plan.mode, plan.max_length, |_| {})?;
    let base = engine.base();
    let mut adapter = Adapter::fresh(plan.lora, base.config(), base.name(), hash(&[0, 1]));
    engine.prepare(&mut adapter)?;
    let options = Options { length: Length::Epochs(2), batch: PROBED, ..plan.train };
    let before = memory::anonymous_bytes();
    let mut trainer = Trainer::new(&engine, &mut adapter, &examples, options)?;
    let bytes = trainer.planned_bytes().saturating_sub(before);
    trainer.step()?;
    let start = Instant::now();
    trainer.step()?;
    let train = mean(start, examples.len());
    Ok(Times { score, reply, train, question, bytes })
}

/// A time for people.
pub fn said(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min", (whole + 30) / 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_cells_time_is_the_sum_of_its_rounds() {
        let text = "model = \"builtin\"\npolicies = [\"all\"]\nbins = [4]\nrounds = 2\nepochs = 2\n\
                    patience = 0\n[[streams]]\nname = \"u\"\nfile = \"builtin\"\n";
        let spec = Spec::parse(Path::new("x"), text).unwrap();
        let times = Times { score: 0.0, reply: 1.0, train: 10.0, question: 100.0, bytes: 0 };
        let cell = |arm, bins, synth| Cell { stream: 0, arm, bins, synth, seed: 0, key: "".into() };
        let of = |cell: Cell| seconds(&spec, [10, 3], &times, &cell);
        assert_eq!(of(cell(Arm::None, 0, 0)), 3.0);
        // Buffers of 4 and 4, of 5 and 10; two epochs; three replies twice.
        assert_eq!(of(cell(Arm::Shuffled, 4, 0)), 2.0 * 8.0 * 10.0 + 6.0);
        assert_eq!(of(cell(Arm::All, 0, 0)), 2.0 * 15.0 * 10.0 + 6.0);
        assert_eq!(of(cell(Arm::Shuffled, 4, 2)), 2.0 * 16.0 * 10.0 + 8.0 * 200.0 + 6.0);
    }

    #[test]
    fn a_round_stops_early_where_enough_is_held_out() {
        let text = "model = \"builtin\"\npolicies = [\"all\"]\nbins = [4]\nepochs = 40\npatience = 2\n\
                    least_held_out = 3\n[[streams]]\nname = \"u\"\nfile = \"builtin\"\n";
        let spec = Spec::parse(Path::new("x"), text).unwrap();
        assert_eq!([29, 30].map(|dialogues| epochs(&spec, dialogues)), [40, TO_BEST + 2]);
    }

    #[test]
    fn what_cells_took_corrects_what_was_thought() {
        let mut estimate = Estimate { times: Vec::new(), ended: Vec::new() };
        assert_eq!(estimate.factor("fifo"), 1.0);
        estimate.ended.push(("fifo", 10.0, 20.0));
        assert_eq!((estimate.factor("fifo"), estimate.factor("random")), (2.0, 2.0));
        estimate.ended.push(("random", 10.0, 40.0));
        assert_eq!((estimate.factor("fifo"), estimate.factor("random")), (2.0, 4.0));
        assert_eq!(estimate.factor("all"), 3.0);
    }

    #[test]
    fn times_are_said_in_their_unit() {
        let all = [(3.4, "3 s"), (119.0, "119 s"), (150.0, "3 min"), (7260.0, "2 h 1 min")];
        for (seconds, text) in all {
            assert_eq!(said(seconds), text);
        }
    }
}
