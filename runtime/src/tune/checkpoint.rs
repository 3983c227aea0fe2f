//! One file that holds a training run between two micro-batches, to the bit.
//!
//! ```text
//! 0            8              12           16
//! | "homespun" | version: u32 | n: u32     | n bytes: postcard of Header
//!              | parameters | first moments | second moments | gradient | best parameters
//!              | SHA-256 of all before: 32 bytes |
//! ```
//! Each vector is f32, as long as the header says of it: a gradient is there in the middle of a step,
//! best parameters once a round has some. All integers and floats are little-endian. Vectors go to and
//! from the file through a small buffer and are never copied whole. Random draws need no state: order
//! and dropout are hashes of the seed with the epoch, the step and the place.

use std::io::{self, BufReader, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::Key;
use crate::durable::write_floats;
use crate::state::vault::{Error, Vault};

const MAGIC: &[u8; 8] = b"homespun";
const VERSION: u32 = 2;

/// The longest header that is read; a real one has some 300 bytes.
const MAX_HEADER: usize = 1 << 16;

/// Bytes of a read.
const BUFFER: usize = 1 << 16;

/// Vectors of a file.
pub(super) const VECTORS: usize = 5;

/// Everything but the vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// One more than that of the checkpoint before.
    pub(super) number: u64,
    pub(super) key: Key,
    /// The kernels that computed it.
    pub(super) isa: String,
    /// As [`plan_words`](super::Trainer::plan_words) gives them.
    pub(super) plan: Vec<u64>,
    /// Dialogues of the order that were learned.
    pub(super) at: u64,
    /// Steps made: the place in the schedule, and what dropout draws by.
    pub(super) step: u64,
    /// Updates that the moments know of.
    pub(super) updates: u64,
    /// Micro-batches of the next step that are in the gradient, and the sum of their losses.
    pub(super) parts: u64,
    pub(super) nll: f64,
    /// The loss of the best parameters, and epochs since then.
    pub(super) best: Option<f64>,
    pub(super) waited: u64,
    /// Numbers in each vector.
    pub(super) lengths: [u64; VECTORS],
}

/// Writes a file's contents.
///
/// # Errors
/// If `out` takes no more.
pub(super) fn write(
    header: &Header,
    vectors: [&[f32]; VECTORS],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut out = Hashing { hash: Sha256::new(), inner: out };
    let text = postcard::to_stdvec(header).map_err(io::Error::other)?;
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&(text.len() as u32).to_le_bytes())?;
    out.write_all(&text)?;
    for vector in vectors {
        write_floats(vector, &mut out)?;
    }
    let sum = out.hash.finalize();
    out.inner.write_all(&sum)
}

/// A writer that hashes what goes through it.
struct Hashing<'w> {
    hash: Sha256,
    inner: &'w mut dyn Write,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file that is whole.
pub(super) struct Found {
    pub(super) header: Header,
    /// What the vault calls it.
    name: String,
    /// Where they begin in what it holds.
    vectors: u64,
}

/// Reads all of a file and checks it; `None` if there is none.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn check(vault: &Vault, name: &str) -> Result<Option<Found>, String> {
    let opened = vault.reader(name).map_err(|error| match error {
        // The message names the file itself.
        Error::File { source, .. } => source.to_string(),
        Error::NoKey { name, .. } => format!("was sealed with another key, {name}"),
        error => error.to_string(),
    });
    let Some(mut file) = opened? else { return Ok(None) };
    let mut start = [0; 16];
    read(&mut file, &mut start)?;
    let [magic, numbers] = [&start[..8], &start[8..]];
    if magic != MAGIC {
        return Err("is no checkpoint".to_owned());
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b));
    let (version, length) = (number(&numbers[..4]), number(&numbers[4..]) as usize);
    if version != VERSION {
        return Err(format!("version: {version} is not {VERSION}, which this program reads"));
    }
    if length > MAX_HEADER {
        return Err(format!("is damaged: a header of {length} bytes"));
    }
    let mut text = vec![0; length];
    read(&mut file, &mut text)?;
    let header: Header =
        postcard::from_bytes(&text).map_err(|error| format!("is damaged: header: {error}"))?;
    let vectors = (start.len() + length) as u64;
    let bytes = header
        .lengths
        .iter()
        .try_fold(vectors, |sum, n| sum.checked_add(n.checked_mul(4)?))
        .ok_or("is damaged: its header has impossible lengths")?;
    let is = file.length;
    if bytes.checked_add(32) != Some(is) {
        return Err(format!("is damaged: {is} bytes where its header needs {bytes} and a sum"));
    }
    let mut hash = Sha256::new();
    hash.update(start);
    hash.update(&text);
    let mut buffer = vec![0; BUFFER];
    let mut left = bytes - vectors;
    while left > 0 {
        let chunk = &mut buffer[..left.min(BUFFER as u64) as usize];
        read(&mut file, chunk)?;
        hash.update(&*chunk);
        left -= chunk.len() as u64;
    }
    let mut sum = [0; 32];
    read(&mut file, &mut sum)?;
    if hash.finalize().as_slice() != sum {
        return Err("is damaged: its SHA-256 differs".to_owned());
    }
    Ok(Some(Found { header, name: name.to_owned(), vectors }))
}

fn read(file: &mut impl Read, bytes: &mut [u8]) -> Result<(), String> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "is cut short".to_owned(),
        _ => error.to_string(),
    })
}

impl Found {
    /// Reads the vectors into `vectors`, each as long as the header says, from the file in `vault`.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    ///
    /// # Panics
    /// If a length differs.
    pub(super) fn fill(&self, vault: &Vault, vectors: [&mut [f32]; VECTORS]) -> io::Result<()> {
        let opened = vault.reader(&self.name).map_err(io::Error::other)?;
        let mut file = opened.ok_or(io::ErrorKind::NotFound)?;
        io::copy(&mut file.by_ref().take(self.vectors), &mut io::sink())?;
        let mut from = BufReader::with_capacity(BUFFER, file);
        for (vector, &length) in vectors.into_iter().zip(&self.header.lengths) {
            assert_eq!(vector.len() as u64, length, "the checkpoint's length");
            for value in vector {
                let mut four = [0; 4];
                from.read_exact(&mut four)?;
                *value = f32::from_le_bytes(four);
            }
        }
        Ok(())
    }
}
