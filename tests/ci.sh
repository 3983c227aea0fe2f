#!/usr/bin/env bash
# What every change must pass, on a fresh machine with Rust and a C linker. Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

need_qemu() {
    command -v qemu-aarch64 >/dev/null && return
    as_root apt-get update -qq
    as_root apt-get install -y -qq --no-install-recommends qemu-user
}

step "tools"
rustup component add rustfmt clippy
rustup target add aarch64-unknown-linux-musl aarch64-unknown-none thumbv7em-none-eabihf
need_qemu

step "format"
cargo fmt --all --check

step "clippy"
cargo clippy --workspace --all-targets -- -D warnings

step "no_std"
# One crate and one target at a time: a workspace build would unify features.
for target in thumbv7em-none-eabihf aarch64-unknown-none; do
    for crate in kernels core boards runtime; do
        cargo build -q -p "homespun-$crate" --no-default-features --target "$target"
    done
done

step "tests"
cargo test --workspace

step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc -q --workspace --no-deps

step "NEON kernels under qemu-aarch64"
cargo test -p homespun-kernels --config boards/pi5/config.toml --target aarch64-unknown-linux-musl

step "the first command"
cargo run -q --release -- demo --quick --json

step "done"
