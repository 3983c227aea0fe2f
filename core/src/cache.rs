//! Keys and values of the tokens so far, in lent memory.
//!
//! ```text
//! memory   | layer 0 keys | layer 0 values | layer 1 keys | ...
//! keys     numbers (kv_heads, C, head_dim); for i8 scales (kv_heads, C) before them
//! ```
//! Keys lie head by head so that attention reads those of one head in one sweep. An i8 row is its
//! largest magnitude over 127 times integers. A row with a number that is not finite, or is not as
//! f16, is not a number throughout, or a score of minus infinity could hide it from every check.

use half::f16;
use homespun_kernels::{Data, chunks_mut, pairs_mut};

use crate::arena::OutOfMemory;
use crate::block::finite;
use crate::compute::Compute;
use crate::config::Config;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// As they are computed.
    #[default]
    F32,
    /// In half the memory.
    F16,
    /// In a quarter, with one scale for a head's key or value.
    I8,
}

impl KvType {
    /// Every type.
    pub const ALL: [KvType; 3] = [KvType::F32, KvType::F16, KvType::I8];

    /// The name that `--kv` takes.
    pub const fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::I8 => "i8",
        }
    }

    /// Words of 32 bits for the key of one token in one layer.
    const fn words(self, config: &Config) -> usize {
        let elements = config.kv_dim();
        match self {
            KvType::F32 => elements,
            KvType::F16 => elements.div_ceil(2),
            KvType::I8 => elements.div_ceil(4) + config.kv_heads,
        }
    }
}

/// Keys or values of a layer, `(kv_heads, C, head_dim)`.
pub(crate) enum Rows<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    /// Integers, and a scale for each row of `head_dim`.
    I8(&'a mut [i8], &'a mut [f32]),
}

impl Rows<'_> {
    /// Copies `x (T, kv_heads * head_dim)` behind the first `past` of `capacity` rows of each head.
    pub(crate) fn append(
        &mut self,
        compute: Compute,
        (heads, capacity, past): (usize, usize, usize),
        x: &[f32],
    ) {
        let Some(head) = self.view().data.len().checked_div(heads) else { return };
        let width = head / capacity;
        let pool = compute.for_work(16 * x.len()).pool;
        // The rows of head `h`, in order.
        let of = |h: usize| x.chunks_exact(width).skip(h).step_by(heads);
        match self {
            Rows::F32(rows) => chunks_mut(pool, rows, head, &|h, rows| {
                let new = rows.chunks_exact_mut(width).skip(past);
                new.zip(of(h)).for_each(|(y, x)| {
                    y.copy_from_slice(x);
                    if !finite(y) {
                        y.fill(f32::NAN);
                    }
                });
            }),
            Rows::F16(rows) => chunks_mut(pool, rows, head, &|h, rows| {
                let new = rows.chunks_exact_mut(width).skip(past);
                new.zip(of(h)).for_each(|(y, x)| {
                    compute.kernels.narrow(x, y);
                    // Without branches, so that compilers find vectors in it.
                    if !y.iter().fold(true, |good, y| good & y.is_finite()) {
                        y.fill(f16::NAN);
                    }
                });
            }),
            Rows::I8(rows, scales) => {
                pairs_mut(pool, (rows, head), (scales, capacity), &|h, rows, scales| {
                    let new = rows.chunks_exact_mut(width).zip(scales).skip(past);
                    new.zip(of(h)).for_each(|((y, scale), x)| *scale = integers(x, y));
                });
            }
        }
    }

    /// The magnitude from which on a number is kept as infinity: what rounds beyond f16's 65,504.
    pub(crate) const fn infinity(&self) -> f32 {
        if let Rows::F16(_) = self { 65520.0 } else { f32::INFINITY }
    }

    /// To read.
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Rows::F32(rows) => View { data: Data::F32(rows), scales: None },
            Rows::F16(rows) => View { data: Data::F16(rows), scales: None },
            Rows::I8(rows, scales) => View { data: Data::I8(rows), scales: Some(scales) },
        }
    }
}

/// Keys or values of a layer as attention reads them.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// `(kv_heads, C, head_dim)`.
    pub data: Data<'a>,
    /// What the rows are to be multiplied by, `(kv_heads, C)`.
    pub scales: Option<&'a [f32]>,
}

/// Makes `y` integers and returns what one is worth: not a finite number if `x` has one that is none.
fn integers(x: &[f32], y: &mut [i8]) -> f32 {
    let most = x.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most));
    let most = f32::from_bits(most);
    let factor = if most > 1e-30 { 127.0 / most } else { 0.0 };
    for (y, &x) in y.iter_mut().zip(x) {
        *y = libm::rintf(x * factor) as i8;
    }
    most / 127.0
}

/// A cache of up to [`capacity`](Self::capacity) tokens.
#[derive(Debug)]
pub struct KvCache<'a> {
    memory: &'a mut [u32],
    kind: KvType,
    /// Elements of a token's key.
    row: usize,
    heads: usize,
    /// Words of a token's key.
    words: usize,
    layers: usize,
    capacity: usize,
    len: usize,
}

impl<'a> KvCache<'a> {
    /// Words of memory for `context` tokens.
    pub const fn words(config: &Config, kind: KvType, context: usize) -> usize {
        config.layers * 2 * kind.words(config) * context
    }

