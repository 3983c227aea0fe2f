//! One cell, from its first dialogue to its last round.
//!
//! ```text
//! scratch/KEY/state/         a state directory of `personalize`: goes on where it was cut
//! scratch/KEY/rounds.jsonl   what was measured after each round that is done
//! round r                    observe the stream's part r, ask, synthesise, tune; measure
//! after the last             cells/KEY.*; the scratch is removed
//! ```
//! Nothing depends on the memory that is free: training takes the fastest plan there is.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Error;
use super::cell::{Arm, Cell};
use super::data::{self, World};
use super::measure::{Judge, Measured};
use super::results::{Folder, Machine, ReplyRow, Row, lines, read_lines};
use super::spec::Spec;
use super::split;
use crate::dialogue::Dialogue;
use crate::durable;
use crate::engine::Engine;
use crate::memory::Watch;
use crate::personalize::annotate::Person;
use crate::personalize::buffer::Buffer;
use crate::personalize::presets::Plan;
use crate::personalize::round::Care;
use crate::personalize::score::Features;
use crate::personalize::{self, Rounds, Selection};
use crate::samples::Flags;
use crate::state::vault::Keys;
use crate::state::{self, Record, State};
use crate::tune::Options;
use crate::tune::pace::{Every, Pace, Stop};
use crate::tune::rest::Limits;

/// What cells are run in.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// The experiment.
    pub spec: &'a Spec,
    /// Its data.
    pub world: &'a World,
    /// Where results go.
    pub folder: &'a Folder,
    /// What computes.
    pub engine: Engine<'a>,
    /// Ends the work early.
    pub stop: &'a Stop,
    /// Cells that the process runs at once.
    pub jobs: usize,
}

/// What became of a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// It is done; its lines after the last round, one a temperature.
    Done(Vec<Row>),
    /// Another process has it.
    Elsewhere,
}

/// A line of `rounds.jsonl`.
#[derive(Serialize, Deserialize)]
struct Done {
    rows: Vec<Row>,
    seconds: f64,
    peak_anonymous_bytes: u64,
}

