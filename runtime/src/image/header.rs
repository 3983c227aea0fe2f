//! The bytes of an image's preamble and header.
//!
//! ```text
//! preamble, 64 bytes
//!   0  7  "HOMEIMG"
//!   7  1  version, 1
//!   8  4  bytes of the header                12  4  its CRC
//!  16  4  bytes of the body                  20  4  its CRC
//!  24  4  where the body begins, a multiple of 64
//!  28 32  SHA-256 of header and body
//!  60  4  CRC of 0..60
//! header   postcard of [`Header`], then `tensors` times postcard of [`Tensor`]
//! ```

use heapless::Vec;
use homespun_core::config::{Config, RopeScaling};
use homespun_core::family::Family;
use homespun_kernels::DType;
use serde::{Deserialize, Serialize};

use super::template::Template;
use super::{ALIGN, Error};
use crate::samples::crc;

/// The version that is written and read.
pub const VERSION: u8 = 1;
/// Bytes of the preamble.
pub const PREAMBLE_BYTES: usize = 64;
/// Tokens that may end a reply.
pub const MOST_EOS: usize = 8;

const MAGIC: &[u8; 7] = b"HOMEIMG";

/// What the first 64 bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// Bytes of the header.
    pub header_bytes: u32,
    /// Its CRC.
    pub header_crc: u32,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// Its CRC.
    pub body_crc: u32,
    /// Where the body begins.
    pub body_at: u32,
    /// SHA-256 of header and body.
    pub hash: [u8; 32],
}

impl Preamble {
    /// Bytes of the whole image.
    pub const fn bytes(&self) -> u64 {
        self.body_at as u64 + self.body_bytes as u64
    }

    /// As it is written.
    pub fn to_bytes(self) -> [u8; PREAMBLE_BYTES] {
        let mut bytes = [0; PREAMBLE_BYTES];
        bytes[..7].copy_from_slice(MAGIC);
        bytes[7] = VERSION;
        let words =
            [self.header_bytes, self.header_crc, self.body_bytes, self.body_crc, self.body_at];
        for (i, word) in words.into_iter().enumerate() {
            bytes[8 + 4 * i..][..4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[28..60].copy_from_slice(&self.hash);
        let sum = crc::of(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the first bytes of an image.
    ///
    /// # Errors
    /// If it is none, of another version, or damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let Some(bytes) = bytes.first_chunk::<PREAMBLE_BYTES>() else { return Err(Error::NoImage) };
        if &bytes[..7] != MAGIC {
            return Err(Error::NoImage);
        }
        if bytes[7] != VERSION {
            return Err(Error::Version { found: bytes[7] });
        }
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[28..60]);
        let preamble = Preamble {
            header_bytes: word(8),
            header_crc: word(12),
            body_bytes: word(16),
            body_crc: word(20),
            body_at: word(24),
            hash,
        };
        let body_at = u64::from(preamble.body_at);
        let header_end = PREAMBLE_BYTES as u64 + u64::from(preamble.header_bytes);
        let sound = header_end <= body_at && body_at.is_multiple_of(ALIGN as u64);
        if word(60) == crc::of(&bytes[..60]) && sound {
            Ok(preamble)
        } else {
            Err(Error::Damaged { part: "preamble" })
        }
    }
}

/// A part of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Where it begins in the body.
    pub at: u32,
    /// Its bytes.
    pub bytes: u32,
}

/// What an image holds; what it borrows lies in the image.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Header<'a> {
    /// What the model was called where it was packed.
    pub name: &'a str,
    /// Its shape.
    pub shape: Shape<'a>,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// Those that end a reply.
    pub eos: Eos,
    /// The tokenizer's kind and tables.
    pub tokenizer: Tokenizer,
    /// The chat template.
    #[serde(borrow)]
    pub template: Template<'a>,
    /// Tensors in the table behind this.
    pub tensors: u32,
}

/// Tokens that end a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eos {
    ids: [u32; MOST_EOS],
    count: u8,
}

impl Eos {
    /// Those of `ids`; `None` if they are too many.
    pub fn new(ids: &[u32]) -> Option<Self> {
        let ids: Vec<u32, MOST_EOS> = Vec::from_slice(ids).ok()?;
        let mut eos = Eos { count: ids.len() as u8, ..Eos::default() };
        eos.ids[..ids.len()].copy_from_slice(&ids);
        Some(eos)
    }

    /// Whether `id` is one.
    pub fn contains(&self, id: &u32) -> bool {
        self.ids.iter().take(usize::from(self.count)).any(|one| one == id)
    }
}

