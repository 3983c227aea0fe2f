//! What is opened of a model: its checkpoint, its tokenizer and its chat template.

use std::path::Path;

use homespun_core::config::Config;
use homespun_core::weights::Layer;
use sha2::{Digest, Sha256};

use super::{Error, Work};
use crate::builtin;
use crate::chat::{Chat, Rendered, Template};
use crate::checkpoint::Checkpoint;
use crate::dialogue::Message;
use crate::state;
use crate::tokenizer::{self, Tokenizer};

/// An opened model.
pub struct Base {
    name: String,
    checkpoint: Checkpoint,
    chat: Chat,
    tokenizer_hash: String,
    work: Work,
}

impl Base {
    /// Opens a Hugging Face folder; `template` overrides its chat template.
    ///
    /// # Errors
    /// Whatever is wrong with a file, by name and field.
    pub fn open(dir: &Path, template: Option<&Path>) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(dir)?;
        let mut tokenizer = Tokenizer::load(dir)?;
        tokenizer.check_vocab(checkpoint.config().vocab)?;
        tokenizer.add_eos(&checkpoint.special_tokens().eos);
        let template = Template::load(dir, template, &tokenizer)?;
        let chat = Chat::new(tokenizer, template);
        if let Some(notice) = chat.notice() {
            eprintln!("{notice}");
        }
        let file = dir.join("tokenizer.json");
        let json =
            std::fs::read(&file).map_err(|source| tokenizer::Error::Io { path: file, source })?;
        let tokenizer_hash = format!("{:x}", Sha256::digest(json));
        Ok(Self {
            name: dir.display().to_string(),
            checkpoint,
            chat,
            tokenizer_hash,
            work: Work::default(),
        })
    }

    /// Whether it is the built-in model, or a copy of it, in other numbers or tuned: it has its tokenizer.
    pub fn is_builtin(&self) -> bool {
        self.tokenizer_hash == format!("{:x}", Sha256::digest(builtin::TOKENIZER))
    }

    /// The model that is built into the program; `template` overrides its chat template.
    ///
    /// # Errors
    /// If `template` cannot be read.
    pub fn builtin(template: Option<&Path>) -> Result<Self, Error> {
        let checkpoint = builtin::checkpoint()?;
        let tokenizer = builtin::tokenizer()?;
        let folder = Path::new("built-in");
        let template = match template {
            Some(_) => Template::load(folder, template, &tokenizer)?,
            None => {
                let file = folder.join("chat_template.jinja");
                Template::new(builtin::CHAT_TEMPLATE, &file, &tokenizer)?
            }
        };
        let chat = Chat::new(tokenizer, template);
        let tokenizer_hash = format!("{:x}", Sha256::digest(builtin::TOKENIZER));
        Ok(Self { name: "builtin".into(), checkpoint, chat, tokenizer_hash, work: Work::default() })
    }

    /// A checkpoint that has no tokenizer of its own, with the built-in one: for weights that mean
    /// nothing.
    ///
    /// # Errors
    /// None unless the vocabulary is smaller than the built-in one.
    pub(crate) fn without_text(name: &str, checkpoint: Checkpoint) -> Result<Self, Error> {
        let builtin = Self::builtin(None)?;
        builtin.tokenizer().check_vocab(checkpoint.config().vocab)?;
        Ok(Self { name: name.into(), checkpoint, ..builtin })
    }

    /// The same with the tokenizer of the folder `tokenizer`, whose vocabulary may be smaller.
    ///
    /// # Errors
    /// Whatever is wrong with the tokenizer, by file and field.
    pub(crate) fn with_tokenizer(
        name: &str,
        checkpoint: Checkpoint,
        tokenizer: &Path,
    ) -> Result<Self, Error> {
        let base = Self::without_text(name, checkpoint)?;
        let loaded = Tokenizer::load(tokenizer)?;
        loaded.check_vocab(base.config().vocab)?;
        let template = Template::load(tokenizer, None, &loaded)?;
        Ok(Self { chat: Chat::new(loaded, template), ..base })
    }

    /// The same with a tokenizer whose vocabulary may be larger: it has text, and no model.
    #[cfg(test)]
    pub(crate) fn with_larger_tokenizer(
        name: &str,
        checkpoint: Checkpoint,
        tokenizer: &Path,
    ) -> Result<Self, Error> {
        let base = Self::without_text(name, checkpoint)?;
        let loaded = Tokenizer::load(tokenizer)?;
        let template = Template::load(tokenizer, None, &loaded)?;
        Ok(Self { chat: Chat::new(loaded, template), ..base })
    }

    /// The folder, or `builtin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape.
    pub fn config(&self) -> &Config {
        self.checkpoint.config()
    }

    /// The weights' files.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.chat.tokenizer()
    }

    /// The tokenizer with its chat template.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// The layers' weights, for [`Engine::new`](super::Engine::new).
    ///
    /// # Errors
    /// None that opening has not seen.
    pub fn layers(&self) -> Result<Vec<Layer<'_>>, Error> {
        Ok(self.checkpoint.layers()?)
    }

    /// What was computed with it so far.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// What tells this base from others.
    pub fn hashes(&self) -> state::Base {
        state::Base {
            weights: self.checkpoint.base_hash(),
            tokenizer: self.tokenizer_hash.clone(),
            template: format!("{:x}", Sha256::digest(self.chat.template().source())),
        }
    }

    /// Token ids after which the model writes its reply to `messages`, at most `limit` of them:
    /// the oldest turns go first.
    ///
    /// # Errors
    /// If the template or the tokenizer fails.
    pub fn prompt(&self, messages: &[Message], limit: usize) -> Result<Vec<u32>, Error> {
        Ok(self.rendered(messages, true, limit)?.ids)
    }

    /// `messages` under the chat template, in at most `limit` tokens: the oldest turns go first.
    ///
    /// # Errors
    /// If the template or the tokenizer fails, or the template alone is longer than `limit`.
    pub fn rendered(
        &self,
        messages: &[Message],
        prompt: bool,
        limit: usize,
    ) -> Result<Rendered, Error> {
        Ok(self.chat.render_within(messages, prompt, limit)?)
    }
}
