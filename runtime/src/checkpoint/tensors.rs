//! The tensors of one checkpoint, whichever files they lie in, as borrowed slices.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use homespun_core::config::Config;
use homespun_core::family::Names;
use homespun_core::weights::{self, TensorSource};
use homespun_kernels::Data;
use homespun_kernels::quant::{Packed, ROWS};

use super::header::{Dtype, Entry, read_hashes, read_header};
use super::map::Bytes;
use super::{Error, Quantization};

/// All tensors by name.
#[derive(Debug)]
pub(super) struct Tensors {
    /// The file, or the index of the shards: what errors about absent tensors name.
    file: PathBuf,
    shards: Vec<Shard>,
    by_name: BTreeMap<String, Place>,
    /// Tensors that lie askew in their file, copied once; u32 for their alignment.
    copies: HashMap<String, Vec<u32>>,
    /// Whether matrices are packed, and the names that tell a layer's from the head.
    packing: Option<(Quantization, &'static Names)>,
}

#[derive(Debug)]
struct Shard {
    file: PathBuf,
    bytes: Bytes,
}

#[derive(Debug)]
struct Place {
    shard: usize,
    entry: Entry,
}

impl Tensors {
    /// Maps `shards`; `weight_map` says what an index expects in each.
    ///
    /// # Errors
    /// If a file is damaged or does not hold what the index says.
    pub(super) fn open(
        file: PathBuf,
        shards: &[PathBuf],
        weight_map: Option<&BTreeMap<String, PathBuf>>,
    ) -> Result<Self, Error> {
        let shards = shards
            .iter()
            .map(|file| Ok(Shard { file: file.clone(), bytes: Bytes::map(file)? }))
            .collect::<Result<Vec<_>, Error>>()?;
        let tensors = Self::new(file, shards)?;
        for (name, file) in weight_map.into_iter().flatten() {
            if tensors.place(name).is_none_or(|place| tensors.shards[place.shard].file != *file) {
                let reason = format!("is not in {}, as the index says", file.display());
                return Err(tensors.tensor_error(name, reason));
            }
        }
        Ok(tensors)
    }

    /// The tensors of a safetensors file that lies in the program.
    ///
    /// # Errors
    /// If it is damaged.
    pub(super) fn of_static(file: PathBuf, bytes: &'static [u8]) -> Result<Self, Error> {
        Self::new(file.clone(), vec![Shard { file, bytes: Bytes::Static(bytes) }])
    }

    /// The tensors of an open safetensors file, which errors call `file`.
    ///
    /// # Errors
    /// If it is damaged or cannot be mapped.
    pub(super) fn of_open(file: PathBuf, handle: &File) -> Result<Self, Error> {
        let bytes = Bytes::map_open(&file, handle)?;
        Self::new(file.clone(), vec![Shard { file, bytes }])
    }

    fn new(file: PathBuf, shards: Vec<Shard>) -> Result<Self, Error> {
        let mut by_name = BTreeMap::<String, Place>::new();
        for (shard, Shard { file, bytes }) in shards.iter().enumerate() {
            for entry in read_header(file, bytes)? {
                if let Some(other) = by_name.get(&entry.name) {
                    let other = shards[other.shard].file.display();
                    return Err(Error::Tensor {
                        file: file.clone(),
                        tensor: entry.name,
                        reason: format!("is also in {other}"),
                    });
                }
                by_name.insert(entry.name.clone(), Place { shard, entry });
            }
        }
        Ok(Self { file, shards, by_name, copies: HashMap::new(), packing: None })
    }

    /// Refuses tensors that the model has no place for, unties a head that differs from the
    /// embedding, and copies what is misaligned.
    ///
    /// # Errors
    /// Names the tensor that is unexpected.
    pub(super) fn checked(
        mut self,
        config: &mut Config,
        quantization: Option<Quantization>,
    ) -> Result<Self, Error> {
        for (name, place) in &self.by_name {
            if !weights::expects(config, name) {
                return Err(Error::Tensor {
                    file: self.shards[place.shard].file.clone(),
                    tensor: name.clone(),
                    reason: "is not expected: config.json describes a model without it".to_owned(),
                });
            }
        }
        let names = &config.family.spec().names;
        self.packing = quantization.map(|quantization| (quantization, names));
        if config.tied
            && let (Some(embed), Some(head)) = (self.place(names.embed), self.place(names.head))
            && (embed.entry.dtype != head.entry.dtype || self.raw(embed) != self.raw(head))
        {
            config.tied = false;
            eprintln!(
                "warning: {}: `tie_word_embeddings` is true, but `{}` and `{}` differ: used untied",
                self.file.display(),
                names.embed,
                names.head,
            );
        }
        self.copy_misaligned();
        Ok(self)
    }

