//! `quantization_config` of our own kind: which matrices are packed, and in which format.
//!
//! ```text
//! "quantization_config": {
//!     "quant_method": "homespun", "version": 1,
//!     "format": "q4",               the linear layers of the blocks
//!     "head": "q8",                 the embedding and the head
//!     "block": 32, "rows": 16 }     weights that share a scale, rows of a panel
//! ```
//! A packed matrix (N, K) has its usual name, the element type U8 and the shape
//! (panels, bytes of a panel); `homespun_kernels::quant` draws a panel. Everything else is dense.

use std::path::Path;

use homespun_core::family::Names;
use homespun_kernels::quant::{BLOCK, Format, ROWS};
use serde_json::{Value, json};

use super::fields::Fields;
use super::{Error, Object};

/// The field of `config.json`.
pub(crate) const FIELD: &str = "quantization_config";

const METHOD: &str = "homespun";
const VERSION: usize = 1;

/// How a checkpoint's matrices are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// Of the linear layers.
    pub format: Format,
    /// Of the embedding and of the head.
    pub head: Format,
}

impl Quantization {
    /// Reads the field, `None` if it is absent.
    ///
    /// # Errors
    /// Names what is missing, wrong or of another program's kind.
    pub(super) fn parse(file: &Path, json: &Object) -> Result<Option<Self>, Error> {
        let outer = Fields::new(file, json);
        let Some(fields) = outer.object(FIELD, "quantization_config.")? else { return Ok(None) };
        let method = fields.text("quant_method")?.unwrap_or("no `quant_method`");
        if method != METHOD {
            let reason = format!(
                "is of {method:?}; weights that homespun quantised or unquantised f32, bf16 and \
                 f16 are read"
            );
            return Err(outer.error(FIELD, reason));
        }
        for (field, known) in [("version", VERSION), ("block", BLOCK), ("rows", ROWS)] {
            let found = fields.required(field)?;
            if found != known {
                return Err(fields.error(field, format!("is {found}; this program reads {known}")));
            }
        }
        let format = |field| {
            let name = fields.text(field)?.ok_or_else(|| fields.error(field, "is missing"))?;
            Format::named(name)
                .ok_or_else(|| fields.error(field, format!("is {name:?}; q8 and q4 are read")))
        };
        Ok(Some(Self { format: format("format")?, head: format("head")? }))
    }

    /// The field's value.
    pub(crate) fn to_json(self) -> Value {
        json!({
            "quant_method": METHOD,
            "version": VERSION,
            "format": self.format.name(),
            "head": self.head.name(),
            "block": BLOCK,
            "rows": ROWS,
        })
    }

    /// The format of the matrix `tensor`.
    pub(crate) fn format_of(self, names: &Names, tensor: &str) -> Format {
        if [names.embed, names.head].contains(&tensor) { self.head } else { self.format }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: Value) -> Result<Option<Quantization>, String> {
        let json = json!({ FIELD: value });
        let object = json.as_object().expect("object");
        Quantization::parse(Path::new("m/config.json"), object).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_written_is_read_and_absence_is_none() {
        for format in [Format::Q8, Format::Q4] {
            for head in [Format::Q8, Format::Q4] {
                let quantization = Quantization { format, head };
                assert_eq!(parse(quantization.to_json()), Ok(Some(quantization)));
            }
        }
        assert_eq!(parse(Value::Null), Ok(None));
    }

    #[test]
    fn each_wrong_value_is_named_by_its_field() {
        let sound = Quantization { format: Format::Q4, head: Format::Q8 }.to_json();
        for (field, value, part) in [
            ("version", json!(2), "is 2; this program reads 1"),
            ("version", json!(null), "missing"),
            ("block", json!(64), "is 64; this program reads 32"),
            ("rows", json!("16"), "whole number"),
            ("format", json!("q5"), "\"q5\"; q8 and q4"),
            ("format", json!(null), "missing"),
            ("head", json!(8), "not a text"),
        ] {
            let mut bad = sound.clone();
            bad[field] = value;
            let error = parse(bad).expect_err(field);
            let name = format!("m/config.json: `quantization_config.{field}`");
            assert!(error.starts_with(&name) && error.contains(part), "{error}");
        }
        for other in [json!({"quant_method": "gptq"}), json!({"bits": 4}), json!(4)] {
            let error = parse(other).expect_err("another program's");
            assert!(error.starts_with("m/config.json: `quantization_config` is "), "{error}");
        }
    }
}
