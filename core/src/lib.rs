//! The model, its exact LoRA training and the selection of dialogues: no std, no allocation.
//!
//! Letters of shapes: T tokens, C context, D dim, H hidden, V vocabulary, L layers, R rank.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod config;
pub mod family;
pub mod lora;
pub mod rouge;
pub mod select;
pub mod weights;

pub use homespun_kernels as kernels;
