//! The built-in model and the stream of an imaginary user: what the first command
//! needs, so that nothing is downloaded.
//!
//! ```text
//! model/      a chat model in Hugging Face's layout, trained by tests/oracle/train_builtin.py
//! world.json  slots, questions, generic replies, pools of tastes -> stream(seed, size)
//! ```

mod examples;
mod person;
mod stream;
mod world;

pub use examples::{Examples, examples};
pub use stream::{Size, Stream, general, stream};

use crate::checkpoint::{self, Checkpoint};
use crate::tokenizer::{self, Tokenizer};

/// What is put before a text to have it said in other words; the model learnt it in this wording.
/// The reply is the new text in square brackets.
pub const SYNTHESIS_PROMPT: &str = "Refine and generate a text semantically similar to the following text block. \
No need to answer or explain it. Put the result in [ ].\n\n";

/// `config.json`.
pub const CONFIG: &[u8] = include_bytes!("model/config.json");

/// `generation_config.json`.
pub const GENERATION_CONFIG: &[u8] = include_bytes!("model/generation_config.json");

/// `tokenizer.json`.
pub const TOKENIZER: &[u8] = include_bytes!("model/tokenizer.json");

/// `tokenizer_config.json`.
pub const TOKENIZER_CONFIG: &[u8] = include_bytes!("model/tokenizer_config.json");

/// `chat_template.jinja`.
pub const CHAT_TEMPLATE: &str = include_str!("model/chat_template.jinja");

/// `model.safetensors`, at an address that is a multiple of 64; so is its first tensor.
pub static WEIGHTS: &[u8] = &ALIGNED.0;

static ALIGNED: Aligned<[u8; include_bytes!("model/model.safetensors").len()]> =
    Aligned(*include_bytes!("model/model.safetensors"));

#[repr(C, align(64))]
struct Aligned<B>(B);

/// The model.
///
/// # Errors
/// None unless the program was built from damaged files.
pub fn checkpoint() -> Result<Checkpoint, checkpoint::Error> {
    Checkpoint::from_static(CONFIG, WEIGHTS)
}

/// Its tokenizer.
///
/// # Errors
/// None unless the program was built from damaged files.
pub fn tokenizer() -> Result<Tokenizer, tokenizer::Error> {
    Tokenizer::from_bytes(TOKENIZER, Some(TOKENIZER_CONFIG))
}

#[cfg(test)]
mod tests;