impl Bench<'_> {
    /// Runs `cell`, whose base is done; one that was cut goes on.
    ///
    /// # Errors
    /// If the model or a file fails, or it was told to stop.
    pub fn run(&self, cell: &Cell, features: &[Features], base: &[Row]) -> Result<Ended, Error> {
        let scratch = self.folder.scratch(&cell.key);
        let stream = &self.world.streams[cell.stream];
        let spec = self.spec;
        let bins = if cell.arm == Arm::All { stream.dialogues.len() } else { cell.bins };
        let policy = cell.arm.policy();
        let mut fresh = Record::new(self.world.model.clone(), bins, policy.name, cell.seed);
        fresh.scoring.clone_from(&stream.hashes.scoring);
        let mut state =
            match State::open_or_create(&scratch.join("state"), fresh, false, &Keys::Plain) {
                Err(state::Error::InUse { .. }) => return Ok(Ended::Elsewhere),
                state => state?,
            };
        if self.folder.is_done(&cell.key) {
            // Another process ended it between a look and the lock.
            drop(state);
            remove(&scratch)?;
            return Ok(Ended::Done(last(&self.folder.rows(&cell.key)?)));
        }
        let dealt;
        let dialogues: &[Dialogue] = match cell.arm {
            Arm::Shuffled => {
                dealt = data::shuffled(&stream.dialogues, cell.seed);
                &dealt
            }
            Arm::None | Arm::All | Arm::Policy(_) => &stream.dialogues,
        };
        let cuts = data::cuts(dialogues.len(), spec.rounds);
        let file = scratch.join("rounds.jsonl");
        let mut done: Vec<Done> = if file.exists() { read_lines(&file)? } else { Vec::new() };
        if done.is_empty() {
            let own = |row: &Row| self.row(cell, row.temperature, 0, 0, Some(row));
            let rows = base.iter().map(own).collect();
            done.push(Done { rows, seconds: 0.0, peak_anonymous_bytes: 0 });
        }
        let plan = self.plan(cell);
        loop {
            let round = done.len();
            let (start, watch) = (Instant::now(), Watch::start());
            let before = if round == 1 { 0 } else { cuts[round - 2] };
            let end = cuts[round - 1];
            self.personalize(cell, &mut state, &dialogues[..end], &features[..end], &plan)?;
            let adapter = personalize::current(&state, &self.engine)?;
            let asked = annotated(&state, &self.engine, before as u64)?;
            let installs = |done: &Done| u64::from(done.rows.iter().any(|row| row.installed));
            let installed = state.record.generation > done.iter().map(installs).sum::<u64>();
            let annotations =
                done.last().and_then(|done| done.rows.first()).map_or(0, |row| row.annotations)
                    + asked;
            let mut rows = Vec::new();
            let mut replies = Vec::new();
            for &temperature in &spec.temperatures {
                let measured =
                    self.judge(cell).measure(&self.engine, adapter.as_ref(), temperature)?;
                let row = self.row(cell, temperature, round, end as u64, None);
                rows.push(Row { annotations, installed, ..fill(row, &measured) });
                replies.extend(self.reply_rows(cell.stream, temperature, &measured));
            }
            done.push(Done {
                rows,
                seconds: start.elapsed().as_secs_f64(),
                peak_anonymous_bytes: watch.peak().anonymous_bytes,
            });
            if round < spec.rounds {
                durable::write(&file, lines(&done).as_bytes())?;
                continue;
            }
            let machine = Machine {
                seconds: done.iter().map(|done| done.seconds).sum(),
                peak_anonymous_bytes: done
                    .iter()
                    .map(|done| done.peak_anonymous_bytes)
                    .max()
                    .unwrap_or(0),
                ..self.machine()
            };
            let rows: Vec<Row> = done.into_iter().flat_map(|done| done.rows).collect();
            self.folder.write(&cell.key, &rows, &replies, &machine)?;
            drop(state);
            remove(&scratch)?;
            return Ok(Ended::Done(last(&rows)));
        }
    }

    /// Measures the untuned base, a cell `none`, unless that is done.
    ///
    /// # Errors
    /// If the model or a file fails, or it was told to stop.
    pub fn base(&self, cell: &Cell) -> Result<Vec<Row>, Error> {
        // Read back even where it is computed here, so that all take the same from it.
        if !self.folder.is_done(&cell.key) {
            let (start, watch) = (Instant::now(), Watch::start());
            let (mut rows, mut replies) = (Vec::new(), Vec::new());
            for &temperature in &self.spec.temperatures {
                let measured = self.judge(cell).measure(&self.engine, None, temperature)?;
                // Greedy replies are those of any seed: the line must not tell whose came first.
                let seed = if self.draws() { cell.seed } else { 0 };
                let row = self.row(cell, temperature, 0, 0, None);
                rows.push(Row { seed, ..fill(row, &measured) });
                replies.extend(self.reply_rows(cell.stream, temperature, &measured));
            }
            let machine = Machine {
                seconds: start.elapsed().as_secs_f64(),
                peak_anonymous_bytes: watch.peak().anonymous_bytes,
                ..self.machine()
            };
            self.folder.write(&cell.key, &rows, &replies, &machine)?;
        }
        self.folder.rows(&cell.key)
    }

    fn draws(&self) -> bool {
        self.spec.temperatures.iter().any(|&temperature| temperature > 0.0)
    }

    fn personalize(
        &self,
        cell: &Cell,
        state: &mut State,
        dialogues: &[Dialogue],
        features: &[Features],
        plan: &Plan,
    ) -> Result<(), Error> {
        let selection = Selection {
            policy: cell.arm.policy(),
            lexicons: &self.world.streams[cell.stream].lexicons,
            scoring: self.spec.scoring,
            frozen: self.spec.frozen,
        };
        let (every, limits, stop) = (Every::default(), Limits::NONE, self.stop);
        let pace = Pace { every, any_isa: false, limits, stop };
        let ran = personalize::run(
            self.engine,
            state,
            personalize::Stream { dialogues, features: Some(features) },
            selection,
            Rounds { plan, pace, care: Care::default() },
            &mut Person::Replay(dialogues, 0),
            |_, _| {},
        );
        match ran {
            Err(personalize::Error::Stopped(cause)) => Err(Error::Stopped(cause)),
            ran => Ok(ran?),
        }
    }

    /// How the rounds of `cell` are made.
    fn plan(&self, cell: &Cell) -> Plan {
        let plan = self.spec.plan;
        let train = Options { lr: self.spec.lr(cell.bins), ..plan.train };
        Plan { synth: cell.synth, train, ..plan }
    }

    fn judge(&self, cell: &Cell) -> Judge<'_> {
        Judge {
            held_out: &self.world.streams[cell.stream].held_out,
            general: &self.world.general,
            reply_tokens: self.spec.plan.reply_tokens,
            max_length: self.spec.plan.max_length,
            seed: cell.seed,
            stop: self.stop,
        }
    }

    /// A line of `cell`, with the figures of `of`.
    fn row(&self, cell: &Cell, temperature: f64, round: usize, seen: u64, of: Option<&Row>) -> Row {
        let stream = &self.world.streams[cell.stream];
        Row {
            key: cell.key.clone(),
            stream: stream.name.clone(),
            policy: cell.arm.name().to_owned(),
            bins: cell.bins,
            synth: cell.synth,
            seed: cell.seed,
            round,
            temperature,
            part: stream.part.to_owned(),
            rouge1: of.map_or(0.0, |row| row.rouge1),
            loss: of.map_or(0.0, |row| row.loss),
            general_loss: of.and_then(|row| row.general_loss),
            annotations: 0,
            seen,
            installed: false,
            reply_words: of.map_or(0.0, |row| row.reply_words),
            distinct2: of.map_or(0.0, |row| row.distinct2),
            most_frequent_reply: of.map_or(0.0, |row| row.most_frequent_reply),
        }
    }

    fn reply_rows<'m>(
        &'m self,
        stream: usize,
        temperature: f64,
        measured: &'m Measured,
    ) -> impl Iterator<Item = ReplyRow> + 'm {
        let held_out = &self.world.streams[stream].held_out;
        measured.replies.iter().zip(held_out).enumerate().map(move |(i, (reply, dialogue))| {
            ReplyRow {
                temperature,
                id: id(dialogue, i),
                rouge1: reply.rouge1,
                reply: reply.text.clone(),
            }
        })
    }

    fn machine(&self) -> Machine {
        Machine {
            jobs: self.jobs,
            threads: self.engine.threads(),
            cpu: cpu(),
            isa: self.world.isa.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Machine::default()
        }
    }
}

