//! Homespun where it runs: mapped weights, the sample buffer in flash, the tokenizer, the rounds of
//! personalisation and the command line.
//!
//! Without its feature `std` only what a microcontroller needs is left: [`image`], [`device`],
//! [`flash`], [`samples`] and [`seal`].
#![cfg_attr(not(any(feature = "std", test)), no_std)]

/// As the standard one, but a standard error that is gone is no reason to end.
#[cfg(feature = "std")]
macro_rules! eprintln {
    ($($line:tt)*) => {{
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr().lock(),
            format_args!("{}\n", format_args!($($line)*)),
        );
    }};
}

#[cfg(feature = "std")]
pub mod adapter;
#[cfg(feature = "std")]
pub mod bench;
#[cfg(feature = "std")]
pub mod builtin;
#[cfg(feature = "std")]
pub mod chat;
#[cfg(feature = "std")]
pub mod checkpoint;
#[cfg(feature = "std")]
pub mod cli;
pub mod device;
#[cfg(feature = "std")]
pub mod dialogue;
#[cfg(feature = "std")]
pub mod durable;
#[cfg(feature = "std")]
pub mod energy;
#[cfg(feature = "std")]
pub mod engine;
#[cfg(feature = "std")]
pub mod event;
#[cfg(feature = "std")]
pub mod experiment;
pub mod flash;
#[cfg(feature = "std")]
pub mod hours;
pub mod image;
pub mod lexicon;
#[cfg(feature = "std")]
pub mod live;
#[cfg(feature = "std")]
pub mod memory;
#[cfg(feature = "std")]
pub mod merge;
#[cfg(feature = "std")]
pub mod personalize;
#[cfg(feature = "std")]
pub mod plan;
mod plant;
#[cfg(feature = "std")]
pub mod pool;
#[cfg(feature = "std")]
pub mod progress;
#[cfg(feature = "std")]
pub mod quantize;
pub mod samples;
pub mod seal;
#[cfg(feature = "std")]
pub mod sensors;
#[cfg(feature = "std")]
pub mod serve;
#[cfg(feature = "std")]
pub mod state;
#[cfg(feature = "std")]
pub mod status;
#[cfg(feature = "std")]
pub mod tokenizer;
#[cfg(feature = "std")]
pub mod tune;
