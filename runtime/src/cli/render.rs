//! `homespun render`: what a dialogue looks like to the model.

use std::path::PathBuf;

use serde_json::json;

use super::Outcome;
use super::options::{ModelArgs, print_json, say};
use crate::dialogue::{self, Role};

/// Show a dialogue's text under the chat template, its token ids and its loss mask
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  homespun render --model builtin --messages dialogue.json --json"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A dialogue as JSON
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// Which tokens are targets: response, assistant or all
    #[arg(long, value_name = "NAME", default_value = "response")]
    loss: String,
    /// Print {"text", "ids", "mask"}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let loss = super::train::loss_mode(&args.loss)?;
    let base = args.model.open()?;
    let dialogue = dialogue::read_messages(&args.messages)?;
    let messages = dialogue.target_messages().unwrap_or_else(|| dialogue.messages.clone());
    let prompt = messages.last().is_some_and(|message| message.role == Role::User);
    let rendered = base.chat().render(&messages, prompt)?;
    let mask = rendered.targets(loss);
    if args.json {
        let mask: Vec<u8> = mask.iter().map(|&target| u8::from(target)).collect();
        print_json(&json!({ "text": rendered.text, "ids": rendered.ids, "mask": mask }))?;
        return Ok(());
    }
    say(&rendered.text)?;
    for (id, target) in rendered.ids.iter().zip(&mask) {
        let piece = base.tokenizer().token(*id).unwrap_or_default();
        say(format_args!("{id:>7} {} {piece:?}", if *target { "target" } else { "      " }))?;
    }
    Ok(())
}
