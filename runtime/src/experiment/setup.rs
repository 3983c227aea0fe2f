//! What the results in a folder are of: written beside them, read by the report.

use homespun_core::lora::Target;
use serde::{Deserialize, Serialize};

use super::Error;
use super::data::{self, Hashes, World};
use super::results::{Folder, HeldOut};
use super::run;
use super::spec::Spec;
use crate::engine::Base;
use crate::state;

/// `experiment.json`: what the results are of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The program's version.
    pub version: String,
    /// The last command.
    pub command: String,
    /// The model's folder name.
    pub model_name: String,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Its hashes.
    pub model: state::Base,
    /// The kernels.
    pub isa: String,
    /// The streams.
    pub streams: Vec<StreamSetup>,
    /// The arms: name and what each does.
    pub arms: Vec<(String, String)>,
    /// Bins.
    pub bins: Vec<usize>,
    /// Synthesised questions.
    pub synth: Vec<usize>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Rounds a stream.
    pub rounds: usize,
    /// Temperatures.
    pub temperatures: Vec<f64>,
    /// How rounds are made, for people.
    pub training: String,
    /// SHA-256 of the general dialogues, or empty.
    pub general: String,
}

/// A stream of [`Setup`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamSetup {
    /// Its name.
    pub name: String,
    /// Dialogues of the stream.
    pub dialogues: usize,
    /// Dialogues that it is judged by.
    pub held_out: usize,
    /// Which part they are.
    pub part: String,
    /// See [`Hashes`].
    pub hashes: Hashes,
}

/// Writes what the results of `spec` are of, and the dialogues that its streams are judged by.
///
/// # Errors
/// If a file cannot be written.
pub fn write(
    spec: &Spec,
    base: &Base,
    world: &World,
    folder: &Folder,
    command: &str,
) -> Result<(), Error> {
    for stream in &world.streams {
        let held_out = stream.held_out.iter().enumerate().map(|(i, dialogue)| HeldOut {
            id: run::id(dialogue, i),
            question: data::last_question(dialogue).to_owned(),
            reference: dialogue.target_response().unwrap_or_default().to_owned(),
        });
        folder.write_held_out(&stream.name, &held_out.collect::<Vec<_>>())?;
    }
    let plan = &spec.plan;
    let targets: Vec<_> = plan.lora.targets.iter().map(Target::name).collect();
    let training = format!(
        "LoRA of rank {}, alpha {}, dropout {}, on {}; AdamW, learning rate {}{}, {}, batch {}, loss on \
         {}, at most {} epochs, patience {} where at least \
         {} dialogues are held out; at most {} tokens a dialogue and {} a reply",
        plan.lora.rank,
        plan.lora.alpha,
        plan.lora.dropout,
        targets.join(", "),
        plan.train.lr,
        if spec.scale_lr { " times the root of bins over the first bins" } else { "" },
        plan.train.schedule.name(),
        plan.train.batch,
        plan.mode.as_str(),
        spec.epochs(),
        plan.patience,
        plan.least_held_out,
        plan.max_length,
        plan.reply_tokens
    );
    let name = spec.model.file_name().unwrap_or(spec.model.as_os_str());
    let setup = Setup {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: command.to_owned(),
        model_name: name.to_string_lossy().into_owned(),
        weight_bytes: base.checkpoint().weight_bytes(),
        model: world.model.clone(),
        isa: world.isa.to_owned(),
        streams: world
            .streams
            .iter()
            .map(|stream| StreamSetup {
                name: stream.name.clone(),
                dialogues: stream.dialogues.len(),
                held_out: stream.held_out.len(),
                part: stream.part.to_owned(),
                hashes: stream.hashes.clone(),
            })
            .collect(),
        arms: spec.arms.iter().map(|arm| (arm.name().to_owned(), arm.about().to_owned())).collect(),
        bins: spec.bins.clone(),
        synth: spec.synth.clone(),
        seeds: spec.seeds.clone(),
        rounds: spec.rounds,
        temperatures: spec.temperatures.clone(),
        training,
        general: world.general_hash.clone(),
    };
    folder.put("experiment.toml", &spec.text)?;
    // Strings, numbers and lists always serialise.
    let text = serde_json::to_string_pretty(&setup).unwrap_or_default();
    folder.put("experiment.json", &(text + "\n"))
}
