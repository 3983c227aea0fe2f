//! `adapter_model.safetensors`: two matrices for each adapted layer, with DoRA a vector besides, flat in
//! memory.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use half::{bf16, f16};
use homespun_core::config::Config;
use homespun_core::dora;
use homespun_core::lora::{LoraConfig, Target};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::{Adapter, Error, TENSORS_FILE, identity};
use crate::checkpoint::header::{Entry, header_bytes, read_header, read_metadata};
use crate::checkpoint::{self, Object, file_error, io_error};
use crate::{durable, state};

/// One tensor of the adapter: its name in the file, its shape and where it begins in memory.
struct Part {
    name: String,
    shape: Vec<usize>,
    start: usize,
}

impl Part {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Every tensor, in the order of memory.
fn parts(config: &LoraConfig, base: &Config) -> Vec<Part> {
    let mut parts = Vec::new();
    for layer in 0..base.layers {
        for target in config.targets.iter() {
            let Some(mut start) = config.offset(base, layer, target) else { continue };
            let (outputs, inputs) = target.shape(base);
            let mut push = |tensor: &str, shape: Vec<usize>| {
                let part = Part { name: name(layer, target, tensor), shape, start };
                start += part.len();
                parts.push(part);
            };
            push("lora_A.weight", vec![config.rank, inputs]);
            push("lora_B.weight", vec![outputs, config.rank]);
            if config.dora {
                push("lora_magnitude_vector", vec![outputs]);
            }
        }
    }
    parts
}

fn name(layer: usize, target: Target, tensor: &str) -> String {
    let (parent, module) = (target.parent(), target.name());
    format!("base_model.model.model.layers.{layer}.{parent}.{module}.{tensor}")
}

/// Reads the tensors in the folder `path` into flat parameters; also gives the base that they were
/// trained on, where the file says.
///
/// # Errors
/// Names the tensor that is missing, unexpected, of another shape or element type, or not finite.
pub(super) fn open(
    path: &Path,
    config: &LoraConfig,
    base: &Config,
) -> Result<(Vec<f32>, Option<state::Base>), Error> {
    let file = path.join(TENSORS_FILE);
    if !file.exists() && path.join("adapter_model.bin").exists() {
        let bin = path.join("adapter_model.bin");
        return Err(file_error(&bin, format!("is not read; save it as {TENSORS_FILE}")).into());
    }
    let kind = fs::metadata(&file).map_err(|e| io_error(&file, e))?;
    if !kind.is_file() {
        return Err(file_error(&file, "is not a regular file").into());
    }
    let bytes = fs::read(&file).map_err(|e| io_error(&file, e))?;
    parse(&file, &bytes, config, base)
}

/// Reads the tensors of `bytes`, the contents of `file`.
///
/// # Errors
/// As [`open`].
pub(super) fn parse(
    file: &Path,
    bytes: &[u8],
    config: &LoraConfig,
    base: &Config,
) -> Result<(Vec<f32>, Option<state::Base>), Error> {
    let entries = read_header(file, bytes)?;
    let trained_on = identity::read(file, &read_metadata(file, bytes)?)?;
    let fail = |tensor: &str, reason: String| checkpoint::Error::Tensor {
        file: file.to_owned(),
        tensor: tensor.to_owned(),
        reason,
    };
    let parts = parts(config, base);
    // Shapes first: an adapter for another base has other layers too, and its shapes tell more.
    for part in &parts {
        if let Some(entry) = find(&entries, &part.name)
            && entry.shape != part.shape
        {
            return Err(Error::OtherBase {
                file: file.to_owned(),
                tensor: part.name.clone(),
                found: entry.shape.clone(),
                expected: part.shape.clone(),
            });
        }
    }
    // What the file does not hold follows from the base.
    let mut parameters = vec![dora::UNKNOWN; config.parameters(base)];
    for part in &parts {
        let entry =
            find(&entries, &part.name).ok_or_else(|| fail(&part.name, "is missing".to_owned()))?;
        let values = &mut parameters[part.start..][..part.len()];
        decode(entry.dtype, &bytes[entry.bytes.clone()], values).ok_or_else(|| {
            let reason = format!("has element type {:?}; F32, BF16 and F16 are read", entry.dtype);
            fail(&part.name, reason)
        })?;
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            let reason = format!("has {} at element {at}", values[at]);
            return Err(fail(&part.name, reason).into());
        }
    }
    let mut names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
    names.sort_unstable();
    for entry in &entries {
        if names.binary_search(&entry.name.as_str()).is_err() {
            let reason =
                "is not expected: neither `target_modules` nor the base has a place for it";
            return Err(fail(&entry.name, reason.to_owned()).into());
        }
    }
    Ok((parameters, trained_on))
}

/// The entry of this name; entries are sorted.
fn find<'e>(entries: &'e [Entry], name: &str) -> Option<&'e Entry> {
    entries.binary_search_by(|e| e.name.as_str().cmp(name)).ok().map(|i| &entries[i])
}

/// Little-endian `bytes`, which match `values` in number, as f32; `None` for an element type that
/// is not read.
fn decode(dtype: Dtype, bytes: &[u8], values: &mut [f32]) -> Option<()> {
    match dtype {
        Dtype::F32 => fill(values, bytes, f32::from_le_bytes),
        Dtype::BF16 => fill(values, bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F16 => fill(values, bytes, |b| f16::from_le_bytes(b).to_f32()),
        _ => return None,
    }
    Some(())
}

fn fill<const N: usize>(values: &mut [f32], bytes: &[u8], convert: impl Fn([u8; N]) -> f32) {
    let (elements, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty() && elements.len() == values.len(), "shape and bytes differ");
    for (value, element) in values.iter_mut().zip(elements) {
        *value = convert(*element);
    }
}

/// Writes the file's contents: its header, and the tensors in the order of memory, which are never
/// copied whole.
///
/// # Errors
/// If `out` takes no more.
pub(super) fn write(adapter: &Adapter, base: &Config, out: &mut dyn Write) -> io::Result<()> {
    let parts = parts(&adapter.config, base);
    out.write_all(&header(adapter, &parts))?;
    for part in &parts {
        durable::write_floats(&adapter.parameters[part.start..][..part.len()], out)?;
    }
    Ok(())
}

/// What comes before the tensors, which lie without gaps.
fn header(adapter: &Adapter, parts: &[Part]) -> Vec<u8> {
    let mut json = Object::new();
    json.insert("__metadata__".to_owned(), metadata(adapter));
    let mut from = 0;
    for part in parts {
        let to = from + part.len() * size_of::<f32>();
        let info = json!({"dtype": "F32", "shape": part.shape, "data_offsets": [from, to]});
        json.insert(part.name.clone(), info);
        from = to;
    }
    header_bytes(json)
}

/// What the file says beside its tensors.
fn metadata(adapter: &Adapter) -> Value {
    let mut metadata = Object::new();
    metadata.insert("format".to_owned(), json!("pt"));
    if let Some(base) = &adapter.trained_on {
        identity::write(base, &mut metadata);
    }
    Value::Object(metadata)
}
