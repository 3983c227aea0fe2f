//! Homespun where it runs: mapped weights, the sample buffer in flash, the tokenizer, the rounds of
//! personalisation and the command line.
//!
//! Without its feature `std` only what a microcontroller needs is left: [`flash`] and [`samples`].
#![cfg_attr(not(any(feature = "std", test)), no_std)]

#[cfg(feature = "std")]
pub mod adapter;
#[cfg(feature = "std")]
pub mod builtin;
#[cfg(feature = "std")]
pub mod chat;
#[cfg(feature = "std")]
pub mod checkpoint;
#[cfg(feature = "std")]
pub mod dialogue;
#[cfg(feature = "std")]
pub mod durable;
pub mod flash;
#[cfg(feature = "std")]
pub mod lexicon;
pub mod samples;
#[cfg(feature = "std")]
pub mod tokenizer;
