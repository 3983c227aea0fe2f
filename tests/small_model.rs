//! A small Llama in a folder, sound until a test breaks it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A tensor: type, shape, bytes.
pub type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// The model as the test will write it.
pub struct SmallModel {
    /// `config.json`.
    pub config: Value,
    /// `model.safetensors`.
    pub tensors: BTreeMap<String, Tensor>,
    folder: TempDir,
}

/// f32 values that differ from each other.
pub fn f32_tensor(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let bytes = (0..n).flat_map(|i| (i as f32 * 0.5 - 3.0).to_le_bytes()).collect();
    (Dtype::F32, shape.to_vec(), bytes)
}

/// The bytes of a safetensors file.
pub fn safetensors_file(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("shape and bytes agree"))
    });
    safetensors::serialize(views, None).expect("serialize")
}

/// A safetensors file with any header text before its data.
pub fn raw_safetensors(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Writes a file anew. Writing over an old one makes some file systems wait for the disk.
pub fn put(folder: &Path, name: &str, contents: impl AsRef<[u8]>) {
    let file = folder.join(name);
    fs::remove_file(&file).ok();
    fs::write(file, contents).expect(name);
}

impl SmallModel {
    /// Two layers, dim 8, tied, all of it f32.
    pub fn new() -> Self {
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 8,
            "intermediate_size": 12,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 16,
            "max_position_embeddings": 32,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": true,
            "bos_token_id": 1,
            "eos_token_id": 2,
        });
        let mut tensors = BTreeMap::new();
        tensors.insert("model.embed_tokens.weight".to_owned(), f32_tensor(&[16, 8]));
        tensors.insert("model.norm.weight".to_owned(), f32_tensor(&[8]));
        for layer in 0..2 {
            for (part, shape) in [
                ("input_layernorm", vec![8]),
                ("post_attention_layernorm", vec![8]),
                ("self_attn.q_proj", vec![8, 8]),
                ("self_attn.k_proj", vec![4, 8]),
                ("self_attn.v_proj", vec![4, 8]),
                ("self_attn.o_proj", vec![8, 8]),
                ("mlp.gate_proj", vec![12, 8]),
                ("mlp.up_proj", vec![12, 8]),
                ("mlp.down_proj", vec![8, 12]),
            ] {
                tensors.insert(format!("model.layers.{layer}.{part}.weight"), f32_tensor(&shape));
            }
        }
        Self { config, tensors, folder: tempfile::tempdir().expect("folder") }
    }

    /// Writes both files and gives the folder.
    pub fn write(&self) -> PathBuf {
        self.put("config.json", self.config.to_string());
        self.put("model.safetensors", safetensors_file(&self.tensors));
        self.path().to_path_buf()
    }

    /// Writes the model as two shards and an index, which it gives.
    pub fn write_sharded(&self) -> Value {
        self.put("config.json", self.config.to_string());
        let mut map = serde_json::Map::new();
        let files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        for (i, file) in files.into_iter().enumerate() {
            let half = self.tensors.iter().skip(i).step_by(2);
            let half: BTreeMap<_, _> = half.map(|(n, t)| (n.clone(), t.clone())).collect();
            map.extend(half.keys().map(|name| (name.clone(), json!(file))));
            self.put(file, safetensors_file(&half));
        }
        let index = json!({"metadata": {}, "weight_map": map});
        self.put("model.safetensors.index.json", index.to_string());
        index
    }

    /// Writes one file of the folder.
    pub fn put(&self, name: &str, contents: impl AsRef<[u8]>) {
        put(self.path(), name, contents);
    }

    /// Removes one file of the folder.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path().join(name)).expect(name);
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The tensor `name`, to be broken.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.get_mut(name).expect(name)
    }
}
