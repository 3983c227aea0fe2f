//! Shared shapes and inputs of the benchmarks.
