//! Which base an adapter belongs to.
//!
//! ```text
//! adapter_model.safetensors, `__metadata__`; PEFT passes over what it does not know
//!     homespun_base                                      SHA-256 over the three below
//!     homespun_base_weights, ..._tokenizer, ..._template  those of the base it was trained on
//! ```
//! An adapter without them is of another program's making; its shapes alone are checked.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Adapter, Error, TENSORS_FILE};
use crate::checkpoint::{self, Object};
use crate::state::Base;

/// The field of the identity.
pub(super) const FIELD: &str = "homespun_base";

/// The fields of its parts.
const PARTS: [&str; 3] =
    ["homespun_base_weights", "homespun_base_tokenizer", "homespun_base_template"];

/// Digits of an identity that a message shows.
const SHORT: usize = 12;

impl Base {
    /// One SHA-256 in hex over the three hashes.
    pub fn identity(&self) -> String {
        let Base { weights, tokenizer, template } = self;
        format!(
            "{:x}",
            Sha256::digest(format!("homespun base 1\0{weights}\0{tokenizer}\0{template}"))
        )
    }
}

/// Adds the fields of `base` to a file's metadata.
pub(super) fn write(base: &Base, metadata: &mut Object) {
    metadata.insert(FIELD.to_owned(), base.identity().into());
    for (field, hash) in PARTS.into_iter().zip([&base.weights, &base.tokenizer, &base.template]) {
        metadata.insert(field.to_owned(), hash.as_str().into());
    }
}

/// The base that the metadata of `file` tells of; `None` if it tells of none.
///
/// # Errors
/// If a field is missing or the identity is not that of the three hashes.
pub(super) fn read(
    file: &Path,
    metadata: &BTreeMap<String, String>,
) -> Result<Option<Base>, checkpoint::Error> {
    let Some(identity) = metadata.get(FIELD) else { return Ok(None) };
    let fail = |field: &str, reason: &str| checkpoint::Error::Field {
        file: file.to_path_buf(),
        field: field.to_owned(),
        reason: reason.to_owned(),
    };
    let hash = |field: &str| metadata.get(field).cloned().ok_or_else(|| fail(field, "is missing"));
    let [weights, tokenizer, template] = PARTS;
    let base =
        Base { weights: hash(weights)?, tokenizer: hash(tokenizer)?, template: hash(template)? };
    if base.identity() == *identity {
        Ok(Some(base))
    } else {
        Err(fail(FIELD, "is not the SHA-256 of the three hashes beside it"))
    }
}

/// The beginning of a hash, for people.
fn short(hash: &str) -> &str {
    hash.get(..SHORT).unwrap_or(hash)
}

impl Adapter {
    /// Refuses a base that the adapter, opened from the folder `path`, does not belong to. One that
    /// does not say where it belongs is taken.
    ///
    /// # Errors
    /// If a hash differs; the message gives both identities and tells what differs.
    pub fn expect_base(&self, path: &Path, base: &Base) -> Result<(), Error> {
        let Some(own) = &self.trained_on else { return Ok(()) };
        let differing: Vec<&str> = [
            ("the weights", own.weights != base.weights),
            ("the tokenizer", own.tokenizer != base.tokenizer),
            ("the chat template", own.template != base.template),
        ]
        .into_iter()
        .filter_map(|(what, differs)| differs.then_some(what))
        .collect();
        refuse(path, (&own.identity(), &base.identity()), &differing)
    }

    /// The same, by the hash of the base's weights alone.
    ///
    /// # Errors
    /// If it differs.
    pub fn expect_weights(&self, path: &Path, weights: &str) -> Result<(), Error> {
        let Some(own) = &self.trained_on else { return Ok(()) };
        let differing: &[&str] = if own.weights == weights { &[] } else { &["the weights"] };
        refuse(path, (&own.weights, weights), differing)
    }
}

fn refuse(path: &Path, (own, found): (&str, &str), differing: &[&str]) -> Result<(), Error> {
    if differing.is_empty() {
        return Ok(());
    }
    let verb = if matches!(differing, ["the tokenizer" | "the chat template"]) {
        "differs"
    } else {
        "differ"
    };
    let copy =
        if differing.contains(&"the weights") { " (a quantised copy is another base)" } else { "" };
    Err(Error::NotItsBase {
        file: path.join(TENSORS_FILE),
        own: short(own).to_owned(),
        found: short(found).to_owned(),
        differing: format!("{} {verb}{copy}", differing.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Base {
        Base { weights: "11".repeat(32), tokenizer: "22".repeat(32), template: "33".repeat(32) }
    }

    fn adapter(trained_on: Option<Base>) -> Adapter {
        use homespun_core::lora::{LoraConfig, Targets};
        let config = LoraConfig::new(1, 1.0, 0.0, Targets::ALL);
        Adapter { config, parameters: Vec::new(), base: None, trained_on }
    }

    #[test]
    fn what_is_written_is_read_and_half_of_it_is_refused() {
        let mut json = Object::new();
        write(&base(), &mut json);
        let texts = json.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()));
        let whole: BTreeMap<_, _> = texts.collect();
        let file = Path::new("f");
        assert_eq!(read(file, &whole).unwrap(), Some(base()));
        assert_eq!(read(file, &BTreeMap::new()).unwrap(), None);
        for field in PARTS {
            let mut less = whole.clone();
            less.remove(field);
            let error = read(file, &less).unwrap_err().to_string();
            assert_eq!(error, format!("f: `{field}` is missing"));
            let mut other = whole.clone();
            other.insert(field.to_owned(), "44".repeat(32));
            let error = read(file, &other).unwrap_err().to_string();
            assert!(error.contains("`homespun_base` is not the SHA-256"), "{error}");
        }
    }

    #[test]
    fn another_base_is_refused_and_what_differs_is_told() {
        let folder = Path::new("a");
        let own = adapter(Some(base()));
        assert!(own.expect_base(folder, &base()).is_ok());
        let other = |weights: &str, template: &str| Base {
            weights: weights.into(),
            template: template.into(),
            ..base()
        };
        let same = base();
        let told = |base: &Base| own.expect_base(folder, base).unwrap_err().to_string();
        let weights = told(&other("x", &same.template));
        let ours = short(&base().identity()).to_owned();
        let theirs = short(&other("x", &same.template).identity()).to_owned();
        for part in ["a/adapter_model.safetensors", &ours, &theirs, "--any-base", "quantised copy"]
        {
            assert!(weights.contains(part), "{part} is not in {weights}");
        }
        assert!(weights.contains("the weights differ (") && !weights.contains("template"));
        assert!(told(&other(&same.weights, "x")).contains("the chat template differs;"));
        assert!(told(&other("x", "x")).contains("the weights, the chat template differ ("));
        assert!(adapter(None).expect_base(folder, &other("x", "x")).is_ok());
        assert!(own.expect_weights(folder, &same.weights).is_ok());
        assert!(own.expect_weights(folder, "x").is_err());
        assert!(adapter(None).expect_weights(folder, "x").is_ok());
    }
}
