#!/usr/bin/env bash
# What every change must pass, on a fresh machine with Rust and a C linker.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
cargo test --workspace