    fn copy_misaligned(&mut self) {
        for (name, place) in &self.by_name {
            let bytes = self.raw(place);
            let aligned = match place.entry.dtype {
                Dtype::F32 => bytemuck::try_cast_slice::<u8, f32>(bytes).is_ok(),
                Dtype::BF16 | Dtype::F16 => bytemuck::try_cast_slice::<u8, u16>(bytes).is_ok(),
                _ => true,
            };
            if aligned {
                continue;
            }
            let file = self.shards[place.shard].file.display();
            eprintln!("warning: {file}: tensor `{name}` is misaligned and is copied into memory");
            let mut copy = vec![0u32; bytes.len().div_ceil(4)];
            bytemuck::cast_slice_mut(&mut copy)[..bytes.len()].copy_from_slice(bytes);
            self.copies.insert(name.clone(), copy);
        }
    }

    /// How matrices are packed.
    pub(super) fn quantization(&self) -> Option<Quantization> {
        self.packing.map(|(quantization, _)| quantization)
    }

    /// The hashes that the files give for their tensors.
    pub(super) fn hashes(&self) -> Result<BTreeMap<String, String>, Error> {
        let mut hashes = BTreeMap::new();
        for Shard { file, bytes } in &self.shards {
            hashes.extend(read_hashes(file, bytes)?);
        }
        Ok(hashes)
    }

    /// The file, or the index of the shards.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Each tensor and its bytes, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        self.by_name.values().map(|place| (&place.entry, self.raw(place)))
    }

    /// The bytes of all tensors.
    pub(super) fn bytes(&self) -> u64 {
        self.by_name.values().map(|place| place.entry.bytes.len() as u64).sum()
    }

    /// Lets the system fetch every tensor whose name begins with `prefix`.
    pub(super) fn will_need(&self, prefix: &str) {
        let with = self.by_name.range(prefix.to_owned()..);
        for (_, Place { shard, entry }) in with.take_while(|(name, _)| name.starts_with(prefix)) {
            self.shards[*shard].bytes.will_need(entry.bytes.clone());
        }
    }

    fn place(&self, name: &str) -> Option<&Place> {
        self.by_name.get(name)
    }

    /// The bytes in the file, aligned or not.
    fn raw(&self, place: &Place) -> &[u8] {
        &self.shards[place.shard].bytes[place.entry.bytes.clone()]
    }

    fn tensor_error(&self, name: &str, reason: String) -> Error {
        let file = self.place(name).map_or(&self.file, |place| &self.shards[place.shard].file);
        Error::Tensor { file: file.clone(), tensor: name.to_owned(), reason }
    }
}

impl<'a> TensorSource<'a> for &'a Tensors {
    type Error = Error;

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Option<Data<'a>>, Error> {
        let tensors: &'a Tensors = self;
        let Some(place) = tensors.by_name.get(name) else { return Ok(None) };
        let entry = &place.entry;
        if entry.shape != shape {
            let reason = format!("has shape {:?}, not {shape:?} as config.json says", entry.shape);
            return Err(tensors.tensor_error(name, reason));
        }
        let bytes = match tensors.copies.get(name) {
            Some(copy) => &bytemuck::cast_slice(copy)[..entry.bytes.len()],
            None => tensors.raw(place),
        };
        let data = match entry.dtype {
            Dtype::F32 => bytemuck::try_cast_slice::<u8, f32>(bytes).map(Data::F32),
            Dtype::BF16 => bytemuck::try_cast_slice::<u8, bf16>(bytes).map(Data::Bf16),
            Dtype::F16 => bytemuck::try_cast_slice::<u8, f16>(bytes).map(Data::F16),
            other => {
                let reason = format!("has element type {other:?}; F32, BF16 and F16 are read");
                return Err(tensors.tensor_error(name, reason));
            }
        };
        data.map(Some).map_err(|e| tensors.tensor_error(name, format!("cannot be viewed: {e}")))
    }

    fn packed(&self, name: &str, rows: usize, cols: usize) -> Result<Option<Packed<'a>>, Error> {
        let tensors: &'a Tensors = self;
        let Some((quantization, names)) = tensors.packing else { return Ok(None) };
        let Some(place) = tensors.by_name.get(name) else { return Ok(None) };
        let format = quantization.format_of(names, name);
        let shape = [rows.div_ceil(ROWS), format.panel_bytes(cols)];
        let (entry, raw) = (&place.entry, tensors.raw(place));
        let packed = Packed::new(format, raw, rows, cols);
        if entry.dtype != Dtype::U8 || entry.shape != shape || packed.is_none() {
            let reason = format!(
                "has shape {:?} of {:?}, not {shape:?} of U8 as {} of shape [{rows}, {cols}] in \
                 config.json has",
                entry.shape,
                entry.dtype,
                format.name(),
            );
            return Err(tensors.tensor_error(name, reason));
        }
        Ok(packed)
    }
}
