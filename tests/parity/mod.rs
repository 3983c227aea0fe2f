//! What torch, transformers and PEFT computed (`tests/oracle/models.py`), held against ours.

mod adamw;
mod command;
mod config;
pub mod golden;
pub mod gradients;
mod logits;
mod pools;
mod quantised;
mod stories;
