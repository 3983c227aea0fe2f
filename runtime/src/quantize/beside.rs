//! The files beside the weights: `config.json` with one field more, the others as they are.

use std::fs;
use std::path::Path;

use crate::builtin;
use crate::checkpoint::quantization::FIELD;
use crate::checkpoint::{Error, Object, Quantization, io_error, parse_json, read_json};

/// What is copied where it is there: ends and settings of generation, tokenizer, templates, licence.
const COPIED: [&str; 15] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "NOTICE.txt",
];

/// The files beside a model's weights.
pub struct Files {
    config: Object,
    copied: Vec<(String, Vec<u8>)>,
}

impl Files {
    /// Those of the model in `folder`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let config = read_json(&folder.join("config.json"))?;
        let mut copied = Vec::new();
        for name in COPIED {
            let file = folder.join(name);
            if file.is_file() {
                let bytes = fs::read(&file).map_err(|e| io_error(&file, e))?;
                copied.push((name.to_owned(), bytes));
            }
        }
        Ok(Self { config, copied })
    }

    /// Those of the built-in model.
    ///
    /// # Errors
    /// None unless the program was built from damaged files.
    pub fn built_in() -> Result<Self, Error> {
        let config = parse_json(Path::new("built-in/config.json"), builtin::CONFIG)?;
        let copied = [
            ("generation_config.json", builtin::GENERATION_CONFIG),
            ("tokenizer.json", builtin::TOKENIZER),
            ("tokenizer_config.json", builtin::TOKENIZER_CONFIG),
            ("chat_template.jinja", builtin::CHAT_TEMPLATE.as_bytes()),
        ];
        let copied = copied.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into();
        Ok(Self { config, copied })
    }

    /// Name and contents of each file of the quantised model.
    pub(super) fn quantised(mut self, quantization: Quantization) -> Vec<(String, Vec<u8>)> {
        self.config.insert(FIELD.to_owned(), quantization.to_json());
        self.all()
    }

    /// Name and contents of each file of a model whose matrices are dense, its element type `dtype`
    /// where that changes.
    pub(crate) fn dense(mut self, dtype: Option<&str>) -> Vec<(String, Vec<u8>)> {
        self.config.remove(FIELD);
        if let Some(dtype) = dtype {
            // transformers 5 writes `dtype`, and reads the older name too.
            let field = if self.config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
            self.config.insert(field.to_owned(), dtype.into());
        }
        self.all()
    }

    fn all(mut self) -> Vec<(String, Vec<u8>)> {
        let text = format!("{:#}\n", serde_json::Value::Object(self.config));
        self.copied.push(("config.json".to_owned(), text.into_bytes()));
        self.copied
    }
}
