//! The header of one safetensors file.
//!
//! ```text
//! 0        8             8 + n                         end
//! | n: u64 | n bytes JSON | tensors, without holes      |
//!            {"name": {"dtype", "shape", "data_offsets": [from, to)}, from 8 + n on
//!             "__metadata__": {"sha256:name": "hex", ...}} where homespun wrote it
//! ```

use core::ops::Range;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) use safetensors::Dtype;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use serde_json::Value;

use super::{Error, Object, file_error};

/// The longest header that is read; a real one has some 100 bytes a tensor.
const MAX_HEADER: u64 = 16 << 20;

/// Where the tensors of a file that homespun writes begin, and each packed one of them.
const ALIGN: usize = 64;

/// Before a tensor's name in the metadata: its SHA-256.
pub(crate) const HASH: &str = "sha256:";

/// Where a tensor lies and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The tensor's name.
    pub(crate) name: String,
    /// How its elements are stored.
    pub(crate) dtype: Dtype,
    /// Its sizes.
    pub(crate) shape: Vec<usize>,
    /// Its bytes in the file.
    pub(crate) bytes: Range<usize>,
}

/// Reads and checks the header of `bytes`, the whole of `file`.
///
/// # Errors
/// If it is no safetensors file, cut short, or its header does not fit its tensors.
pub(crate) fn read_header(file: &Path, bytes: &[u8]) -> Result<Vec<Entry>, Error> {
    let (header, metadata) = parse(file, bytes)?;
    Ok(entries(8 + header, &metadata))
}

/// The hashes that the header of `bytes`, the whole of `file`, gives for tensors.
///
/// # Errors
/// As [`read_header`].
pub(crate) fn read_hashes(file: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>, Error> {
    let texts = read_metadata(file, bytes)?.into_iter();
    Ok(texts.filter_map(|(k, v)| Some((k.strip_prefix(HASH)?.to_owned(), v))).collect())
}

/// The `__metadata__` in the header of `bytes`, the whole of `file`.
///
/// # Errors
/// As [`read_header`].
pub(crate) fn read_metadata(file: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>, Error> {
    let (_, metadata) = parse(file, bytes)?;
    Ok(metadata.metadata().clone().into_iter().flatten().collect())
}

/// The first bytes of a file whose header is `json`, with spaces up to a multiple of 64.
pub(crate) fn header_bytes(json: Object) -> Vec<u8> {
    let mut text = Value::Object(json).to_string().into_bytes();
    text.resize((8 + text.len()).next_multiple_of(ALIGN) - 8, b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

/// The header's length and contents.
fn parse(file: &Path, bytes: &[u8]) -> Result<(usize, Metadata), Error> {
    if bytes.starts_with(b"GGUF") {
        return Err(Error::Gguf { path: file.to_path_buf() });
    }
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(file_error(
            file,
            format!("is no safetensors file: {} bytes are less than a header", bytes.len()),
        ));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(file_error(
            file,
            format!("is no safetensors file: a header of {length} bytes (at most {MAX_HEADER})"),
        ));
    }
    if length > rest.len() as u64 {
        return Err(file_error(
            file,
            format!(
                "is cut short or no safetensors file: a header of {length} bytes in {} bytes",
                bytes.len()
            ),
        ));
    }
    SafeTensors::read_metadata(bytes)
        .map_err(|e| file_error(file, format!("has a bad safetensors header: {e}")))
}

fn entries(start: usize, metadata: &Metadata) -> Vec<Entry> {
    let mut entries: Vec<_> = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| Entry {
            name,
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes: start + info.data_offsets.0..start + info.data_offsets.1,
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}