    /// An empty cache for as many tokens as `memory` holds.
    ///
    /// # Errors
    /// If it does not hold one.
    pub fn new(config: &Config, kind: KvType, memory: &'a mut [u32]) -> Result<Self, OutOfMemory> {
        let token = Self::words(config, kind, 1);
        let capacity = memory.len().checked_div(token).unwrap_or(0);
        if capacity == 0 {
            return Err(OutOfMemory { needed: token * 4, available: memory.len() * 4 });
        }
        Ok(Self {
            memory,
            kind,
            row: config.kv_dim(),
            heads: config.kv_heads,
            words: kind.words(config),
            layers: config.layers,
            capacity,
            len: 0,
        })
    }

    /// A cache over memory that another one of the same shape and type has left with `len` tokens.
    ///
    /// # Errors
    /// As [`new`](Self::new), or if `memory` does not hold `len` tokens.
    pub fn resume(
        config: &Config,
        kind: KvType,
        memory: &'a mut [u32],
        len: usize,
    ) -> Result<Self, OutOfMemory> {
        let available = memory.len() * 4;
        let cache = Self::new(config, kind, memory)?;
        if len > cache.capacity {
            return Err(OutOfMemory { needed: Self::words(config, kind, len) * 4, available });
        }
        Ok(Self { len, ..cache })
    }

    /// C: tokens that fit.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Tokens that are there.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no token.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens but the first `len`; a longer `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Forgets all tokens.
    pub const fn reset(&mut self) {
        self.len = 0;
    }

    /// Keys and values of `layer`.
    pub(crate) fn layer(&mut self, layer: usize) -> (Rows<'_>, Rows<'_>) {
        let (kind, rows) = (self.kind, self.capacity * self.heads);
        let (elements, half) = (self.capacity * self.row, self.capacity * self.words);
        let both = &mut self.memory[2 * half * layer..2 * half * (layer + 1)];
        let (keys, values) = both.split_at_mut(half);
        let view = |words| match kind {
            KvType::F32 => Rows::F32(bytemuck::cast_slice_mut::<u32, f32>(words)),
            KvType::F16 => Rows::F16(&mut bytemuck::cast_slice_mut(words)[..elements]),
            KvType::I8 => {
                let (scales, quants) = words.split_at_mut(rows);
                let quants = &mut bytemuck::cast_slice_mut(quants)[..elements];
                Rows::I8(quants, bytemuck::cast_slice_mut(scales))
            }
        };
        (view(keys), view(values))
    }

    pub(crate) const fn fits(&self, config: &Config) -> bool {
        self.row == config.kv_dim() && self.heads == config.kv_heads && self.layers == config.layers
    }

    pub(crate) const fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{compute, random, tiny};

    #[test]
    fn a_row_that_its_type_cannot_hold_is_no_number_at_all() {
        let config = tiny();
        let width = config.kv_dim();
        for kind in KvType::ALL {
            for bad in [65519.0, 65520.0, -1e9, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                let mut memory = vec![0; KvCache::words(&config, kind, 3)];
                let mut cache = KvCache::new(&config, kind, &mut memory).unwrap();
                let (mut keys, _) = cache.layer(0);
                let mut x = random(1, 3 * width);
                // Token 1 of head 0.
                x[width + 2] = bad;
                keys.append(compute(), (config.kv_heads, 3, 0), &x);
                let lost = bad.is_nan() || bad.abs() >= keys.infinity();
                let view = keys.view();
                for row in 0..3 * config.kv_heads {
                    let scale = view.scales.map_or(1.0, |scales| scales[row]);
                    for i in 0..config.head_dim {
                        let found = view.data.get(row * config.head_dim + i) * scale;
                        let nan = found.is_nan();
                        assert_eq!(nan, lost && row == 1, "{kind:?} {bad} {row}: {found}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_comes_back_within_its_types_rounding() {
        let config = tiny();
        for (kind, error) in [(KvType::F32, 0.0), (KvType::F16, 5e-4), (KvType::I8, 0.51 / 127.0)] {
            let mut memory = vec![0; KvCache::words(&config, kind, 5)];
            let mut cache = KvCache::new(&config, kind, &mut memory).unwrap();
            assert_eq!(cache.capacity(), 5);
            let rows = 5 * config.kv_heads;
            // Token t of head h is row h * C + t.
            let x = |t: usize| -> Vec<f32> {
                let row = |h| random((h * 5 + t) as u64, config.head_dim);
                (0..config.kv_heads).flat_map(row).collect()
            };
            let place = |past| (config.kv_heads, 5, past);
            for layer in 0..config.layers {
                let (mut keys, mut values) = cache.layer(layer);
                keys.append(compute(), place(0), &[x(0), x(1)].concat());
                keys.append(compute(), place(2), &[x(2), x(3), x(4)].concat());
                (0..5).for_each(|t| values.append(compute(), place(t), &x(t)));
            }
            for layer in 0..config.layers {
                let (keys, values) = cache.layer(layer);
                for (view, row) in
                    [keys, values].iter().flat_map(|v| (0..rows).map(move |r| (v, r)))
                {
                    let view = view.view();
                    let scale = view.scales.map_or(1.0, |scales| scales[row]);
                    let want = random(row as u64, config.head_dim);
                    let most = want.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                    for (i, want) in want.iter().enumerate() {
                        let found = view.data.get(row * config.head_dim + i) * scale;
                        assert!((found - want).abs() <= error * most, "{kind:?}: {found} {want}");
                    }
                }
            }
        }
    }
}
