//! The one integration binary: a module per theme.
mod bad_adapter;
mod bad_checkpoint;
mod checkpoint;
mod cli;
mod fuzz_checkpoint;
mod fuzz_samples;
mod merge;
mod parity;
mod quantised;
mod quantised_quality;
mod render;
mod rouge;
mod score;
mod selection;
mod small_model;
