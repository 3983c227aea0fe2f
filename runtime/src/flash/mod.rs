//! Flash memories behind `embedded_storage::nor_flash::NorFlash`.
//!
//! ```text
//! ram     bytes in memory that behave as NOR does                           any target
//! file    an image on a disk                                                std
//! faulty  bytes in memory that fail: cuts, torn writes, worn blocks, caches std
//! io      any range of any of them, through a small memory                  any target
//! pair    two halves of a range, written in turn: the old or the new        any target
//! ```
//!
//! NOR: an erase sets every bit of whole blocks, a write only clears bits.

pub mod io;
pub mod pair;
pub mod ram;
pub use ram::{RamError, RamFlash};

#[cfg(any(feature = "std", test))]
pub mod faulty;
#[cfg(feature = "std")]
pub mod file;
#[cfg(feature = "std")]
pub use file::{FileError, FileFlash};
