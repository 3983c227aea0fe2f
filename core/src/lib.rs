//! The model, its exact LoRA training and the selection of dialogues: no std, no allocation.
//!
//! Letters of shapes: T tokens, C context, D dim, H hidden, V vocabulary, L layers, R rank.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod adamw;
pub mod arena;
pub mod cache;
pub mod compute;
pub mod config;
pub mod dora;
pub mod family;
pub mod lora;
pub mod model;
pub mod rng;
pub mod rouge;
pub mod sampler;
pub mod schedule;
pub mod select;
pub mod train;
pub mod weights;

mod block;
mod buffers;
mod ops;
#[cfg(test)]
mod testing;

pub use homespun_kernels as kernels;
