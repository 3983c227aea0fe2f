//! Which files hold the weights: one, or those that an index names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Error, field_error, file_error, read_json};

const ONE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// How a folder stores its weights.
pub(super) enum Layout {
    /// All in this file.
    One(PathBuf),
    /// Spread over several.
    Sharded(Index),
}

/// `model.safetensors.index.json`.
pub(super) struct Index {
    /// The index itself.
    pub(super) file: PathBuf,
    /// Every shard, in the order of their names.
    pub(super) shards: Vec<PathBuf>,
    /// The shard of each tensor.
    pub(super) weight_map: BTreeMap<String, PathBuf>,
}

/// Looks for weights in `folder`, one file first as transformers does.
///
/// # Errors
/// If there are none, or the index is damaged.
pub(super) fn find(folder: &Path) -> Result<Layout, Error> {
    let one = folder.join(ONE);
    if one.exists() {
        return Ok(Layout::One(one));
    }
    let file = folder.join(INDEX);
    if !file.exists() {
        return Err(file_error(folder, format!("holds neither {ONE} nor {INDEX}")));
    }
    let json = read_json(&file)?;
    let Some(Value::Object(map)) = json.get("weight_map") else {
        return Err(field_error(&file, "weight_map", "is no object"));
    };
    let mut weight_map = BTreeMap::new();
    for (tensor, shard) in map {
        let Some(name) = shard.as_str().filter(|name| is_file_name(name)) else {
            let field = format!("weight_map.{tensor}");
            return Err(field_error(&file, field, format!("is {shard}, not a file's name")));
        };
        weight_map.insert(tensor.clone(), folder.join(name));
    }
    if weight_map.is_empty() {
        return Err(field_error(&file, "weight_map", "is empty"));
    }
    let shards: BTreeSet<_> = weight_map.values().cloned().collect();
    Ok(Layout::Sharded(Index { file, shards: shards.into_iter().collect(), weight_map }))
}

/// A name inside the folder: no path that leads elsewhere.
fn is_file_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|f| f == name)
}