/// A model's shape, as [`Config`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape<'a> {
    family: &'a str,
    sizes: [u32; 7],
    max_context: u32,
    norm_eps: f32,
    rope_theta: f32,
    llama3: Option<([f32; 3], u32)>,
    flags: [bool; 5],
}

impl Shape<'_> {
    /// Of a model.
    pub fn of(c: &Config) -> Shape<'static> {
        let sizes = [c.dim, c.hidden, c.layers, c.heads, c.kv_heads, c.head_dim, c.vocab];
        let llama3 = match c.rope_scaling {
            RopeScaling::None => None,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => Some((
                [factor, low_freq_factor, high_freq_factor],
                original_max_position_embeddings as u32,
            )),
        };
        Shape {
            family: c.family.spec().model_type,
            // A validated shape's are below 2^28.
            sizes: sizes.map(|size| size as u32),
            max_context: c.max_context as u32,
            norm_eps: c.norm_eps,
            rope_theta: c.rope_theta,
            llama3,
            flags: [c.tied, c.qkv_bias, c.o_bias, c.mlp_bias, c.qk_norm],
        }
    }

    /// The model's configuration.
    ///
    /// # Errors
    /// If it cannot be computed with.
    pub fn config(&self) -> Result<Config, Error> {
        let [dim, hidden, layers, heads, kv_heads, head_dim, vocab] =
            self.sizes.map(|size| size as usize);
        let [tied, qkv_bias, o_bias, mlp_bias, qk_norm] = self.flags;
        let rope_scaling = match self.llama3 {
            None => RopeScaling::None,
            Some(([factor, low_freq_factor, high_freq_factor], context)) => RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: context as usize,
            },
        };
        let config = Config {
            family: Family::from_model_type(self.family).ok_or(Error::Family)?,
            dim,
            hidden,
            layers,
            heads,
            kv_heads,
            head_dim,
            vocab,
            max_context: self.max_context as usize,
            norm_eps: self.norm_eps,
            rope_theta: self.rope_theta,
            rope_scaling,
            tied,
            qkv_bias,
            o_bias,
            mlp_bias,
            qk_norm,
        };
        config.validate().map_err(Error::Config)?;
        Ok(config)
    }
}

/// The tokenizer: how text is cut into words, and its tables in the body; see [`super::bpe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokenizer {
    /// How text is cut.
    pub split: Split,
    /// Tokens that stand before a plain text.
    pub begins_with: Option<u32>,
    /// And behind it.
    pub ends_with: Option<u32>,
    /// The token of what cannot be spelled.
    pub unk: Option<u32>,
    /// Whether neighbours of it are one.
    pub fuse_unk: bool,
    /// Where each token's bytes begin, and where the last one's end: u32, V + 1 of them.
    pub offsets: Section,
    /// The tokens' bytes.
    pub bytes: Section,
    /// What each token is: a byte each.
    pub flags: Section,
    /// `left, right, rank, merged`: u32, sorted by the first two.
    pub merges: Section,
    /// The token of each byte: u32, 256 of them; all ones where there is none.
    pub of_byte: Section,
    /// `character, token`: u32, sorted; of tokenizers that are not byte-level.
    pub of_char: Section,
    /// `first, last` of ranges of letters: u32, sorted; of byte-level tokenizers.
    pub letters: Section,
    /// The same of numbers.
    pub numbers: Section,
}

/// How text is cut into words, and how these are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Split {
    /// As GPT-2 does (Radford et al. 2019), spelled in bytes; `digits`: each digit alone.
    Level {
        /// Whether each digit is a word.
        digits: bool,
    },
    /// Not at all; spaces become U+2581, and one more is put before the text.
    Metaspace(Prepend),
}

/// Where a space is put before text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prepend {
    /// Nowhere.
    Never,
    /// Before the first piece, unless it begins with one.
    First,
    /// Before each piece between control tokens, unless it begins with one.
    Always,
    /// Before each piece.
    Anyway,
}

/// A tensor of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor<'a> {
    /// As Hugging Face names it.
    pub name: &'a str,
    /// How it is stored.
    pub kind: Kind,
    /// N; 1 for a vector.
    pub rows: u32,
    /// K.
    pub cols: u32,
    /// Where.
    pub section: Section,
}

/// How a tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// 32-bit floats.
    F32,
    /// Packed, eight bits.
    Q8,
    /// Packed, four bits.
    Q4,
}

impl Kind {
    /// As the kernels call it.
    pub const fn dtype(self) -> DType {
        match self {
            Kind::F32 => DType::F32,
            Kind::Q8 => DType::Q8,
            Kind::Q4 => DType::Q4,
        }
    }
}
