//! A hash that tells one base model from another without reading gigabytes.
//!
//! ```text
//! SHA-256( version
//!          sizes and flags of the configuration
//!          for each tensor by name: name, type, shape,
//!              all bytes if at most 24 KiB, else six pieces of 4 KiB spread evenly, ends included )
//! ```

use core::fmt::Write;

use homespun_core::config::{Config, RopeScaling};
use sha2::{Digest, Sha256};

use super::tensors::Tensors;

const PIECE: usize = 4096;
const PIECES: usize = 6;

pub(super) fn base_hash(config: &Config, tensors: &Tensors) -> String {
    let mut hash = Sha256::new();
    hash.update(b"homespun base 1\0");
    hash_config(&mut hash, config);
    for (entry, bytes) in tensors.iter() {
        hash.update((entry.name.len() as u64).to_le_bytes());
        hash.update(&entry.name);
        hash.update(format!("{:?}{:?}", entry.dtype, entry.shape));
        if bytes.len() <= PIECE * PIECES {
            hash.update(bytes);
        } else {
            for i in 0..PIECES {
                let start = (bytes.len() - PIECE) / (PIECES - 1) * i;
                let start = if i == PIECES - 1 { bytes.len() - PIECE } else { start };
                hash.update(&bytes[start..start + PIECE]);
            }
        }
    }
    hex(&hash.finalize())
}

/// Every field; a new one makes this pattern fail to compile.
fn hash_config(hash: &mut Sha256, config: &Config) {
    let Config {
        family,
        dim,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim,
        vocab,
        max_context,
        norm_eps,
        rope_theta,
        rope_scaling,
        tied,
        qkv_bias,
        o_bias,
        mlp_bias,
        qk_norm,
    } = *config;
    hash.update(family.spec().model_type);
    for size in [dim, hidden, layers, heads, kv_heads, head_dim, vocab, max_context] {
        hash.update((size as u64).to_le_bytes());
    }
    hash.update(norm_eps.to_le_bytes());
    hash.update(rope_theta.to_le_bytes());
    match rope_scaling {
        RopeScaling::None => hash.update([0]),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            hash.update([1]);
            for value in [factor, low_freq_factor, high_freq_factor] {
                hash.update(value.to_le_bytes());
            }
            hash.update((original_max_position_embeddings as u64).to_le_bytes());
        }
    }
    hash.update([tied, qkv_bias, o_bias, mlp_bias, qk_norm].map(u8::from));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}
