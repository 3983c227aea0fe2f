//! Homespun for C and C++: a static library without an operating system, over one
//! [`Device`](homespun_runtime::device::Device) in memory that the caller gives.
//!
//! ```text
//! the caller's        the library's                                 file
//! setting, flash  ->  what a device is opened with                  setting, flash
//! memory          ->  [ hs_device ][ layers ][ index ][ arena .. ]  place, open
//! messages        ->  hear, request, answer, step, save, reply      mission, text
//! hs_status       <-  every function's result                       status
//! hook            <-  a panic, which never crosses the border       panic
//! ```
//! `homespun.h` is made of these files by cbindgen; names are those of C. Pointers are checked for null,
//! texts for UTF-8, numbers for their range; that a pointer leads where its function says is the caller's.
#![cfg_attr(not(test), no_std)]
#![allow(non_camel_case_types, reason = "names are those of the header")]

// Each behind an empty line, so that the header has them in this order.
pub mod status;

pub mod setting;

pub mod flash;

pub mod text;

pub mod place;

pub mod open;

pub mod mission;

pub mod panic;

#[cfg(test)]
mod tests;