/// The name of a held-out dialogue in results.
pub fn id(dialogue: &Dialogue, at: usize) -> String {
    dialogue.id.clone().unwrap_or_else(|| split::name(dialogue, at))
}

/// `row` with what was measured.
fn fill(row: Row, measured: &Measured) -> Row {
    Row {
        rouge1: measured.rouge1,
        loss: measured.loss,
        general_loss: measured.general_loss,
        reply_words: measured.reply_words,
        distinct2: measured.distinct2,
        most_frequent_reply: measured.most_frequent_reply,
        ..row
    }
}

/// The lines of the last round.
fn last(rows: &[Row]) -> Vec<Row> {
    let round = rows.iter().map(|row| row.round).max().unwrap_or(0);
    rows.iter().filter(|row| row.round == round).cloned().collect()
}

/// How many dialogues of the buffer that arrived at `from` or later were asked about: the requests of
/// the round that ended, for whatever came before it was asked about then or has left. Counted anew,
/// so that no cut can lose or double one.
fn annotated(state: &State, engine: &Engine, from: u64) -> Result<u64, Error> {
    let buffer = Buffer::open(state, engine.model().config.dim)?;
    let asked = |flags: Flags| flags.contains(Flags::ANNOTATED) || flags.contains(Flags::SKIPPED);
    let new = buffer.entries().filter(|(_, header)| header.arrival >= from && asked(header.flags));
    Ok(new.count() as u64)
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder)(error)),
        _ => Ok(()),
    }
}

/// The CPU's name, as Linux tells it.
pub fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.and_then(|rest| rest.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
