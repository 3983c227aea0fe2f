//! The operations of a decoder, each with its forward, its backward and its gradient test.
//!
//! Buffers are lent; a gradient `d_x` has the shape of `x`.

pub(crate) mod attention;
pub(crate) mod cross_entropy;
pub(crate) mod dropout;
pub(crate) mod linear;
pub(crate) mod rmsnorm;
pub(crate) mod rope;
pub(crate) mod swiglu;
