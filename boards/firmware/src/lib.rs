//! What the firmwares of Homespun share: a board's own crate starts the machine and drives its flash, and
//! hands a [`Machine`] to the [`mission`].
//!
//! ```text
//! semihosting   calls to the machine that debugs this one        unsafe: the trap
//! host          its standard output, and lines of its input
//! file_flash    NOR flash in a file there
//! marked        NOR flash that says when it writes               for power cuts from outside
//! arena         memory that is lent once                         unsafe: a static
//! stack         the most that was used of the stack              unsafe: paint
//! mission       what the program does, on any board
//! live          a model that learns a person, line by line
//! fail          how it ends when it cannot go on
//! ```
#![cfg_attr(not(test), no_std)]

pub mod arena;
pub mod fail;
pub mod file_flash;
pub mod host;
pub mod live;
pub mod marked;
pub mod mission;
pub mod semihosting;
pub mod stack;

pub use mission::Machine;
