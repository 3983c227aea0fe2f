//! The words by which a dialogue's domain is known: built-in ones on every target, those of a file
//! where there are files.

mod built_in;
#[cfg(feature = "std")]
mod table;

pub use built_in::LEXICONS;
#[cfg(feature = "std")]
pub use table::{Error, Table};
