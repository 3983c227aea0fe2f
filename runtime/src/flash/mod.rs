//! Flash memories behind `embedded_storage::nor_flash::NorFlash`.
//!
//! ```text
//! ram   bytes in memory that behave as NOR does, and whose power can be cut    any target
//! file  an image on a disk                                                     std
//! ```
//!
//! NOR: an erase sets every bit of whole blocks, a write only clears bits.

pub mod ram;
pub use ram::{RamError, RamFlash};

#[cfg(feature = "std")]
pub mod file;
#[cfg(feature = "std")]
pub use file::{FileError, FileFlash};
