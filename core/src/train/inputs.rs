//! The stored inputs of layers: as they were, or as bf16.

use half::bf16;
use homespun_kernels::{Data, chunks_mut};

use crate::arena::{Arena, padded};
use crate::compute::Compute;
use crate::model::Error;

/// Elements of a chunk of conversion.
const GRAIN: usize = 1 << 14;

/// Slots of one layer's input each.
pub(super) enum Inputs<'a> {
    F32 {
        slots: &'a mut [f32],
        /// Elements of a slot, and from one to the next.
        len: usize,
        stride: usize,
    },
    Bf16 {
        slots: &'a mut [bf16],
        len: usize,
        stride: usize,
        /// The slot that is read, widened.
        wide: &'a mut [f32],
    },
}

impl<'a> Inputs<'a> {
    /// `count` slots of `len` elements.
    pub(super) fn take(
        arena: &mut Arena<'a>,
        count: usize,
        len: usize,
        half: bool,
    ) -> Result<Self, Error> {
        Ok(if half {
            let stride = padded(2 * len) / 2;
            Inputs::Bf16 {
                slots: arena.take(count * stride)?,
                len,
                stride,
                wide: arena.take_f32(len)?,
            }
        } else {
            let stride = padded(4 * len) / 4;
            Inputs::F32 { slots: arena.take_f32(count * stride)?, len, stride }
        })
    }

    /// Stores `x` in `slot`.
    pub(super) fn store(&mut self, compute: Compute, slot: usize, x: &[f32]) {
        match self {
            Inputs::F32 { slots, len, stride } => {
                compute.copy(x, &mut slots[slot * *stride..][..*len]);
            }
            Inputs::Bf16 { slots, len, stride, .. } => {
                let slot = &mut slots[slot * *stride..][..*len];
                chunks_mut(compute.pool, slot, GRAIN, &|i, to| {
                    for (to, x) in to.iter_mut().zip(&x[i * GRAIN..]) {
                        *to = bf16::from_f32(*x);
                    }
                });
            }
        }
    }

    /// What `slot` holds.
    pub(super) fn read(&mut self, compute: Compute, slot: usize) -> &[f32] {
        match self {
            Inputs::F32 { slots, len, stride } => &slots[slot * *stride..][..*len],
            Inputs::Bf16 { slots, len, stride, wide } => {
                let slot = &slots[slot * *stride..][..*len];
                chunks_mut(compute.pool, wide, GRAIN, &|i, to| {
                    let part = &slot[i * GRAIN..][..to.len()];
                    compute.kernels.widen(Data::Bf16(part), to);
                });
                wide
            }
        }
    }
}
